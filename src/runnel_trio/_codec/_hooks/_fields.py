"""The fields of a Record, another attrs class or a dataclass, in one shape."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from typing import Any

import attrs

from runnel_trio._codec._hooks._traits import Unsupported
from runnel_trio._codec._record import resolve_annotations

__all__ = ["Field", "fields_of", "is_structure", "unresolved"]


@attrs.frozen
class Field:
    """One field.

    Attributes:
        name: its name as an attribute, and in the stored form.
        argument: its name as an argument of the constructor.
        annotation: its type.
        required: whether the constructor needs it.
        default: makes the default, if there is one that does not depend on the instance.
    """

    name: str
    argument: str
    annotation: Any
    required: bool
    default: Callable[[], Any] | None = None


def is_structure(annotation: Any) -> bool:
    """Whether it is a class whose fields are known."""
    return isinstance(annotation, type) and (attrs.has(annotation) or dataclasses.is_dataclass(annotation))


def fields_of(cls: type[Any]) -> list[Field]:
    """The fields that the constructor takes.

    Raises:
        Unsupported: an annotation is missing, or names something that does not exist.
    """
    found = _attrs_fields(cls) if attrs.has(cls) else _dataclass_fields(cls)
    for field in found:
        if field.annotation is None:
            raise Unsupported("has no annotation", f".{field.name}")
    return found


def _attrs_fields(cls: type[Any]) -> list[Field]:
    if not resolve_annotations(cls):
        raise Unsupported(unresolved(cls))
    return [
        Field(x.name, x.alias or x.name, x.type, x.default is attrs.NOTHING, _default(x.default))
        for x in attrs.fields(cls)
        if x.init
    ]


def _default(default: Any) -> Callable[[], Any] | None:
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a function only in attrs' stubs
        return None if default.takes_self else default.factory
    return None if default is attrs.NOTHING else lambda: default


def _dataclass_fields(cls: type[Any]) -> list[Field]:
    try:
        types = typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    except NameError:
        raise Unsupported(unresolved(cls)) from None
    return [
        Field(x.name, x.name, types[x.name], x.default is x.default_factory is dataclasses.MISSING)
        for x in dataclasses.fields(cls)
        if x.init
    ]


def unresolved(cls: type[Any]) -> str:
    try:
        typing.get_type_hints(cls)
    except NameError as error:
        return f"an annotation of {cls.__name__} cannot be resolved: {error}"
    return f"an annotation of {cls.__name__} cannot be resolved"
