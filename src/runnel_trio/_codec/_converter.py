"""The converter of an app: which hooks serve which types."""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from cattrs import Converter

from runnel_trio._codec._hooks._containers import (
    dict_reader,
    dict_writer,
    sequence_reader,
    sequence_writer,
    tuple_reader,
    tuple_writer,
)
from runnel_trio._codec._hooks._enums import enum_reader, enum_writer, literal_hooks
from runnel_trio._codec._hooks._fields import is_structure
from runnel_trio._codec._hooks._lookup import reader, unsupported, writer
from runnel_trio._codec._hooks._numbers import NATIVE
from runnel_trio._codec._hooks._scalars import SCALARS
from runnel_trio._codec._hooks._structures import structure_reader, structure_writer
from runnel_trio._codec._hooks._traits import Hook, trait, traits_of
from runnel_trio._codec._hooks._unions import is_union, read_any, union_reader, union_writer, write_any
from runnel_trio._codec._record import alias_of

__all__ = ["configure_converter", "make_converter"]

_SEQUENCES = (list, set, frozenset)
_BARE_TUPLE: Any = typing.Tuple  # noqa: UP006 (without arguments it looks like tuple[()])
_Factory: TypeAlias = Callable[[Any, Converter], Hook]


class _Converter(Converter):
    """A cattrs converter on which a hook for a union wins over the library's, as other hooks do."""

    def register_structure_hook(self, cl: Any, func: Any = None) -> Any:
        """As in cattrs."""
        if func is None:
            return super().register_structure_hook(cl)
        if is_union(cl):
            # cattrs keeps these apart: it asks every hook factory first, and leaves them out of a copy.
            return self.register_structure_hook_func(lambda t: t == cl, func)
        return super().register_structure_hook(cl, func)


def make_converter() -> Converter:
    """A converter as every app has it: strict in both directions, for all the types of a `Record`.

    It is public as ``app.converter``. Register hooks for other types on it, or other hooks for these,
    *before* a stream is declared: a stream takes the hooks as they are then.

    Example:
        >>> from ipaddress import IPv4Address
        >>> from runnel_trio._codec import Record, make_converter
        >>> converter = make_converter()
        >>> converter.register_unstructure_hook(IPv4Address, str)
        >>> converter.register_structure_hook(IPv4Address, lambda value, _: IPv4Address(value))
        >>> class Visit(Record):
        ...     source: IPv4Address
        ...     pages: set[int]
        >>> plain = converter.unstructure(Visit(source=IPv4Address("10.0.0.1"), pages={3}))
        >>> plain
        {'source': '10.0.0.1', 'pages': [3]}
        >>> converter.structure(plain, Visit)
        Visit(source=IPv4Address('10.0.0.1'), pages={3})
    """
    converter = _Converter(detailed_validation=False)
    configure_converter(converter)
    return converter


def configure_converter(converter: Converter) -> None:
    """Register the hooks of `make_converter` on a converter of your own."""
    for kind, (write, read) in {**NATIVE, **SCALARS, Path: (_refuse_path, _refuse_path)}.items():
        converter.register_unstructure_hook(kind, write)
        converter.register_structure_hook(kind, _cautious(kind, read, converter))
    # The hook registered last is asked first, so users' hooks come before these.
    for accepts, write_factory, read_factory in _FACTORIES:
        converter.register_unstructure_hook_factory(accepts, write_factory)
        converter.register_structure_hook_factory(accepts, read_factory)
    if traits_of(converter.get_structure_hook(_Probe)) is None:
        # Before cattrs 26.1 a hook of its own, found by inheritance, hides the factory for enumerations.
        converter.register_structure_hook(enum.Enum, _cautious(enum.Enum, _refuse_enum, converter))


@trait(exact=type(NotImplemented))  # so that this hook serves no type at all, not even Path
def _refuse_path(*_: Any) -> NoReturn:
    """Replaces cattrs' own hooks for paths, which accept anything."""
    raise unsupported(Path)


class _Probe(enum.Enum):
    MEMBER = 1


@trait(exact=enum.Enum)
def _refuse_enum(_: Any) -> NoReturn:
    raise unsupported(enum.Enum)


def _cautious(kind: type, read: Hook, converter: Converter) -> Hook:
    """``read`` for ``kind``; the converter also passes subclasses here, which have hooks of their own."""

    def read_as(value: Any, cls: Any = kind) -> Any:
        return read(value) if cls is kind else reader(converter, cls)(value)

    return trait(exact=kind, bare=read)(read_as)


def _no_hook(annotation: Any, _: Converter) -> NoReturn:
    raise unsupported(annotation)


def _is_enum(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, enum.Enum)


def _is_dict(annotation: Any) -> bool:
    return (typing.get_origin(annotation) or annotation) is dict


def _is_sequence(annotation: Any) -> bool:
    kind = typing.get_origin(annotation) or annotation
    return kind in _SEQUENCES or (kind is tuple and not _is_fixed_tuple(annotation))


def _is_fixed_tuple(annotation: Any) -> bool:
    if typing.get_origin(annotation) is not tuple or annotation is _BARE_TUPLE:
        return False
    return typing.get_args(annotation)[-1:] != (Ellipsis,)


def _is_literal(annotation: Any) -> bool:
    return typing.get_origin(annotation) is typing.Literal


def _is_alias(annotation: Any) -> bool:
    return alias_of(annotation) is not None


#: For which types, how to write, how to read. The converter asks the last one first.
_FACTORIES: list[tuple[Callable[[Any], bool], _Factory, _Factory]] = [
    (lambda _: True, _no_hook, _no_hook),
    (_is_enum, lambda t, _: enum_writer(t), lambda t, _: enum_reader(t)),
    (is_structure, structure_writer, structure_reader),
    (_is_dict, dict_writer, dict_reader),
    (_is_sequence, sequence_writer, sequence_reader),
    (_is_fixed_tuple, tuple_writer, tuple_reader),
    (is_union, union_writer, union_reader),
    (_is_literal, lambda t, c: literal_hooks(writer, t, c)[0], lambda t, c: literal_hooks(writer, t, c)[1]),
    (lambda t: t is Any, lambda _, __: write_any, lambda _, __: read_any),
    (_is_alias, lambda t, c: writer(c, alias_of(t)), lambda t, c: reader(c, alias_of(t))),
]
