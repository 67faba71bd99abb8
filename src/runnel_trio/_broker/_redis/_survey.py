"""What is on the server, for people who look: streams by their names, and partitions as they stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from runnel_trio._broker._layouts import lost
from runnel_trio._broker._protocol import (
    AppSpec,
    Ending,
    Membership,
    Misfit,
    Muster,
    Party,
    ProcessorSpec,
    Standing,
    StreamSpec,
    Surveyed,
)
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._pulse import party_keys
from runnel_trio._broker._redis._replies import (
    as_written,
    ending_of,
    ending_text,
    membership,
    quarantine_of,
    text,
)
from runnel_trio._broker._redis._transport._scripts import Ask, Call, Plain
from runnel_trio._broker._seen import ENDINGS, ENDINGS_KEPT
from runnel_trio._names import is_name
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import BrokerRefused
from runnel_trio.settings import MOST_PARTITIONS

__all__ = ["ended", "muster", "streams", "survey"]

#: Keys that one step of a scan looks at.
_SCANNED = 1000
_GLOB = str.maketrans({x: f"\\{x}" for x in "*?[]\\^"})


async def streams(ask: Ask, app: str) -> list[StreamSpec]:
    """See `Broker.streams`. Every key of the server is looked at, a thousand at a time."""
    prefix, suffix = f"runnel:{{{app}}}:", ":meta"
    found: set[str] = set()
    cursor = b"0"
    while True:
        pattern = f"{prefix.translate(_GLOB)}*{suffix}"
        ((cursor, keys),) = await ask([Plain(("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED), prefix)])
        told = (key.decode(errors="replace").removeprefix(prefix).removesuffix(suffix) for key in keys)
        found.update(name for name in told if is_name(name))
        if int(cursor) == 0:
            break
    fields = ("partition_count", "record", "hasher", "partition_size", "overflow", "layout")
    names = sorted(found)
    kinds = await ask([Plain(("TYPE", f"{prefix}{name}{suffix}")) for name in names])
    for name, kind in zip(names, map(text, kinds), strict=True):
        if kind not in {"hash", "none"}:
            raise BrokerRefused(
                f"{prefix}{name}{suffix} is a {kind}, and must be a hash: somebody else has written to it. "
                "Delete or rename it; a worker that begins makes it anew"
            )
    replies = await ask([Plain(("HMGET", f"{prefix}{name}{suffix}", *fields)) for name in names])
    return [_spec(app, name, reply) for name, reply in zip(names, replies, strict=True)]


@as_written
def _spec(app: str, name: str, reply: Sequence[bytes | None]) -> StreamSpec:
    count, record, hasher, size, overflow, layout = (text(value or b"") for value in reply)
    if not count:
        raise lost(app, name)
    if not 1 <= int(count) <= MOST_PARTITIONS:
        raise ValueError(f"{count} partitions of {name}")
    return StreamSpec(
        app=app,
        name=name,
        partition_count=int(count),
        record=record,
        hasher=hasher,
        partition_size=int(size or 0),
        overflow=Overflow(overflow or "block"),
        layout=int(layout or 1),
    )


async def survey(ask: Ask, stream: StreamSpec) -> list[Surveyed]:
    """See `Broker.survey`: one round trip for the logs, one for leases and quarantines."""
    numbers = range(stream.partition_count)
    places = [[_keys.log(stream, number), _keys.producers(stream, number)] for number in numbers]
    logs = [_Log.of(reply) for reply in await ask([Call("survey", keys, []) for keys in places])]
    processors = [
        # A group of somebody else's has no lease; any key will do.
        (number, ProcessorSpec(stream=stream, name=name if is_name(name) else "-"))
        for number, log in enumerate(logs)
        for name, *_ in log.groups
    ]
    own = [[_keys.lease(x, number), _keys.quarantine(x, number)] for number, x in processors]
    told = iter(await ask([Call("standing", keys, []) for keys in own]))
    kept = iter(own)
    return [_surveyed(number, places[number], log, kept, told) for number, log in enumerate(logs)]


@attrs.frozen
class _Log:
    """As scripts/survey.lua answers it."""

    kinds: Sequence[bytes]
    facts: Sequence[Any]
    groups: Sequence[tuple[str, bytes, int, bytes]]

    @classmethod
    def of(cls, reply: Sequence[Any]) -> _Log:
        """Its groups are four values each, from the eighth on."""
        groups = [reply[at : at + 4] for at in range(7, len(reply), 4)]
        return cls(reply[:2], reply[2:7], [(_group_name(name), *rest) for name, *rest in groups])


def _surveyed(
    number: int, keys: Sequence[str], log: _Log, kept: Iterator[Sequence[str]], told: Iterator[Any]
) -> Surveyed:
    misfits = _misfits(keys, log.kinds, ("stream", "hash"))
    standing = {}
    for name, cursor, lag, next_id in log.groups:
        lease, quarantine, *facts = next(told)
        misfits += _misfits(next(kept), (lease, quarantine), ("hash", "string"))
        standing[name] = _standing(cursor, lag, next_id, *facts)
    if not log.facts:
        return Surveyed(number=number, misfits=misfits)
    length, added, first, last, size = log.facts
    return Surveyed(
        number=number,
        length=length,
        entries_added=added,
        first_id=first,
        last_id=last,
        size=size,
        processors=standing,
        misfits=misfits,
    )


def _misfits(keys: Sequence[str], kinds: Sequence[bytes], expected: Sequence[str]) -> list[Misfit]:
    """Those of these keys that are there, and are not what they must be."""
    told = zip(keys, map(text, kinds), expected, strict=True)
    return [Misfit(key, kind, due) for key, kind, due in told if kind not in {"none", due}]


def _group_name(name: bytes) -> str:
    """As people may see it: other tools make groups too, of any bytes."""
    found = name.decode(errors="backslashreplace")
    return found if found.isprintable() else found.encode("unicode_escape").decode()


@as_written
def _standing(cursor: bytes, lag: int, next_id: bytes, owner: bytes, epoch: bytes, why: bytes) -> Standing:
    return Standing(
        cursor=cursor,
        lag=lag,
        next_id=next_id,
        owner=text(owner),
        epoch=int(epoch or 0),
        quarantine=quarantine_of(why) if why else None,
    )


async def muster(ask: Ask, party: Party) -> Muster:
    """See `Broker.muster`."""
    keys = party_keys(party)
    if isinstance(party, AppSpec):
        keys.append(_keys.endings(party.name))
    (reply,) = await ask([Call("muster", keys, [])])
    kinds, kept, late, view = reply[:4], reply[4], reply[5], reply[6:]
    misfits = _misfits(keys, kinds[: len(keys)], ("hash", "hash", "stream", "string")[: len(keys)])
    members = membership(view) if view else Membership()
    overdue = zip(members.members, map(int, late.split()), strict=True)
    return Muster(
        membership=members,
        overdue={member.id: ms / 1000 for member, ms in overdue if ms},
        endings=tuple(x for line in kept.splitlines() if (x := ending_of(line)) is not None),
        misfits=misfits,
    )


async def ended(ask: Ask, app: str, ending: Ending) -> None:
    """See `Broker.ended`."""
    await ask([Call("ended", [_keys.endings(app)], [ending_text(ending), ENDINGS, ENDINGS_KEPT])])
