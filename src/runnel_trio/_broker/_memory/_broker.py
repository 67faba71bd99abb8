"""The memory broker: the same verbs and the same rules, in this process, on Trio's clock.

With `trio.testing.MockClock` a cluster of workers runs in virtual time. `_store.Store` is what a server
would be, `MemoryBroker` a client of it. Each verb does its work between two checkpoints, as a script does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from runnel_trio._broker._memory._admin import LookingVerbs
from runnel_trio._broker._memory._reader import MemoryReader
from runnel_trio._broker._memory._store import Group, Log, Seat, Store
from runnel_trio._broker._protocol import Reader
from runnel_trio._broker._values import (
    SEALED,
    Acquired,
    Batch,
    Beat,
    Commit,
    CommitOutcome,
    Entry,
    Held,
    Lease,
    Member,
    Membership,
    Output,
    Party,
    ProcessorSpec,
    Quarantine,
    Rewound,
    StreamSpec,
)
from runnel_trio._rules._commit import Stored, judge
from runnel_trio._rules._cursor import ORIGIN, LogState, parse_id
from runnel_trio._rules._lease import may_take, next_epoch
from runnel_trio._rules._overflow import accepted
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import Misconfigured

__all__ = ["MemoryBroker", "Store", "open_memory"]

_stores: trio.lowlevel.RunVar[dict[str, Store]] = trio.lowlevel.RunVar("runnel_trio_stores")


@asynccontextmanager
async def open_memory(url: str) -> AsyncIterator[MemoryBroker]:
    """A client of the store that ``url`` names (``memory://NAME``), one for each run of Trio."""
    try:
        stores = _stores.get()
    except LookupError:
        stores = {}
        _stores.set(stores)
    yield MemoryBroker(url=url, store=stores.setdefault(url, Store()))


@attrs.define(eq=False, kw_only=True)
class MemoryBroker(LookingVerbs):
    """See `_protocol.Broker`."""

    url: str = "memory://"
    about: str = "none, only the memory of this process"
    clock: Callable[[], float] = trio.current_time
    clustered: bool = False
    keys_per_read: int = 32

    @property
    def appends_at_once(self) -> bool:
        """See `_protocol.Broker`."""
        return False

    def wall(self) -> float:
        """See `_protocol.Broker`."""
        return self.store.time_of_day()

    def id_time(self) -> float:
        """See `_protocol.Broker`."""
        return trio.current_time()

    def watch(self, away: Callable[[], None], back: Callable[[float], None]) -> None:
        """See `_protocol.Broker`."""

    async def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Mapping[int, int]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        stored = {
            number: self._append(stream, number, batch) if self.store.takes(stream, number) else SEALED
            for number, batch in batches.items()
        }
        self.store.announce()
        return stored

    async def replicated(
        self, stream: StreamSpec, partitions: Collection[int], count: int, within: float
    ) -> int:
        """See `_protocol.Broker`; as if there were so many."""
        await trio.lowlevel.checkpoint()
        return count

    async def commit_replicated(
        self, processor: ProcessorSpec, commits: Sequence[Commit], count: int, within: float
    ) -> int:
        """See `_protocol.Broker`; as if there were so many."""
        await trio.lowlevel.checkpoint()
        return count

    def _append(self, stream: StreamSpec, number: int, batch: Batch) -> int:
        log = self.store.log(self.log_key(stream, number))
        ids = _given_ids(stream, number, log, batch)
        count = len(batch)
        if stream.overflow is not Overflow.TRIM:
            count = self._room(stream, number, count)
        width = len(batch.names)
        for place, xid in enumerate(ids[:count]):
            values = batch.values[place * width : (place + 1) * width]
            fields = [part for field in zip(batch.names, values, strict=True) for part in field]
            log.add(xid or log.next_id(), fields)
        if stream.overflow is Overflow.TRIM:
            log.drop(max(0, len(log.entries) - stream.partition_size))
        return count

    def _room(self, stream: StreamSpec, number: int, wanted: int) -> int:
        """How many of so many entries fit, once what every group has passed is dropped if need be."""
        log, size = self.store.log(self.log_key(stream, number)), stream.partition_size
        if accepted(wanted, len(log.entries), size) < wanted:
            log.make_room()
        return accepted(wanted, len(log.entries), size)

    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        """See `_protocol.Broker`."""
        return MemoryReader(lambda number: self._log(processor, number), self.store, block)

    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held | Quarantine]:
        """See `_protocol.Broker`."""
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
            granted, log.state(log.groups[processor.name]), lease.read_to, lease.clean, lease.attempts
        )

    async def attempt(self, processor: ProcessorSpec, lease: Lease, xid: bytes, count: int) -> bool:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        held = self._log(processor, lease.partition).lease(processor)
        if held.is_held(lease):
            held.attempts = (xid, count)
        return held.is_held(lease)

    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        """See `_protocol.Broker`."""
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
        )
        outcome = judge(
            stored,
            owner=commit.lease.owner,
            epoch=commit.lease.epoch,
            number=commit.number,
            previous=commit.previous,
            last=commit.last,
            entries_read=commit.entries_read,
        ) or self._put(commit.outputs)
        if outcome is None and group is not None:
            group.cursor, group.entries_read = commit.last, commit.entries_read
            lease.commit = commit.number
            lease.read_to, lease.entries_read = commit.read_to, commit.entries_read
        return outcome or CommitOutcome.COMMITTED

    def _put(self, outputs: Sequence[Output]) -> CommitOutcome | None:
        """Store them all, or none when one cannot be; then why."""
        wanted: Counter[tuple[StreamSpec, int]] = Counter()
        for output in outputs:
            if not self.store.takes(output.stream, output.partition):
                return CommitOutcome.SEALED
            if output.stream.overflow is not Overflow.TRIM:
                wanted[output.stream, output.partition] += len(output.batch)
        for (stream, number), count in wanted.items():
            if self._room(stream, number, count) < count:
                return CommitOutcome.FULL
        for output in outputs:
            self._append(output.stream, output.partition, output.batch)
        self.store.announce()
        return None

    async def examine(self, processor: ProcessorSpec, partitions: Sequence[int]) -> Sequence[LogState | None]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        logs = [self._log(processor, number) for number in partitions]
        return [
            log.state(log.groups[processor.name]) if processor.name in log.groups else None for log in logs
        ]

    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        for given in leases:
            lease = self._log(processor, given.partition).lease(processor)
            if lease.is_held(given):
                lease.owner, lease.attempts = "", (ORIGIN, 0)
        self._tell(processor, b"released", [lease.partition for lease in leases])

    def _tell(self, processor: ProcessorSpec, what: bytes, partitions: Sequence[int]) -> None:
        self.store.party(processor).tell(what, " ".join(map(str, partitions)).encode())
        self.store.announce()

    async def quarantine(self, processor: ProcessorSpec, lease: Lease, why: Quarantine) -> bool:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        log = self._log(processor, lease.partition)
        held = log.lease(processor)
        if not held.is_held(lease):
            return log.quarantines.get(processor.name) == why
        log.quarantines[processor.name] = why
        held.owner, held.attempts = "", (ORIGIN, 0)
        return True

    async def quarantined(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[Quarantine | None]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        return [self._log(processor, number).quarantines.get(processor.name) for number in partitions]

    async def pause(self, processor: ProcessorSpec, whys: Sequence[Quarantine]) -> Sequence[bool]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        done = [
            self._log(processor, why.partition).quarantines.setdefault(processor.name, why) == why
            for why in whys
        ]
        self._tell(processor, b"paused", [why.partition for why in whys])
        self.store.announce()
        return done

    async def forget(self, processor: ProcessorSpec) -> int:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        self.store.parties.pop(processor, None)
        numbers = range(processor.stream.partition_count)
        return sum(self._log(processor, number).forget(processor.name) for number in numbers)

    async def resume(
        self, processor: ProcessorSpec, why: Quarantine, *, skip: bool, outputs: Sequence[Output] = ()
    ) -> CommitOutcome:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        log = self._log(processor, why.partition)
        if log.quarantines.get(processor.name) != why:
            return CommitOutcome.FENCED
        if skip:
            group = log.groups.get(processor.name)
            if group is None or [x[0] for x in log.after(group.cursor, 1)] != [why.first]:
                return CommitOutcome.REWOUND
            if refusal := self._put(outputs):
                return refusal
            passed = log.count_after(group.cursor) - log.count_after(why.last)
            group.entries_read += passed if group.entries_read >= 0 else 0
            group.cursor = why.last
        del log.quarantines[processor.name]
        self._tell(processor, b"released", [why.partition])
        return CommitOutcome.COMMITTED

    async def rewind(
        self, processor: ProcessorSpec, starts: Mapping[int, bytes], *, dry_run: bool
    ) -> Sequence[Rewound]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        return [self._rewind(processor, number, start, dry=dry_run) for number, start in starts.items()]

    def _rewind(self, processor: ProcessorSpec, number: int, start: bytes, *, dry: bool) -> Rewound:
        log = self._log(processor, number)
        group = log.groups.get(processor.name)
        end = b"%d-%d" % log.last_id
        after = end if start == b"$" or parse_id(start) > log.last_id else start
        lag = log.count_after(after)
        lag_before = log.added - group.entries_read if group and group.entries_read >= 0 else -1
        done = Rewound(number, group.cursor if group else None, after, lag_before, lag)
        if not dry:
            log.groups[processor.name] = Group(after, log.added - lag)
            log.quarantines.pop(processor.name, None)
            lease = log.lease(processor)
            lease.attempts, lease.entries_read = (ORIGIN, 0), log.added - lag
            self._tell(processor, b"released", [number])
        return done

    async def entries(
        self, stream: StreamSpec, partition: int, *, after: bytes = ORIGIN, count: int = 1000
    ) -> Sequence[Entry]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        return self.store.log(self.log_key(stream, partition)).after(after, count)

    async def remove(self, stream: StreamSpec, partition: int, xids: Sequence[bytes]) -> int:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        return sum(map(self.store.log(self.log_key(stream, partition)).remove, xids))

    async def transfer(self, stream: StreamSpec, partition: int, xid: bytes, output: Output) -> CommitOutcome:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        log = self.store.log(self.log_key(stream, partition))
        if not log.ids or parse_id(xid) not in log.ids:
            return CommitOutcome.REWOUND
        if refusal := self._put([output]):
            return refusal
        log.remove(xid)
        return CommitOutcome.COMMITTED

    async def beat(self, beat: Beat) -> Membership:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        party, now = self.store.party(beat.party), trio.current_time()
        generation = party.generation
        for other, member in list(party.members.items()):
            suspected = beat.suspects.get(other) == member.seen.beat
            if other != beat.member and (member.deadline < now or suspected):
                del party.members[other]
                party.changed(b"removed")
        mine = party.members.get(beat.member)
        if mine is None and not beat.leaving:
            party.places += 1
        place, count = (mine.place, mine.seen.beat) if mine else (party.places, 0)
        if mine is not None or not beat.leaving:
            seen = Member(beat.member, count + 1, beat.expiry, beat.leaving, beat.about)
            party.members[beat.member] = Seat(now + beat.expiry, place, seen)
            if mine is None or mine.seen.leaving != beat.leaving:
                party.changed(b"leaving" if beat.leaving else b"joined")
        if party.generation != generation:
            self.store.announce()
        return party.view(beat.member)

    def pulse(self) -> None:
        """See `_protocol.Broker`."""

    async def plan(
        self, processor: ProcessorSpec, generation: int, plan: Mapping[str, Sequence[int]]
    ) -> None:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        party = self.store.party(processor)
        if generation == party.generation != party.planned:
            party.planned = generation
            party.plan = {member: tuple(numbers) for member, numbers in plan.items()}
            party.tell(b"changed", b"planned")
            self.store.announce()

    async def leave(self, party: Party, member: str) -> None:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        there = self.store.party(party)
        if there.members.pop(member, None) is not None:
            there.changed(b"left")
            self.store.announce()

    def control(self, party: Party, block: float) -> Reader:
        """See `_protocol.Broker`."""
        return MemoryReader(lambda _: self.store.party(party).control, self.store, block)


def _given_ids(stream: StreamSpec, number: int, log: Log, batch: Batch) -> Sequence[tuple[int, int] | None]:
    if batch.ids is None:
        return [None] * len(batch)
    ids = [parse_id(xid) for xid in batch.ids]
    last = log.last_id
    for xid in ids:
        if xid <= last:
            raise Misconfigured(
                f"{stream.name}[{number}]: stream id {xid[0]}-{xid[1]} is not above {last[0]}-{last[1]}; "
                "ids must rise within a partition. This entry and those behind it were not stored."
            )
        last = xid
    return ids
