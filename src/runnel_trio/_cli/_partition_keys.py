"""Reads a partition key from the command line: as the field's type, as JSON, or as text."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from runnel_trio._cli._errors import Ended, Exit
from runnel_trio._stream import Stream
from runnel_trio.exceptions import RunnelError

__all__ = ["key_of", "number_of"]


def key_of(stream: Stream[Any], text: str) -> Any:
    """The key that ``text`` means.

    With ``partition_by="field"`` it is a value of that field's type. With a function it may be of any type,
    so the text is read as JSON if it is JSON, else taken as it is.

    Raises:
        Ended: it is not a value of the field's type.
    """
    if not isinstance(stream.partition_by, str):
        return _json(text)
    read = stream.codec.reader_of(stream.partition_by)
    if read is None:  # the key is a property of the record, and no field
        return _json(text)
    for form in (lambda: text, lambda: _json(text)):
        given = form()
        with suppress(Exception):  # a user's hook may raise anything
            return read(given)
    raise Ended(
        Exit.USAGE,
        f"{text!r} is no {stream.partition_by} of {stream.record.__name__}: give it as it stands in JSON",
    )


def number_of(stream: Stream[Any], key: Any, count: int) -> int:
    """The partition of a key, among ``count`` partitions.

    Raises:
        Ended: the key cannot be hashed.
    """
    try:
        return int(stream.hasher(key)) % count
    except RunnelError as error:
        raise Ended(Exit.USAGE, str(error)) from error
    except RecursionError:
        raise _too_deep() from None


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
    except RecursionError:
        raise _too_deep() from None


def _too_deep() -> Ended:
    return Ended(Exit.USAGE, "the key is nested too deeply to be read as JSON, or to be hashed")
