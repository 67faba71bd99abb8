"""Hooks for ``Optional``, ``Union`` and ``Any``.

A union is read by the types that JSON distinguishes: null, a boolean, a number with or without a fraction, a
string, and an object. Objects are records, distinguished by the name of their class in the field ``_type``.
Types that JSON cannot distinguish (``datetime | str`` are both strings) are refused when the stream is
declared.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
from cattrs import Converter

from runnel_trio._codec._fast._precheck import MsgspecWrite, Precheck
from runnel_trio._codec._hooks._fields import is_structure
from runnel_trio._codec._hooks._lookup import name_of, reader, writer
from runnel_trio._codec._hooks._numbers import NATIVE, write_str
from runnel_trio._codec._hooks._traits import (
    Hook,
    Mismatch,
    MsgspecRead,
    Part,
    Unsupported,
    msgspec_read_of,
    precheck_of,
    refuse,
    trait,
    traits_of,
)
from runnel_trio._report._words import described

__all__ = ["TAG", "is_union", "read_any", "union_reader", "union_writer", "write_any"]

#: The field of an object that holds the name of its class, if the annotation leaves that open.
TAG = "_type"
_VALUE = "value"
_JSON_VALUE = "a JSON value (None, bool, int of 64 bits, finite float, str, list or dict of str)"


def is_union(annotation: Any) -> bool:
    """Whether it is ``Union[...]``, ``Optional[...]`` or ``A | B``."""
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def union_writer(annotation: Any, converter: Converter) -> Hook:
    """The hook for any union, including `Optional`."""
    if (inner := _optional(annotation)) is not None:
        return _optional_hook(writer(converter, inner))
    return _Members.of(annotation, converter, writer).write_hook()


def union_reader(annotation: Any, converter: Converter) -> Hook:
    """The inverse of `union_writer`."""
    if (inner := _optional(annotation)) is not None:
        return _optional_hook(reader(converter, inner))
    return _Members.of(annotation, converter, reader).read_hook()


def _optional(annotation: Any) -> Any:
    """The ``T`` of ``T | None``; None for another union."""
    members = [x for x in typing.get_args(annotation) if x is not type(None)]
    return members[0] if len(members) == 1 else None


def _optional_hook(hook: Hook) -> Hook:
    traits = traits_of(hook)
    inner = traits.inline if traits else None
    precheck = precheck_of(hook)

    def parts(value: Any) -> Iterator[Part]:
        if value is not None:
            yield "", value, hook

    def msgspec_read(msgspec: types.ModuleType) -> MsgspecRead | None:
        return _msgspec_read_optional(msgspec_read_of(hook, msgspec))

    @trait(
        parts=parts,
        inline=f"({{v}} is None or {inner})" if inner else None,
        precheck=precheck and _precheck_optional(precheck),
        msgspec_read=msgspec_read,
    )
    def convert(value: Any, _: Any = None) -> Any:
        return None if value is None else hook(value)

    return convert


def _precheck_optional(precheck: Precheck) -> Precheck:
    msgspec_write = precheck.msgspec_write and partial(_msgspec_write_optional, precheck.msgspec_write)
    return Precheck(f"({{v}} is None or {precheck.source})", precheck.function, msgspec_write=msgspec_write)


def _msgspec_write_optional(msgspec_write: MsgspecWrite, msgspec: types.ModuleType) -> Hook:
    one = msgspec_write(msgspec)
    return lambda value: None if value is None else one(value)


def _msgspec_read_optional(inner: MsgspecRead | None) -> MsgspecRead | None:
    if inner is None or inner.convert is None:
        return inner and MsgspecRead(typing.Optional[inner.form])  # noqa: UP045 (the form is a value)
    convert = inner.convert
    return MsgspecRead(typing.Optional[inner.form], lambda value: None if value is None else convert(value))  # noqa: UP045 (as above)


@attrs.frozen
class _Members:
    """The members of a union with their hooks, by the class of their values."""

    expected: str
    hooks: dict[type, Hook]
    names: dict[str, type]

    @classmethod
    def of(cls, annotation: Any, converter: Converter, find: Callable[[Converter, Any], Hook]) -> _Members:
        expected = name_of(annotation)
        hooks: dict[type, Hook] = {}
        names: dict[str, type] = {}
        for member in typing.get_args(annotation):
            hook = find(converter, member)
            traits = traits_of(hook)
            if traits is not None and traits.exact in NATIVE:
                kind: type = traits.exact
            elif is_structure(member):
                kind = member
                names[kind.__name__] = kind
            else:
                raise _ambiguous(annotation, f"{name_of(member)} has no JSON type of its own")
            if kind in hooks:
                raise _ambiguous(annotation, f"two members are stored as {kind.__name__}")
            hooks[kind] = hook
        if len(names) < sum(1 for x in hooks if x not in NATIVE) or names.keys() & {"int", "float"}:
            raise _ambiguous(annotation, "the names of its classes must differ")
        return cls(expected, hooks, names)

    def hook_for(self, value: Any) -> Hook:
        """The hook of the value's class, or of its first base that has one; an int may use float's."""
        kind = value.__class__
        if (hook := self.hooks.get(kind)) is not None:
            return hook
        for base in (*kind.__mro__, *((float,) if kind is int else ())):
            if base in self.hooks and kind is not bool:
                return self.hooks[base]
        raise refuse(self.expected, value)

    def write_hook(self) -> Hook:
        def parts(value: Any) -> Iterator[Part]:
            yield "", value, self.hook_for(value)

        @trait(parts=parts)
        def write_union(value: Any) -> Any:
            plain = self.hook_for(value)(value)
            if isinstance(value, (int, float)):
                # As a string it would be taken for one.
                return {TAG: _number(value), _VALUE: plain} if plain.__class__ is str else plain
            if plain is None or isinstance(value, str):
                return plain
            return _tagged(self._class_of(value), plain)

        return write_union

    def _class_of(self, value: Any) -> str:
        return next(base.__name__ for base in type(value).__mro__ if base in self.hooks)

    def read_hook(self) -> Hook:
        def parts(value: Any) -> Iterator[Part]:
            hook, part = self._told_apart(value)
            yield "", part, hook

        def msgspec_read(msgspec: types.ModuleType) -> MsgspecRead | None:
            return self._typed(read_union, msgspec)

        @trait(parts=parts, msgspec_read=msgspec_read)
        def read_union(value: Any, _: Any = None) -> Any:
            hook, part = self._told_apart(value)
            return hook(part)

        return read_union

    def _typed(self, read: Hook, msgspec: types.ModuleType) -> MsgspecRead | None:
        """Read a union of JSON's own types only, because a tagged object may hold anything."""
        forms = tuple(x.form for hook in self.hooks.values() if (x := msgspec_read_of(hook, msgspec)))
        return MsgspecRead(typing.Union[forms], read) if self.hooks.keys() <= NATIVE.keys() else None  # noqa: UP007 (values)

    def _told_apart(self, value: Any) -> tuple[Hook, Any]:
        if value.__class__ is not dict:
            return self.hook_for(value), value
        tag = value.get(TAG)
        if tag.__class__ is not str:
            raise Mismatch(f"expected {self.expected}, got an object without {TAG!r}")
        if tag in ("int", "float") and (number := {"int": int, "float": float}[tag]) in self.hooks:
            return self.hooks[number], value.get(_VALUE)
        if tag not in self.names:
            raise Mismatch(f"expected {self.expected}, got an object with {TAG!r} {tag!r}")
        return self.hooks[self.names[tag]], {k: v for k, v in value.items() if k != TAG}


def _number(value: float) -> str:
    return "int" if isinstance(value, int) else "float"


def _tagged(name: str, plain: Any) -> dict[str, Any]:
    if plain.__class__ is not dict or TAG in plain:
        raise Mismatch(f"in a union, the plain form of {name} must be an object without a field {TAG!r}")
    return {TAG: name, **plain}


def _ambiguous(annotation: Any, why: str) -> Unsupported:
    return Unsupported(
        f"{name_of(annotation)} cannot be told apart when it is read: {why}; "
        "use a Record with a field for each, or register hooks for it on app.converter"
    )


def _any_parts(value: Any) -> Iterator[Part]:
    if isinstance(value, dict):
        for k, v in value.items():
            if not isinstance(k, str):
                raise Mismatch(f"expected a str as key, got {described(k)}")
            yield f"[{k!r}]", v, write_any
    elif isinstance(value, list):
        for position, x in enumerate(value):
            yield f"[{position}]", x, write_any


@trait(parts=_any_parts)
def write_any(value: Any) -> Any:
    """A value that JSON preserves: None, bool, 64-bit int, finite float, str, list, or dict with str keys."""
    kind = value.__class__
    if kind is dict:
        return {write_str(k): write_any(v) for k, v in value.items()}
    if kind is list:
        return [write_any(x) for x in value]
    native = NATIVE.get(kind)
    plain = native[0](value) if native else None
    if native is None or plain.__class__ is not kind:
        raise refuse(_JSON_VALUE, value)
    return plain


@trait(inline="True")
def read_any(value: Any, _: Any = None) -> Any:
    """Any JSON value, as it is."""
    return value
