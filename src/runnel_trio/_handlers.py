"""Checks a processor function where it is declared, and not when the first event comes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from runnel_trio._codec import Record
from runnel_trio._event import Event
from runnel_trio._names import name_of, source_line
from runnel_trio.exceptions import Misconfigured

__all__ = ["check_function"]

_QUOTES = " \"'"


def check_function(name: str, record: type[Any], function: Callable[..., Any]) -> None:
    """Refuse a function that could not be called with the events of a partition.

    Args:
        name: the processor's.
        record: of its stream.
        function: what was decorated.

    Raises:
        Misconfigured: it is not async, takes other arguments, or is annotated to take one event.
    """
    meant = f"`async def {name_of(function)}(events):` ({source_line(function)})"
    if not inspect.iscoroutinefunction(function):
        raise Misconfigured(f"processor {name!r} must be an async function: {meant}")
    signature = inspect.signature(function)
    try:
        signature.bind(None)
    except TypeError as error:
        raise Misconfigured(
            f"processor {name!r} is called with one argument, the events of a partition ({error}): {meant}"
        ) from None
    one = _single(next(iter(signature.parameters.values())).annotation, record)
    if one:
        raise Misconfigured(
            f"processor {name!r} is annotated to take one {one}: it is called for a partition, with all its "
            f"events. Write {meant} and in it `async for {one.lower()} in events.records():`"
        )


def _single(annotation: Any, record: type[Any]) -> str:
    """The name of what there is one of, if the annotation says so."""
    if isinstance(annotation, str):  # where it stands, names may not be known yet
        last = annotation.strip(_QUOTES).rpartition(".")[2]
        return last if last in {record.__name__, Event.__name__} else ""
    if isinstance(annotation, type) and issubclass(annotation, Record | Event):
        return annotation.__name__
    return ""
