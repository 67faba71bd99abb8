"""Hooks for enumerations and literals.

A member is stored by value when all values of its enumeration are strings or ints, else by name.
Flags are stored as their number.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

from cattrs import Converter

from runnel_trio._codec._hooks._numbers import INT_MAX, INT_MIN, int64, read_int, write_int
from runnel_trio._codec._hooks._traits import Hook, MsgspecRead, Unsupported, refuse, trait

__all__ = ["enum_reader", "enum_writer", "literal_hooks"]

#: The JSON types that msgspec tells apart as the general parser does.
_FORMS = {str, int, bool, type(None)}
_Finder: TypeAlias = Callable[[Converter, Any], Hook]


def _by_value(cls: type[enum.Enum]) -> bool:
    values = [member.value for member in cls]
    return all(type(x) is str or (type(x) is int and INT_MIN <= x <= INT_MAX) for x in values)


def enum_writer(cls: type[enum.Enum]) -> Hook:
    """The hook: members of ``cls`` → their plain form."""
    flag, by_value, expected = issubclass(cls, enum.Flag), _by_value(cls), _described(cls)

    @trait()
    def write_enum(value: Any) -> Any:
        if not isinstance(value, cls):
            raise refuse(expected, value)
        if flag:
            return write_int(value.value)
        return value.value if by_value else value.name

    return write_enum


def enum_reader(cls: type[enum.Enum]) -> Hook:
    """The inverse. The class itself is asked about other values, for ``_missing_`` and combined flags."""
    flag, by_value, expected = issubclass(cls, enum.Flag), _by_value(cls), _described(cls)
    table: dict[Any, enum.Enum] = {x.value: x for x in cls} if by_value else dict(cls.__members__)

    def msgspec_read(msgspec: ModuleType) -> MsgspecRead | None:
        kinds: set[type] = {int} if flag else {type(x) for x in table}
        # A value that is not in the table takes the general way.
        return _typed(kinds, read_enum if flag else table.__getitem__, msgspec)

    @trait(msgspec_read=msgspec_read)
    def read_enum(value: Any, _: Any = None) -> enum.Enum:
        plain = read_int(value) if flag else value
        if plain.__class__ is str or plain.__class__ is int:
            if (found := table.get(plain)) is not None:
                return found
            if by_value or flag:
                try:
                    return cls(plain)
                except ValueError:
                    pass
        raise refuse(expected, value)

    return read_enum


def _typed(kinds: set[type], convert: Callable[[Any], Any], msgspec: ModuleType) -> MsgspecRead | None:
    """Read values of these JSON types, and convert them."""
    forms = tuple(int64(msgspec) if x is int else x for x in kinds)
    return MsgspecRead(typing.Union[forms], convert) if forms and kinds <= _FORMS else None  # noqa: UP007 (how many is not known)


def _described(cls: type[enum.Enum], limit: int = 6) -> str:
    members = [repr(x.value) if _by_value(cls) else x.name for x in cls]
    return f"{cls.__name__} ({', '.join(members[:limit])}{', ...' if len(members) > limit else ''})"


def literal_hooks(find: _Finder, annotation: Any, converter: Converter) -> tuple[Hook, Hook]:
    """Write and read hooks for ``Literal[...]``; its values keep their types, so that 1 is not True.

    Args:
        find: `writer`, for the members that are enum members or bytes.
        annotation: the Literal.
        converter: where ``find`` looks.

    Raises:
        Unsupported: two members have the same plain form.
    """
    members = typing.get_args(annotation)
    plain = [find(converter, type(x))(x) for x in members]
    to_plain = {(type(x), x): y for x, y in zip(members, plain, strict=True)}
    to_member = {(type(y), y): x for x, y in zip(members, plain, strict=True)}
    if len(to_member) < len(to_plain):
        raise Unsupported(f"two members of {annotation} would be stored alike")
    expected = " or ".join(repr(x) for x in members)

    return _exchange(to_plain, expected), _exchange(to_member, expected)


def _exchange(table: dict[tuple[type, Any], Any], expected: str) -> Hook:
    def msgspec_read(msgspec: ModuleType) -> MsgspecRead | None:
        kinds, strings = {x for x, _ in table}, {x: y for (_, x), y in table.items()}
        return _typed(kinds, strings.__getitem__ if kinds == {str} else exchange, msgspec)

    @trait(msgspec_read=msgspec_read)
    def exchange(value: Any, _: Any = None) -> Any:
        try:
            return table[value.__class__, value]
        except (KeyError, TypeError):
            raise refuse(expected, value) from None

    return exchange
