"""The memory broker: the same verbs and the same rules, in this process, on Trio's clock.

With `trio.testing.MockClock` a cluster of workers runs in virtual time. `Store` is what a server would be,
`MemoryBroker` a client of it. Each verb does its work between two checkpoints, as a script does.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from runnel_trio._broker._protocol import (
    Acquired,
    Batch,
    Commit,
    CommitOutcome,
    Entry,
    Held,
    Lease,
    Membership,
    ProcessorSpec,
    Reader,
    StreamSpec,
)
from runnel_trio._rules._cursor import ORIGIN, LogState, parse_id
from runnel_trio._rules._lease import may_take, next_epoch
from runnel_trio._rules._overflow import accepted, slowest
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import Misconfigured

__all__ = ["MemoryBroker", "Store", "open_memory"]

_stores: trio.lowlevel.RunVar[dict[str, Store]] = trio.lowlevel.RunVar("runnel_trio_stores")


@attrs.define(eq=False)
class _Group:
    cursor: bytes = ORIGIN
    entries_read: int = 0


@attrs.define(eq=False)
class _Lease:
    owner: str = ""
    epoch: int = 0
    read_to: bytes = ORIGIN


@attrs.define(eq=False)
class _Log:
    entries: list[Entry] = attrs.field(factory=list)
    ids: list[tuple[int, int]] = attrs.field(factory=list)
    added: int = 0
    last_id: tuple[int, int] = (0, 0)
    groups: dict[str, _Group] = attrs.field(factory=dict)
    leases: dict[str, _Lease] = attrs.field(factory=dict)

    def add(self, xid: tuple[int, int], fields: Sequence[bytes]) -> None:
        self.last_id = xid
        self.added += 1
        self.ids.append(xid)
        self.entries.append((b"%d-%d" % xid, tuple(fields)))

    def drop(self, count: int) -> None:
        del self.entries[:count], self.ids[:count]

    def after(self, xid: bytes, count: int) -> Sequence[Entry]:
        at = bisect_right(self.ids, parse_id(xid))
        return self.entries[at : at + count]

    def state(self, group: _Group) -> LogState:
        return LogState(
            cursor=group.cursor,
            entries_read=group.entries_read,
            length=len(self.entries),
            entries_added=self.added,
            last_id=b"%d-%d" % self.last_id,
            max_deleted=ORIGIN,
            first_id=b"%d-%d" % self.ids[0] if self.ids else ORIGIN,
        )


@attrs.define(eq=False)
class _Members:
    deadlines: dict[str, float] = attrs.field(factory=dict)
    generation: int = 0


@attrs.define(eq=False)
class Store:
    """What a server keeps."""

    streams: dict[tuple[str, str], StreamSpec] = attrs.field(factory=dict)
    logs: dict[str, _Log] = attrs.field(factory=dict)
    members: dict[tuple[str, str, str], _Members] = attrs.field(factory=dict)
    _appended: trio.Event = attrs.field(factory=trio.Event)

    def log(self, key: str) -> _Log:
        """A partition's log, made when it is first asked for."""
        return self.logs.setdefault(key, _Log())

    def announce(self) -> None:
        """Wake the readers."""
        self._appended.set()
        self._appended = trio.Event()

    async def appended(self) -> None:
        """Wait until something was stored."""
        await self._appended.wait()


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
class MemoryBroker:
    """See `_protocol.Broker`."""

    url: str = "memory://"
    store: Store = attrs.field(factory=Store, repr=False)
    clock: Callable[[], float] = trio.current_time

    def log_key(self, stream: StreamSpec, partition: int) -> str:
        """See `_protocol.Broker`."""
        return f"{stream.app}:{partition}:{stream.name}:log"

    async def declare(self, stream: StreamSpec) -> None:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        there = self.store.streams.setdefault((stream.app, stream.name), stream)
        for what in ("partition_count", "record", "hasher"):
            if getattr(there, what) != getattr(stream, what):
                raise Misconfigured(
                    f"stream {stream.name!r} of app {stream.app!r} was declared with {what}="
                    f"{getattr(there, what)}, and is now declared with {getattr(stream, what)}"
                )

    async def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Mapping[int, int]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        stored = {number: self._append(stream, number, batch) for number, batch in batches.items()}
        self.store.announce()
        return stored

    def _append(self, stream: StreamSpec, number: int, batch: Batch) -> int:
        log = self.store.log(self.log_key(stream, number))
        ids = _given_ids(stream, number, log, batch)
        count = len(batch)
        if stream.overflow is not Overflow.TRIM:
            if accepted(count, len(log.entries), stream.partition_size) < count:
                _make_room(log)
            count = accepted(count, len(log.entries), stream.partition_size)
        width = len(batch.names)
        for place, xid in enumerate(ids[:count]):
            values = batch.values[place * width : (place + 1) * width]
            fields = [part for field in zip(batch.names, values, strict=True) for part in field]
            log.add(xid or _next_id(log), fields)
        if stream.overflow is Overflow.TRIM:
            log.drop(max(0, len(log.entries) - stream.partition_size))
        return count

    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        """See `_protocol.Broker`."""
        return MemoryReader(self, processor.stream, block)

    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        return [self._acquire(processor, member, number, held) for number, held in partitions.items()]

    def _acquire(
        self, processor: ProcessorSpec, member: str, number: int, held: Held | None
    ) -> Acquired | Held:
        log = self.store.log(self.log_key(processor.stream, number))
        lease = log.leases.setdefault(processor.name, _Lease())
        if not may_take(lease.owner, lease.epoch, member, (held.owner, held.epoch) if held else None):
            return Held(number, lease.owner, lease.epoch)
        lease.owner = member
        lease.epoch = next_epoch(lease.epoch, int(trio.current_time() * 1e6))
        gone = log.added - len(log.entries)
        group = log.groups.setdefault(processor.name, _Group(entries_read=gone))
        return Acquired(Lease(number, member, lease.epoch), log.state(group), lease.read_to)

    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        return [self._commit(processor, x) for x in commits]

    def _commit(self, processor: ProcessorSpec, commit: Commit) -> CommitOutcome:
        log = self.store.log(self.log_key(processor.stream, commit.lease.partition))
        lease = log.leases.get(processor.name, _Lease())
        if (lease.owner, lease.epoch) != (commit.lease.owner, commit.lease.epoch):
            return CommitOutcome.FENCED
        group = log.groups.get(processor.name)
        if group is None or group.cursor not in {commit.previous, commit.last}:
            return CommitOutcome.REWOUND
        if group.cursor != commit.last:
            group.cursor = commit.last
            group.entries_read = commit.entries_read
            lease.read_to = commit.read_to
        return CommitOutcome.COMMITTED

    async def examine(self, processor: ProcessorSpec, partitions: Sequence[int]) -> Sequence[LogState | None]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        logs = [self.store.log(self.log_key(processor.stream, number)) for number in partitions]
        return [
            log.state(log.groups[processor.name]) if processor.name in log.groups else None for log in logs
        ]

    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        for given in leases:
            log = self.store.log(self.log_key(processor.stream, given.partition))
            lease = log.leases.get(processor.name, _Lease())
            if (lease.owner, lease.epoch) == (given.owner, given.epoch):
                lease.owner = ""

    async def beat(self, processor: ProcessorSpec, member: str, expiry: float, about: str) -> Membership:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        members, now = self._members(processor), trio.current_time()
        before = set(members.deadlines)
        members.deadlines = {
            x: until for x, until in members.deadlines.items() if until >= now or x == member
        }
        members.deadlines[member] = now + expiry
        members.generation += set(members.deadlines) != before
        return Membership(members.generation, tuple(members.deadlines))

    async def leave(self, processor: ProcessorSpec, member: str) -> None:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        members = self._members(processor)
        if members.deadlines.pop(member, None) is not None:
            members.generation += 1

    def _members(self, processor: ProcessorSpec) -> _Members:
        key = (processor.stream.app, processor.stream.name, processor.name)
        return self.store.members.setdefault(key, _Members())


@attrs.define(eq=False)
class MemoryReader:
    """See `_protocol.Reader`."""

    _broker: MemoryBroker
    _stream: StreamSpec
    _block: float
    _woken: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        """See `_protocol.Reader`."""
        await trio.lowlevel.checkpoint()
        found = self._look(positions, count)
        if found or self._woken.is_set():
            self._woken = trio.Event()
            return found
        with trio.move_on_after(self._block):
            async with trio.open_nursery() as nursery:
                for wait in (self._woken.wait, self._broker.store.appended):
                    nursery.start_soon(_then_cancel, wait, nursery.cancel_scope)
        self._woken = trio.Event()
        return self._look(positions, count)

    def _look(self, positions: Mapping[int, bytes], count: int) -> dict[int, Sequence[Entry]]:
        store, broker = self._broker.store, self._broker
        found = {
            number: store.log(broker.log_key(self._stream, number)).after(xid, count)
            for number, xid in positions.items()
        }
        return {number: entries for number, entries in found.items() if entries}

    def wake(self) -> None:
        """See `_protocol.Reader`."""
        self._woken.set()

    async def aclose(self) -> None:
        """See `_protocol.Reader`."""
        await trio.lowlevel.checkpoint()


async def _then_cancel(wait: Callable[[], object], scope: trio.CancelScope) -> None:
    await wait()  # type: ignore[misc]  # either of two coroutine functions
    scope.cancel()


def _given_ids(stream: StreamSpec, number: int, log: _Log, batch: Batch) -> Sequence[tuple[int, int] | None]:
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


def _next_id(log: _Log) -> tuple[int, int]:
    now = (max(0, int(trio.current_time() * 1000)), 0)
    return now if now > log.last_id else (log.last_id[0], log.last_id[1] + 1)


def _make_room(log: _Log) -> None:
    cursor = slowest(group.cursor for group in log.groups.values())
    if cursor is not None:
        log.drop(bisect_right(log.ids, parse_id(cursor)))
