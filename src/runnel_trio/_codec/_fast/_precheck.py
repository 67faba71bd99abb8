"""A cheap check that records will encode, so that encoding can overlap the send.

A send refuses a record that does not fit before anything leaves. Encoding everything to find that out would
keep the server waiting. The check takes a quarter of the time, and checked records are encoded while the
server works. If there is no such check (for a user's hook, say), or it fails, everything is encoded first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any, TypeAlias
from uuid import UUID

import attrs

__all__ = ["NAMES", "MsgspecWrite", "Precheck", "PrecheckAll", "PrecheckFailed", "each", "encodable"]

#: See `Precheck.msgspec_write`.
MsgspecWrite: TypeAlias = Callable[[ModuleType], Callable[[Any], Any]]
#: Tells whether all of some values are certain to encode.
PrecheckAll: TypeAlias = Callable[[Collection[Any]], bool]


class PrecheckFailed(Exception):
    """It is not certain that a value can be encoded."""


def encodable(text: str) -> bool:
    """Whether a text has a UTF-8 form: lone surrogates have none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


#: The names that the conditions in `Traits.inline` and `Precheck.source` may use.
NAMES: dict[str, Any] = {
    "Decimal": Decimal,
    "UUID": UUID,
    "date": date,
    "datetime": datetime,
    "encodable": encodable,
    "time": time,
    "timedelta": timedelta,
    "utc": UTC,
}


@attrs.frozen
class Precheck:
    """The condition under which neither a hook nor one of our JSON serializers after it can fail.

    Attributes:
        source: source of the condition on ``{v}``; it may call ``{f}``.
        function: what ``{f}`` is.
        each: checks all elements of a collection; None: the function `each` makes it.
        msgspec_write: msgspec → a function that turns a value into one that msgspec writes as our serializers
            write its plain form (see `_msgspec_write`), and raises if the condition does not hold. None if
            msgspec can write the value itself.
    """

    source: str
    function: Callable[[Any], bool] | None = None
    each: PrecheckAll | None = None
    msgspec_write: MsgspecWrite | None = None


def each(precheck: Precheck) -> PrecheckAll:
    """The check of all elements of a collection."""
    if precheck.each is not None:
        return precheck.each
    known = {**NAMES, "f": precheck.function}
    condition = precheck.source.format(v="v", f="f")
    source = f"def each(values):\n for v in values:\n  if not ({condition}):\n   return False\n return True\n"
    exec(compile(source, "<each>", "exec"), known)
    made: PrecheckAll = known["each"]
    return made
