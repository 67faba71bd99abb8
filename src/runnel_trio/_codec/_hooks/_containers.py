"""Hooks for list, tuple, set, frozenset and dict.

All are stored as a list, except for a dict whose keys are strings, which is stored as an object. Any other
dict is a list of pairs, because the keys of an object can only be strings.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator
from functools import partial
from types import GenericAlias, ModuleType
from typing import Any, TypeAlias

from cattrs import Converter

from runnel_trio._codec._fast._precheck import MsgspecWrite, Precheck, PrecheckFailed, each
from runnel_trio._codec._hooks._lookup import Finder, below, reader, writer
from runnel_trio._codec._hooks._numbers import plain_strs
from runnel_trio._codec._hooks._traits import (
    Hook,
    Mismatch,
    MsgspecRead,
    Part,
    msgspec_read_of,
    precheck_of,
    refuse,
    trait,
    traits_of,
)
from runnel_trio._report._words import described

__all__ = ["dict_reader", "dict_writer", "sequence_reader", "sequence_writer", "tuple_reader", "tuple_writer"]

_Ordered: TypeAlias = type[list[Any]] | type[tuple[Any, ...]]
_Collection: TypeAlias = _Ordered | type[set[Any]] | type[frozenset[Any]]


def _nothing_plain(_: Any) -> bool:
    return False


def _plain_test(hook: Hook) -> Callable[[Any], bool]:
    traits = traits_of(hook)
    return (traits and traits.plain) or _nothing_plain


def _indexed(hook: Hook, kind: _Collection) -> Callable[[Any], Iterator[Part]]:
    """The parts of a collection, by position."""

    def parts(value: Any) -> Iterator[Part]:
        for position, x in enumerate(value) if isinstance(value, kind) else ():
            yield f"[{position}]", x, hook

    return parts


def sequence_writer(annotation: Any, converter: Converter) -> Hook:
    """The hook for ``list[T]``, ``tuple[T, ...]``, ``set[T]``, ``frozenset[T]`` and the bare types."""
    kind = typing.get_origin(annotation) or annotation
    hook = below(writer, converter, _element(annotation), "[]")
    plain = _plain_test(hook)

    @trait(
        parts=_indexed(hook, kind),
        elements=_elements_test(kind, plain),
        precheck=_precheck_sequence(kind, hook),
    )
    def write_sequence(value: Any) -> list[Any]:
        if value.__class__ is not kind and not isinstance(value, kind):
            raise refuse(kind.__name__, value)
        return list(value) if plain(value) else [hook(x) for x in value]

    return write_sequence


def _precheck_sequence(kind: _Collection, hook: Hook) -> Precheck | None:
    precheck = precheck_of(hook)
    if precheck is None:
        return None
    msgspec_write = precheck.msgspec_write and partial(_msgspec_write_sequence, kind, precheck.msgspec_write)
    return Precheck(
        f"{{v}}.__class__ is {kind.__name__} and {{f}}({{v}})", each(precheck), msgspec_write=msgspec_write
    )


def _msgspec_write_sequence(
    kind: _Collection, msgspec_write: MsgspecWrite, msgspec: ModuleType
) -> Callable[[Any], list[Any]]:
    one = msgspec_write(msgspec)

    def convert(value: Any) -> list[Any]:
        if value.__class__ is not kind:
            raise PrecheckFailed
        return [one(x) for x in value]

    return convert


def sequence_reader(annotation: Any, converter: Converter) -> Hook:
    """The inverse of `sequence_writer`."""
    kind = typing.get_origin(annotation) or annotation
    hook = below(reader, converter, _element(annotation), "[]")
    plain = _plain_test(hook)

    @trait(
        parts=_indexed(hook, list),
        elements=_elements_test(kind, plain),
        msgspec_read=lambda msgspec: _msgspec_read_sequence(kind, msgspec_read_of(hook, msgspec)),
    )
    def read_sequence(value: Any, _: Any = None) -> Any:
        if value.__class__ is not list:
            raise refuse("list", value)
        found = value if plain(value) else [hook(x) for x in value]
        return found if kind is list else kind(found)

    return read_sequence


def _msgspec_read_sequence(kind: _Collection, element: MsgspecRead | None) -> MsgspecRead | None:
    if element is None:
        return None
    convert = element.convert
    if convert is None:
        return MsgspecRead(GenericAlias(kind, (element.form, ...) if kind is tuple else (element.form,)))
    return MsgspecRead(GenericAlias(list, (element.form,)), lambda value: kind([convert(x) for x in value]))


def _elements_test(kind: _Collection, plain: Callable[[Any], bool]) -> Callable[[Any], bool] | None:
    return None if plain is _nothing_plain or kind is not list else plain


def _element(annotation: Any) -> Any:
    return (typing.get_args(annotation) or (Any,))[0]


def _tuple(find: Finder, annotation: Any, converter: Converter, kind: _Ordered) -> Hook:
    """The hook for a tuple of fixed length; ``kind`` is the type that a value must have."""
    types = typing.get_args(annotation)
    hooks = [below(find, converter, x, f"[{i}]") for i, x in enumerate(types)]
    expected = f"{kind.__name__} of {len(hooks)}"

    def parts(value: Any) -> Iterator[Part]:
        if isinstance(value, kind) and len(value) == len(hooks):
            for i, (x, hook) in enumerate(zip(value, hooks, strict=True)):
                yield f"[{i}]", x, hook

    @trait(parts=parts)
    def convert(value: Any, _: Any = None) -> list[Any]:
        if not isinstance(value, kind) or len(value) != len(hooks):
            raise refuse(expected, value)
        return [hook(x) for hook, x in zip(hooks, value, strict=True)]

    return convert


def tuple_writer(annotation: Any, converter: Converter) -> Hook:
    """The hook for ``tuple[A, B]``."""
    return _tuple(writer, annotation, converter, tuple)


def tuple_reader(annotation: Any, converter: Converter) -> Hook:
    """The inverse of `tuple_writer`."""
    inner = _tuple(reader, annotation, converter, list)
    traits = traits_of(inner)
    hooks = [reader(converter, x) for x in typing.get_args(annotation)]

    @trait(
        parts=traits.parts if traits else None,
        msgspec_read=lambda msgspec: _msgspec_read_tuple(hooks, msgspec),
    )
    def read_tuple(value: Any, _: Any = None) -> tuple[Any, ...]:
        return tuple(inner(value))

    return read_tuple


def _msgspec_read_tuple(hooks: list[Hook], msgspec: ModuleType) -> MsgspecRead | None:
    found = [msgspec_read_of(x, msgspec) for x in hooks]
    parts = [x for x in found if x is not None]
    if not found or len(parts) < len(found):
        return None
    form = GenericAlias(tuple, tuple(x.form for x in parts))
    converts = [x.convert or _itself for x in parts]
    if all(x.convert is None for x in parts):
        return MsgspecRead(form)
    return MsgspecRead(form, lambda value: tuple([f(x) for f, x in zip(converts, value, strict=True)]))


def _itself(value: Any) -> Any:
    return value


def _has_text_keys(annotation: Any, converter: Converter) -> bool:
    """Whether keys are strings, written by our own hook: a user's hook may return anything."""
    traits = traits_of(writer(converter, _key_and_value(annotation)[0]))
    return traits is not None and traits.exact is str


def _key_and_value(annotation: Any) -> tuple[Any, Any]:
    key, value = typing.get_args(annotation) or (str, Any)
    return key, value


def dict_writer(annotation: Any, converter: Converter) -> Hook:
    """The hook for ``dict[K, V]`` and the bare ``dict``, which is ``dict[str, Any]``."""
    key_type, value_type = _key_and_value(annotation)
    key_hook = below(writer, converter, key_type, "[key]")
    hook = below(writer, converter, value_type, "[]")
    plain = _plain_test(hook)
    parts = _dict_parts(key_hook, hook)

    @trait(parts=parts)
    def write_object(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise refuse("dict", value)
        if not plain_strs(value):
            value = {key_hook(k): v for k, v in value.items()}  # a subclass of str, or a fault
        return dict(value) if plain(value.values()) else {k: hook(v) for k, v in value.items()}

    @trait(parts=parts)
    def write_pairs(value: Any) -> list[list[Any]]:
        if not isinstance(value, dict):
            raise refuse("dict", value)
        return [[key_hook(k), hook(v)] for k, v in value.items()]

    return write_object if _has_text_keys(annotation, converter) else write_pairs


def _dict_parts(key_hook: Hook, hook: Hook) -> Callable[[Any], Iterator[Part]]:
    def parts(value: Any) -> Iterator[Part]:
        for k, v in value.items() if isinstance(value, dict) else ():
            yield f"[{described(k)} as key]", k, key_hook
            yield f"[{described(k)}]", v, hook

    return parts


def dict_reader(annotation: Any, converter: Converter) -> Hook:
    """The inverse of `dict_writer`."""
    key_type, value_type = _key_and_value(annotation)
    key_hook = below(reader, converter, key_type, "[key]")
    hook = below(reader, converter, value_type, "[]")

    def msgspec_read(msgspec: ModuleType) -> MsgspecRead | None:
        return _msgspec_read_object(msgspec_read_of(key_hook, msgspec), msgspec_read_of(hook, msgspec))

    @trait(parts=_dict_parts(key_hook, hook), msgspec_read=msgspec_read)
    def read_object(value: Any, _: Any = None) -> dict[Any, Any]:
        if value.__class__ is not dict or not plain_strs(value):
            raise refuse("object", value)
        return {key_hook(k): hook(v) for k, v in value.items()}

    @trait(parts=_pair_parts(key_hook, hook))
    def read_pairs(value: Any, _: Any = None) -> dict[Any, Any]:
        if value.__class__ is not list:
            raise refuse("list of pairs", value)
        return {key_hook(k): hook(v) for k, v in map(_pair, value)}

    return read_object if _has_text_keys(annotation, converter) else read_pairs


def _msgspec_read_object(key: MsgspecRead | None, item: MsgspecRead | None) -> MsgspecRead | None:
    if key is None or key.convert is not None or item is None:
        return None
    form, convert = GenericAlias(dict, (key.form, item.form)), item.convert
    if convert is None:
        return MsgspecRead(form)
    return MsgspecRead(form, lambda value: {k: convert(v) for k, v in value.items()})


def _pair(value: Any) -> list[Any]:
    if value.__class__ is list and len(value) == 2:
        return value
    raise refuse("pair", value)


def _pair_parts(key_hook: Hook, hook: Hook) -> Callable[[Any], Iterator[Part]]:
    def parts(value: Any) -> Iterator[Part]:
        for position, pair in enumerate(value if isinstance(value, list) else ()):
            try:
                key, item = _pair(pair)
            except Mismatch as error:
                raise Mismatch(error.reason, f"[{position}]") from None
            yield f"[{position}][0]", key, key_hook
            yield f"[{position}][1]", item, hook

    return parts
