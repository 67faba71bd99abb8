"""What operators do to partitions on Redis or Valkey, and what they are shown of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from runnel_trio._broker._protocol import Admin
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._calls import (
    RedisCalls,
    announcement,
    log_and_lease,
    owed_in,
    party_keys,
    tables_in,
    with_outputs,
)
from runnel_trio._broker._redis._replies import (
    as_written,
    misfits,
    outcome_of,
    quarantine_of,
    quarantine_text,
    table_names,
    text,
)
from runnel_trio._broker._redis._transport._scripts import Call, PlainCommand
from runnel_trio._broker._seen import Standing, Surveyed
from runnel_trio._broker._values import (
    CommitOutcome,
    Output,
    ProcessorSpec,
    Quarantine,
    Rewound,
    StreamSpec,
)
from runnel_trio._names import is_name
from runnel_trio._override import override
from runnel_trio._rules._ahead import add_done, read_ahead

__all__ = ["RedisAdmin"]


class RedisAdmin(RedisCalls, Admin):
    """A quarantine is a text beside the log; what has cursors are all groups, those of other tools too."""

    @override
    async def survey(self, stream: StreamSpec) -> Sequence[Surveyed]:
        numbers = range(stream.partition_count)
        keys = [[_keys.log(stream, number), _keys.producers(stream, number)] for number in numbers]
        logs = [_Log.of(reply) for reply in await self.ask([Call("survey", x, []) for x in keys])]
        processors = [
            # A group of somebody else's has no lease; any key will do.
            (number, ProcessorSpec(stream=stream, name=name if is_name(name) else "-"))
            for number, log in enumerate(logs)
            for name, *_ in log.groups
        ]
        own = [
            [_keys.lease(x, number), _keys.quarantine(x, number), *owed_in(x, number)]
            for number, x in processors
        ]
        standings = iter(await self.ask([Call("standing", x, []) for x in own]))
        own_keys = iter(own)
        found = [_surveyed(number, keys[number], log, own_keys, standings) for number, log in enumerate(logs)]
        return [attrs.evolve(x, node=self.servers.name_of(keys[x.number][0])) for x in found]

    @override
    async def quarantined(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[Quarantine | None]:
        replies = await self.ask([PlainCommand(("GET", _keys.quarantine(processor, x))) for x in partitions])
        return [None if reply is None else quarantine_of(reply) for reply in replies]

    @override
    async def resume(
        self, processor: ProcessorSpec, why: Quarantine, *, skip: bool, outputs: Sequence[Output] = ()
    ) -> CommitOutcome:
        number = why.partition
        log, lease = log_and_lease(processor, number)
        seen = await self._with_done(processor, why) if skip and why.ids else (b"", b"", b"")
        if seen is None:
            return CommitOutcome.REWOUND
        keys = [log, _keys.quarantine(processor, number), lease]
        own = (processor.name, quarantine_text(why), int(skip), why.first, why.last, *seen)
        (reply,) = await self.ask([with_outputs("resume", keys, own, outputs)])
        await self.ask([announcement(processor, [number])])
        return outcome_of(reply)

    async def _with_done(
        self, processor: ProcessorSpec, why: Quarantine
    ) -> tuple[bytes, bytes, bytes] | None:
        """The cursor, what its lease says, and what it would say if these were done; None if they are."""
        keys = log_and_lease(processor, why.partition)
        state, ahead = await self.ask(
            [Call("log_states", keys, [processor.name]), PlainCommand(("HGET", keys[1], "ahead"))]
        )
        if not state:
            return None
        cursor, before = state[0], ahead or b""
        after = add_done(before, cursor, why.ids)
        return None if after is None else (cursor, before, after)

    @override
    async def pause(self, processor: ProcessorSpec, whys: Sequence[Quarantine]) -> Sequence[bool]:
        calls = [
            Call("pause", [_keys.quarantine(processor, why.partition)], [quarantine_text(why)])
            for why in whys
        ]
        replies = await self.ask(calls)
        await self.ask([announcement(processor, [why.partition for why in whys], "paused")])
        return [bool(x) for x in replies]

    @override
    async def rewind(
        self, processor: ProcessorSpec, starts: Mapping[int, bytes], *, dry_run: bool, empty: bool = False
    ) -> Sequence[Rewound]:
        names = await self._tables_of(processor, list(starts)) if empty else {}
        calls = [
            Call(
                "rewind",
                [
                    *log_and_lease(processor, number),
                    _keys.quarantine(processor, number),
                    *tables_in(processor, number, names.get(number, ())),
                ],
                [processor.name, start, int(dry_run), *names.get(number, ())],
            )
            for number, start in starts.items()
        ]
        replies = await self.ask(calls)
        if not dry_run:
            await self.ask([announcement(processor, list(starts))])
        return [
            Rewound(number, before or None, after, lag_before, lag_after)
            for number, (before, after, lag_before, lag_after) in zip(starts, replies, strict=True)
        ]

    async def _tables_of(self, processor: ProcessorSpec, numbers: Sequence[int]) -> dict[int, list[str]]:
        leases = await self.ask([PlainCommand(("HGETALL", _keys.lease(processor, x))) for x in numbers])
        return {x: table_names(fields[::2]) for x, fields in zip(numbers, leases, strict=True)}

    @override
    async def forget(self, processor: ProcessorSpec) -> int:
        numbers = range(processor.stream.partition_count)
        names = await self._tables_of(processor, numbers)
        calls = [
            Call(
                "forget",
                [
                    *log_and_lease(processor, x),
                    _keys.quarantine(processor, x),
                    *owed_in(processor, x),
                    *tables_in(processor, x, names[x]),
                ],
                [processor.name],
            )
            for x in numbers
        ]
        *had, _ = await self.ask([*calls, Call("disband", party_keys(processor), [])])
        return sum(had)


@attrs.frozen
class _Log:
    """The answer of scripts/survey.lua."""

    kinds: Sequence[bytes]
    facts: Sequence[Any]
    groups: Sequence[tuple[str, bytes, int, bytes]]

    @classmethod
    def of(cls, reply: Sequence[Any]) -> _Log:
        """Its groups are four values each, from the eighth on."""
        groups = [reply[at : at + 4] for at in range(7, len(reply), 4)]
        return cls(reply[:2], reply[2:7], [(_group_name(name), *rest) for name, *rest in groups])


def _surveyed(
    number: int, keys: Sequence[str], log: _Log, own_keys: Iterator[Sequence[str]], standings: Iterator[Any]
) -> Surveyed:
    unfit = misfits(keys, log.kinds, ("stream", "hash"))
    standing = {}
    for name, cursor, lag, next_id in log.groups:
        *kinds, owner, epoch, why, ahead, parked_keys, parked = next(standings)
        unfit += misfits(next(own_keys), kinds, ("hash", "string", "hash", "hash", "stream"))
        facts = (owner, epoch, why, ahead, parked_keys, parked)
        standing[name] = _standing(cursor, lag, next_id, *facts)
    if not log.facts:
        return Surveyed(number=number, misfits=unfit)
    length, added, first, last, size = log.facts
    return Surveyed(
        number=number,
        length=length,
        entries_added=added,
        first_id=first,
        last_id=last,
        size=size,
        processors=standing,
        misfits=unfit,
    )


def _group_name(name: bytes) -> str:
    """The name in a form that people may see: other tools make groups too, of any bytes."""
    found = name.decode(errors="backslashreplace")
    return found if found.isprintable() else found.encode("unicode_escape").decode()


@as_written
def _standing(
    cursor: bytes,
    lag: int,
    next_id: bytes,
    owner: bytes,
    epoch: bytes,
    why: bytes,
    ahead: bytes,
    parked_keys: int,
    parked: int,
) -> Standing:
    done = read_ahead(ahead, cursor)
    return Standing(
        cursor=cursor,
        lag=lag if lag < 0 else max(0, lag - done.count),
        ahead=done,
        next_id=next_id,
        owner=text(owner),
        epoch=int(epoch or 0),
        quarantine=quarantine_of(why) if why else None,
        parked_keys=parked_keys,
        parked=parked,
    )
