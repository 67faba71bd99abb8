"""Names that users give, and what they may be."""

from __future__ import annotations

from typing import Any

import attrs

from runnel_trio.exceptions import Misconfigured

__all__ = ["TRACE_FIELD", "check_key", "checked_name", "is_name", "name_of"]

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
        raise Misconfigured(f"the name of a {kind} must be a text that is not empty, not {name!r}")
    wrong = sorted({c for c in name if c in _FORBIDDEN or c.isspace() or not c.isprintable()})
    if wrong:
        raise Misconfigured(
            f"{kind} name {name!r}: {', '.join(map(repr, wrong))} cannot be part of a Redis key here"
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


def check_key(record: Any, partition_by: Any) -> None:
    """Refuse a ``partition_by`` that no record of the class can have.

    Raises:
        Misconfigured: names the class and the fields that it has.
    """
    if callable(partition_by):
        return
    if not isinstance(partition_by, str):
        raise Misconfigured(f"partition_by must be a field's name or a function, not {partition_by!r}")
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
