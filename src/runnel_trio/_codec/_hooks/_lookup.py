"""From an annotation to the hooks that convert its values: the converter's own, or a user's."""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeAlias

from cattrs import Converter

from runnel_trio._codec._hooks._enums import enum_reader, enum_writer
from runnel_trio._codec._hooks._scalars import pass_datetime, write_datetime
from runnel_trio._codec._hooks._traits import Hook, Unsupported, traits_of

__all__ = ["Finder", "below", "name_of", "native_datetimes", "reader", "unsupported", "writer"]

#: Set while the hooks are looked up for a serializer that writes datetimes itself. The converter's own
#: hook stays, so that users' hooks that ask for it still get a string.
native_datetimes: ContextVar[bool] = ContextVar("native_datetimes", default=False)
#: `writer` or `reader`.
Finder: TypeAlias = Callable[[Converter, Any], Hook]


def writer(converter: Converter, annotation: Any) -> Hook:
    """The hook that turns a value of this type into its plain form.

    Raises:
        Unsupported: there is none.
    """
    found = _asked(converter.get_unstructure_hook, annotation)
    if found is write_datetime and native_datetimes.get():
        return pass_datetime
    return found if traits_of(found) is None else _exactly(annotation, found, enum_writer)


def reader(converter: Converter, annotation: Any) -> Hook:
    """The hook, of one argument, that turns a plain form into a value of this type.

    Raises:
        Unsupported: there is none.
    """
    found = _asked(converter.get_structure_hook, annotation)
    if traits_of(found) is None:
        return lambda value: found(value, annotation)
    exact = _exactly(annotation, found, enum_reader)
    traits = traits_of(exact)
    return (traits and traits.bare) or exact


def below(find: Finder, converter: Converter, annotation: Any, step: str) -> Hook:
    """The hook for a part of a type; ``step`` says which part, as in ``.price`` or ``[]``."""
    try:
        return find(converter, annotation)
    except Unsupported as error:
        raise error.below(step) from None


def _asked(ask: Callable[[Any], Hook], annotation: Any) -> Hook:
    try:
        return ask(type(None) if annotation is None else annotation)
    except TypeError as error:
        # The converter looks annotations up in a dict; Annotated may hold what cannot be hashed.
        raise Unsupported(f"{name_of(annotation)} cannot be looked up: {error}") from error


def _exactly(annotation: Any, hook: Hook, of_enum: Callable[[type[enum.Enum]], Hook]) -> Hook:
    """``hook``, unless the type has only inherited it from a scalar type.

    The converter finds hooks by inheritance: an IntEnum would be taken for an int.
    """
    traits = traits_of(hook)
    exact = traits.exact if traits else None
    if exact is None or not isinstance(annotation, type) or annotation is exact:
        return hook
    if issubclass(annotation, enum.Enum):
        return of_enum(annotation)
    raise unsupported(annotation, f"a subclass of {exact.__name__} would come back as {exact.__name__}; ")


def unsupported(annotation: Any, why: str = "") -> Unsupported:
    """The error for a type that has no hook."""
    name = name_of(annotation)
    return Unsupported(f"{name} has no stored form: {why}register hooks for it on app.converter")


def name_of(annotation: Any) -> str:
    """A type as one would write it."""
    return annotation.__name__ if type(annotation) is type else str(annotation).replace("typing.", "")
