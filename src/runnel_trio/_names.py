"""Names that users choose, and the rules for them."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, TypeVar, cast

import attrs

from runnel_trio._report._words import described
from runnel_trio.exceptions import Misconfigured

__all__ = [
    "TRACE_FIELD",
    "check_key",
    "checked_name",
    "closest",
    "free_name",
    "is_name",
    "name_of",
    "named",
    "source_line",
]

F = TypeVar("F", bound=Callable[..., Any])

#: The field of an entry that tells who sent it, see `tracing`: no field of a record can be called so.
TRACE_FIELD = b":trace"

#: Names become parts of Redis keys: these would let one name reach into another's key.
_FORBIDDEN = set("{}:/")
_LONGEST_NAME = 128


def checked_name(kind: str, name: Any) -> str:
    """A name that can stand in a key.

    Raises:
        Misconfigured: it cannot.
    """
    if not isinstance(name, str) or not name:
        article = "an" if kind[0] in "aeiou" else "a"
        raise Misconfigured(
            f"the name of {article} {kind} must be a text that is not empty, not {described(name)}"
        )
    wrong = sorted({c for c in name if c in _FORBIDDEN or c.isspace() or not c.isprintable()})
    if wrong:
        raise Misconfigured(
            f"{kind} name {name!r}: {', '.join(map(repr, wrong))} cannot be part of a Redis key here. "
            f"Letters, digits and signs like - _ . can, {_LONGEST_NAME} bytes of them"
        )
    if len(name.encode()) > _LONGEST_NAME:
        raise Misconfigured(f"{kind} name {name[:20]!r}… is longer than {_LONGEST_NAME} bytes")
    return name


def is_name(name: str) -> bool:
    """Whether it can stand in a key: others never do."""
    try:
        return bool(checked_name("key", name))
    except Misconfigured:
        return False


def free_name(app: str, kind: str, name: Any, taken: Collection[str]) -> str:
    """As `checked_name`, of one that an app does not have yet.

    Raises:
        Misconfigured: it cannot be used, or is taken.
    """
    if checked_name(kind, name) in taken:
        raise Misconfigured(f"app {app!r} has a {kind} named {name!r} already: give this one another name")
    return str(name)


def closest(name: str, names: Collection[str]) -> str | None:
    """The one that was probably meant.

    Example:
        >>> closest("partiton_by", ["partition_by", "record"]), closest("x", ["record"])
        ('partition_by', None)
    """
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.75)), None)


def named(function: F) -> F:
    """Have a keyword that a function does not take refused with the one that was probably meant."""
    known = [name for name in inspect.signature(function).parameters if name != "self"]

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs:
            if name not in known:
                meant = closest(name, known)
                hint = f"did you mean {meant}?" if meant else f"there are {', '.join(known)}."
                raise Misconfigured(f"{function.__name__}() takes no argument {name}: {hint}")
        return function(*args, **kwargs)

    return cast("F", checked)


def check_key(record: Any, partition_by: Any) -> None:
    """Refuse a ``partition_by`` that no record of the class can have.

    Raises:
        Misconfigured: names the class and the fields that it has.
    """
    if callable(partition_by):
        return
    if not isinstance(partition_by, str):
        raise Misconfigured(
            f"partition_by must be a field's name or a function, not {described(partition_by)}"
        )
    if attrs.has(record) and not hasattr(record, partition_by):
        fields = [field.name for field in attrs.fields(record)]
        if partition_by not in fields:
            raise Misconfigured(
                f"partition_by={partition_by!r}: {record.__name__} has no such field; "
                f"it has {', '.join(fields)}"
            )


def name_of(function: Any) -> str:
    """What to call a function."""
    return getattr(function, "__name__", None) or type(function).__name__


def source_line(function: Any) -> str:
    """Where a function stands, as ``file.py:12``; empty where that cannot be known."""
    code = getattr(inspect.unwrap(function) if callable(function) else function, "__code__", None)
    if code is None:
        return ""
    path = os.path.relpath(code.co_filename)
    return f"{code.co_filename if path.startswith(os.pardir) else path}:{code.co_firstlineno}"
