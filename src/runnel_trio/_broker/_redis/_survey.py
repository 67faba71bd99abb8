"""What is on the server, for people who look: streams by their names, and partitions as they stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runnel_trio._broker._layouts import lost
from runnel_trio._broker._protocol import ProcessorSpec, Standing, StreamSpec, Surveyed
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._replies import as_written, quarantine_of, text
from runnel_trio._broker._redis._scripts import Ask, Call, Plain
from runnel_trio._names import is_name
from runnel_trio.constants import Overflow
from runnel_trio.settings import MOST_PARTITIONS

__all__ = ["streams", "survey"]

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
    replies = await ask([Call("survey", [_keys.log(stream, number)], []) for number in numbers])
    groups = [(number, reply[at : at + 4]) for number, reply in enumerate(replies) for at in _starts(reply)]
    asked: list[Call | Plain] = []
    for number, (name, *_) in groups:
        # A group of somebody else's has no lease; any key will do.
        own = _group_name(name) if is_name(_group_name(name)) else "-"
        processor = ProcessorSpec(stream=stream, name=own)
        asked.append(Plain(("HMGET", _keys.lease(processor, number), "owner", "epoch")))
        asked.append(Plain(("GET", _keys.quarantine(processor, number))))
    told = iter(await ask(asked))
    standing: dict[int, dict[str, Standing]] = {number: {} for number in numbers}
    for number, (name, cursor, lag, next_id) in groups:
        held, why = next(told), next(told)
        standing[number][_group_name(name)] = _standing(cursor, lag, next_id, held, why)
    return [
        Surveyed(
            number=number,
            length=reply[0],
            entries_added=reply[1],
            first_id=reply[2],
            last_id=reply[3],
            size=reply[4],
            processors=standing[number],
        )
        if reply
        else Surveyed(number=number)
        for number, reply in enumerate(replies)
    ]


def _group_name(name: bytes) -> str:
    """As people may see it: other tools make groups too, of any bytes."""
    found = name.decode(errors="backslashreplace")
    return found if found.isprintable() else found.encode("unicode_escape").decode()


@as_written
def _standing(
    cursor: bytes, lag: int, next_id: bytes, held: Sequence[bytes | None], why: bytes | None
) -> Standing:
    owner, epoch = held
    return Standing(
        cursor=cursor,
        lag=lag,
        next_id=next_id,
        owner=text(owner or b""),
        epoch=int(epoch or 0),
        quarantine=quarantine_of(why) if why else None,
    )


def _starts(reply: Sequence[Any]) -> range:
    """Where its groups begin."""
    return range(5, len(reply), 4)
