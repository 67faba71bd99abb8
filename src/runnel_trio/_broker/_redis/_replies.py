"""What the replies of scripts mean, as values of the protocol."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import attrs

from runnel_trio._broker._seen import Ending, Misfit
from runnel_trio._broker._values import Acquired, CommitOutcome, Held, Lease, Member, Membership, Quarantine
from runnel_trio._rules._cursor import ORIGIN, LogState, parse_id
from runnel_trio.exceptions import BrokerRefused

__all__ = [
    "as_written",
    "ending_of",
    "ending_text",
    "membership",
    "misfits",
    "outcome_of",
    "quarantine_of",
    "quarantine_text",
    "state",
    "table_names",
    "taken",
    "text",
]

P = ParamSpec("P")
T = TypeVar("T")

#: With this, and the name of a table, begins a field of a lease.
_TABLE = b"table:"
#: As `acquire.lua` answers them.
_HELD, _STANDS_STILL = 0, 2


def as_written(read: Callable[P, T]) -> Callable[P, T]:
    """Decorator: what is not as we wrote it is somebody else's, and an error that says so.

    Raises:
        BrokerRefused: it is so.
    """

    @wraps(read)
    def checked(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return read(*arguments, **options)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise BrokerRefused(
                "what the server keeps of this app is not as runnel-trio writes it, so somebody else has "
                f"written to its keys, or a later version ({type(error).__name__}: {error})"
            ) from error

    return checked


def text(value: bytes | str) -> str:
    """Words of the server; what is no UTF-8 is none of ours, and made legible."""
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


def misfits(keys: Sequence[str], kinds: Sequence[bytes], expected: Sequence[str]) -> list[Misfit]:
    """Those of these keys that are there, and are not what they must be."""
    found = zip(keys, map(text, kinds), expected, strict=True)
    return [Misfit(key, kind, due) for key, kind, due in found if kind not in {"none", due}]


def outcome_of(reply: bytes) -> CommitOutcome:
    """How a commit ended."""
    return CommitOutcome(text(reply).lower())


@as_written
def taken(number: int, member: str, reply: Sequence[Any]) -> Acquired | Held | Quarantine:
    """The answer to taking a lease."""
    if reply[0] == _HELD:
        return Held(number, text(reply[1]), int(reply[2]))
    if reply[0] == _STANDS_STILL:
        return quarantine_of(reply[1])
    epoch, read_to, clean, attempts, ahead, parked, touched = reply[1:8]
    xid, _, count = attempts.partition(b" ")
    marked = (xid, int(count)) if xid else (ORIGIN, 0)
    lease = Lease(number, member, int(epoch))
    return Acquired(lease, state(reply[8:]), read_to, bool(clean), marked, ahead, parked, int(touched))


def state(reply: Sequence[Any]) -> LogState:
    """The state of a log and a group, from the answer of `_state.lua`."""
    cursor, entries_read, length, entries_added, last_id, max_deleted, first_id, newest = reply
    return LogState(
        cursor=cursor,
        entries_read=entries_read,
        length=length,
        entries_added=entries_added,
        last_id=last_id,
        max_deleted=max_deleted,
        first_id=first_id,
        newest=newest,
    )


def table_names(fields: Sequence[bytes]) -> list[str]:
    """The tables that a lease names, by the fields that it has."""
    return sorted(text(x[len(_TABLE) :]) for x in fields if x.startswith(_TABLE))


@as_written
def membership(reply: Sequence[Any]) -> Membership:
    """A party, from the answer of `_members.lua`."""
    generation, joined_as, planned, news, count = reply[:5]
    end = 5 + 5 * count
    members = tuple(
        Member(
            text(reply[at]), reply[at + 1], reply[at + 2] / 1000, reply[at + 3] == b"1", text(reply[at + 4])
        )
        for at in range(5, end, 5)
    )
    plan = {
        text(member): tuple(map(int, numbers.split()))
        for member, numbers in zip(reply[end::2], reply[end + 1 :: 2], strict=True)
    }
    return Membership(generation, members, joined_as, planned, plan, news)


def quarantine_text(why: Quarantine) -> str:
    """The text that is stored: the same for the same value, by which it is recognised."""
    plain = {**attrs.asdict(why), "first": why.first.decode(), "last": why.last.decode()}
    del plain["ids"]
    more = {"ids": [xid.decode() for xid in why.ids]} if why.ids else {}
    return json.dumps({**plain, **more}, sort_keys=True)


@as_written
def quarantine_of(stored: bytes | str) -> Quarantine:
    """What `quarantine_text` wrote."""
    plain = json.loads(stored)
    datetime.fromisoformat(plain["time"])  # by which its age is shown
    ids: dict[str, Any] = {name: b"%d-%d" % parse_id(plain[name].encode()) for name in ("first", "last")}
    ids["ids"] = tuple(b"%d-%d" % parse_id(xid.encode()) for xid in plain.get("ids", ()))
    texts = {name: str(plain[name]) for name in ("error", "traceback", "member")}
    return Quarantine(**{**plain, **ids, **texts, "count": int(plain["count"])})


def ending_text(ending: Ending) -> str:
    """The line of JSON that is stored behind the time, which the server gives."""
    return json.dumps(attrs.asdict(ending, filter=lambda field, _: field.name != "time"))


def ending_of(stored: bytes) -> Ending | None:
    """What `ending_text` wrote; None where it is not so: it only tells, and must not hide the others."""
    milliseconds, _, written = stored.partition(b" ")
    try:
        plain = json.loads(written)
        return Ending(
            time=int(milliseconds) / 1000,
            pid=int(plain["pid"]),
            partition=None if plain["partition"] is None else int(plain["partition"]),
            **{name: str(plain[name]) for name in ("error", "member", "host", "processor", "stream", "xid")},
        )
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
        return None
