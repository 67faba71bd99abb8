"""Leases, cursors and commits on Redis or Valkey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from runnel_trio._broker._protocol import Ownership
from runnel_trio._broker._redis import _keys, _replicas
from runnel_trio._broker._redis._calls import (
    RedisCalls,
    announcement,
    changes_text,
    log_and_lease,
    parked_in,
    tables_in,
    tables_text,
    with_outputs,
)
from runnel_trio._broker._redis._replies import outcome_of, quarantine_text, state, taken
from runnel_trio._broker._redis._transport._scripts import Call
from runnel_trio._broker._values import (
    MOST_OUTBOX,
    Acquired,
    Commit,
    CommitOutcome,
    Held,
    Lease,
    OutboxRecord,
    ProcessorSpec,
    Quarantine,
)
from runnel_trio._override import override
from runnel_trio._rules._cursor import LogState
from runnel_trio._rules._parked import pack_fields

__all__ = ["RedisOwnership"]


class RedisOwnership(RedisCalls, Ownership):
    """The cursor is that of a consumer group; the lease is a hash beside the log."""

    @override
    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held | Quarantine]:
        calls = [
            Call(
                "acquire",
                [
                    *log_and_lease(processor, number),
                    _keys.quarantine(processor, number),
                    _keys.parked_keys(processor, number),
                ],
                [processor.name, member, *_observed(held)],
            )
            for number, held in partitions.items()
        ]
        replies = await self.ask(calls)
        return [taken(number, member, x) for number, x in zip(partitions, replies, strict=True)]

    @override
    async def mark_attempt(self, processor: ProcessorSpec, lease: Lease, xid: bytes, count: int) -> bool:
        key = _keys.lease(processor, lease.partition)
        (held,) = await self.ask([Call("mark_attempt", [key], [lease.owner, lease.epoch, xid, count])])
        return bool(held)

    @override
    async def log_states(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[LogState | None]:
        calls = [Call("log_states", log_and_lease(processor, x), [processor.name]) for x in partitions]
        return [state(reply) if reply else None for reply in await self.ask(calls)]

    @override
    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        return list(map(outcome_of, await self.ask([_commit(processor, x) for x in commits])))

    @override
    async def commit_replicated(
        self, processor: ProcessorSpec, commits: Sequence[Commit], count: int, within: float
    ) -> int:
        calls = {_keys.producers(processor.stream, x.lease.partition): _commit(processor, x) for x in commits}
        ask = partial(self.ask, awaits_replicas=True)
        return await _replicas.commits(ask, self.servers, calls, count, within)

    @override
    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        calls = [
            Call("release", [_keys.lease(processor, lease.partition)], [lease.owner, lease.epoch])
            for lease in leases
        ]
        await self.ask(calls)
        await self.ask([announcement(processor, [lease.partition for lease in leases])])

    @override
    async def quarantine(self, processor: ProcessorSpec, lease: Lease, why: Quarantine) -> bool:
        keys = [_keys.lease(processor, lease.partition), _keys.quarantine(processor, lease.partition)]
        call = Call("quarantine", keys, [lease.owner, lease.epoch, quarantine_text(why)])
        (held,) = await self.ask([call])
        return bool(held)


#: For commit.lua: nothing is done ahead of the cursor any more.
_NOTHING = "-"


def _observed(held: Held | None) -> tuple[str, str]:
    return (held.owner, str(held.epoch)) if held else ("", "")


def _commit(processor: ProcessorSpec, commit: Commit) -> Call:
    lease = commit.lease
    own = (
        processor.name, lease.owner, lease.epoch,
        commit.number, commit.previous, commit.last, commit.entries_read, commit.read_to,
        "" if commit.ahead is None else commit.ahead or _NOTHING, commit.highest,
        "" if commit.touched is None else commit.touched, *changes_text(commit.parked),
        len(commit.outbox), MOST_OUTBOX, *_outbox_text(commit.outbox),
    )  # fmt: skip
    keys = log_and_lease(processor, lease.partition)
    if commit.parked:
        keys += parked_in(processor, lease.partition)
    if commit.outbox:
        keys.append(_keys.outbox(processor, lease.partition))
    tables = tables_text(commit.tables, len(keys) + 1)
    if commit.tables:
        keys += tables_in(processor, lease.partition, [x.name for x in commit.tables])
    return with_outputs("commit", keys, (*own, *tables), commit.outputs)


def _outbox_text(records: Sequence[OutboxRecord]) -> list[bytes | str | int]:
    return [part for x in records for part in (x.stream, x.hash, pack_fields(x.fields))]
