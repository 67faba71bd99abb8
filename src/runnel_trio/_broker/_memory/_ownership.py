"""Leases, cursors and commits in memory, by the rules of `_rules/_lease` and `_rules/_commit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from runnel_trio._broker._memory._outbox import numbered
from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Ownership
from runnel_trio._broker._values import (
    MOST_OUTBOX,
    Acquired,
    Commit,
    CommitOutcome,
    Held,
    Lease,
    ProcessorSpec,
    Quarantine,
)
from runnel_trio._override import override
from runnel_trio._rules._commit import Stored, judge
from runnel_trio._rules._cursor import ORIGIN, LogState
from runnel_trio._rules._lease import may_take, next_epoch

__all__ = ["MemoryOwnership"]


class MemoryOwnership(MemoryVerbs, Ownership):
    """A lease stands in the log that it is for."""

    @override
    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held | Quarantine]:
        await trio.lowlevel.checkpoint()
        return [self._acquire(processor, member, number, held) for number, held in partitions.items()]

    def _acquire(
        self, processor: ProcessorSpec, member: str, number: int, held: Held | None
    ) -> Acquired | Held | Quarantine:
        log = self._log(processor, number)
        lease = log.lease(processor)
        if not may_take(lease.owner, lease.epoch, member, (held.owner, held.epoch) if held else None):
            return Held(number, lease.owner, lease.epoch)
        log.ensure_group(processor.name)
        if processor.name in log.quarantines:
            return log.quarantines[processor.name]
        lease.clean = not lease.owner or (lease.owner == member and lease.clean)
        lease.owner = member
        lease.commit = 0
        lease.epoch = next_epoch(lease.epoch, int(trio.current_time() * 1e6))
        granted = Lease(number, member, lease.epoch)
        return Acquired(
            granted,
            log.state(processor.name),
            lease.read_to,
            lease.clean,
            lease.attempts,
            lease.ahead,
            len(log.heads(processor.name)),
            lease.touched,
        )

    @override
    async def mark_attempt(self, processor: ProcessorSpec, lease: Lease, xid: bytes, count: int) -> bool:
        await trio.lowlevel.checkpoint()
        held = self._log(processor, lease.partition).lease(processor)
        if held.is_held(lease):
            held.attempts = (xid, count)
        return held.is_held(lease)

    @override
    async def log_states(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[LogState | None]:
        await trio.lowlevel.checkpoint()
        logs = [self._log(processor, number) for number in partitions]
        return [log.state(processor.name) if processor.name in log.groups else None for log in logs]

    @override
    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        await trio.lowlevel.checkpoint()
        return [self._commit(processor, x) for x in commits]

    def _commit(self, processor: ProcessorSpec, commit: Commit) -> CommitOutcome:
        log = self._log(processor, commit.lease.partition)
        lease = log.lease(processor)
        group = log.groups.get(processor.name)
        stored = Stored(
            owner=lease.owner,
            epoch=lease.epoch,
            number=lease.commit,
            cursor=None if group is None else group.cursor,
            entries_added=log.added,
            last_id=b"%d-%d" % log.last_id,
            parked=log.heads(processor.name),
            touched=lease.touched,
        )
        outcome = judge(
            stored,
            owner=commit.lease.owner,
            epoch=commit.lease.epoch,
            number=commit.number,
            previous=commit.previous,
            last=commit.last,
            entries_read=commit.entries_read,
            highest=commit.highest,
            parked={x.key: x.seen for x in commit.parked},
            touched=commit.touched,
        )
        outbox = log.outbox(processor.name)
        if outcome is None and len(outbox) + len(commit.outbox) > MOST_OUTBOX:
            outcome = CommitOutcome.FULL
        outcome = outcome or self._put(commit.outputs)
        if outcome is None and group is not None:
            group.cursor, group.entries_read = commit.last, commit.entries_read
            log.change_parked(processor.name, commit.parked)
            log.write_tables(processor.name, commit.tables, self._milliseconds())
            after = log.last_in_outbox.get(processor.name, ORIGIN)
            outbox += numbered(commit.outbox, lease.epoch, after)
            if commit.outbox:
                log.last_in_outbox[processor.name] = outbox[-1].id
            lease.commit = commit.number
            lease.read_to, lease.entries_read = commit.read_to, commit.entries_read
            lease.ahead = lease.ahead if commit.ahead is None else commit.ahead
        return outcome or CommitOutcome.COMMITTED

    @override
    async def commit_replicated(
        self, processor: ProcessorSpec, commits: Sequence[Commit], count: int, within: float
    ) -> int:
        await trio.lowlevel.checkpoint()
        return count

    @override
    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        await trio.lowlevel.checkpoint()
        for given in leases:
            lease = self._log(processor, given.partition).lease(processor)
            if lease.is_held(given):
                lease.owner, lease.attempts = "", (ORIGIN, 0)
        self._tell(processor, "released", [lease.partition for lease in leases])

    @override
    async def quarantine(self, processor: ProcessorSpec, lease: Lease, why: Quarantine) -> bool:
        await trio.lowlevel.checkpoint()
        log = self._log(processor, lease.partition)
        held = log.lease(processor)
        if not held.is_held(lease):
            return log.quarantines.get(processor.name) == why
        log.quarantines[processor.name] = why
        held.owner, held.attempts = "", (ORIGIN, 0)
        return True
