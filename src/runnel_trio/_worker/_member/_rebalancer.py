"""One processor's member in this process: joins, keeps its place, and runs what it is assigned.

    JOINING ──first heartbeat──▶ MEMBER ──drain()──▶ DRAINING ──all given up──▶ LEFT
                                   │ assigned: acquire the leases, run an executor for each
                                   │ nothing assigned: stand by

The nurseries stand inside each other in the order of stopping. Read down, it is how things start; read up,
how they end: first nothing more is fetched, then the partitions end, and what they need for that (heartbeat
and committer) ends last.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from runnel_trio._broker._protocol import Acquired, Broker, Held, Membership
from runnel_trio._event import Partition
from runnel_trio._processor import Processor
from runnel_trio._rules._assignment import assigned
from runnel_trio._rules._cursor import (
    ORIGIN,
    LogState,
    heal_entries_read,
    is_after,
    lost,
    parse_id,
    read_up_to,
)
from runnel_trio._rules._lease import trusted_until
from runnel_trio._scopes import LAST_WORDS, shielded
from runnel_trio._telemetry import report
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._committer import Committer
from runnel_trio._worker._member._fetcher import Fetcher, lanes_for
from runnel_trio._worker._member._partition import PartitionExecutor
from runnel_trio._worker._member._source import Source
from runnel_trio._worker._member._trust import Trust

__all__ = ["Rebalancer"]

#: Heartbeats in one expiry.
_BEATS = 4


@attrs.define(eq=False, kw_only=True)
class Rebalancer:
    """Owns this process's share of a processor's partitions.

    Attributes:
        broker: where everything is.
        processor: whose partitions.
        member: this member's id.
        about: what others are told about it.
        halt: told of an exception that stops the worker.
    """

    broker: Broker
    processor: Processor
    member: str
    about: str
    halt: Callable[[BaseException], None]
    _trust: Trust = attrs.field(factory=Trust, init=False)
    _committer: Committer = attrs.field(init=False)
    _fetcher: Fetcher = attrs.field(init=False)
    _membership: Membership = attrs.field(default=Membership(0, ()), init=False)
    _running: dict[int, PartitionExecutor] = attrs.field(factory=dict, init=False)
    _held: dict[int, Held] = attrs.field(factory=dict, init=False)
    _patience: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _draining: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ready: trio.Event = attrs.field(factory=trio.Event, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        processor, spec = self.processor, self.processor.spec
        lanes = lanes_for(processor.stream.partition_count, processor.pool_size)
        block = processor.read_timeout / 1000
        self._committer = Committer(broker=self.broker, processor=spec)
        self._fetcher = Fetcher([self.broker.reader(spec, block) for _ in range(lanes)])

    def drain(self) -> None:
        """End gracefully: every partition ends the event in hand."""
        self._draining.set()
        self._patience.cancel()
        for executor in self._running.values():
            executor.drain()

    def abort(self) -> None:
        """End now: what is in hand is cancelled."""
        self.drain()
        for executor in self._running.values():
            executor.scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until drained. Started when it owns its share, or stands by."""
        try:
            with self._until_drained():
                await self._guarded(self._beat)
            async with trio.open_nursery() as services:
                services.start_soon(self._guarded, self._committer.run)
                services.start_soon(self._guarded, self._keep_place)
                async with trio.open_nursery() as executors:
                    async with trio.open_nursery() as intake:
                        intake.start_soon(self._guarded, self._fetcher.run)
                        intake.start_soon(self._guarded, partial(self._own, executors))
                        with self._until_drained():
                            await self._ready.wait()
                        task_status.started()
                        await self._draining.wait()
                        intake.cancel_scope.cancel()
                    self.drain()
                services.cancel_scope.cancel()
        finally:
            with shielded(max(self.processor.grace_period, LAST_WORDS)):
                await self._guarded(partial(self.broker.leave, self.processor.spec, self.member))

    def _until_drained(self) -> trio.CancelScope:
        """A scope around a wait that a drain ends, however long the server is away."""
        self._patience = trio.CancelScope()
        if self._draining.is_set():
            self._patience.cancel()
        return self._patience

    async def _guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run one of our own tasks; what it raises ends the worker, and arrives as itself."""
        try:
            await task()
        except Exception as error:
            self.halt(error)
            self.drain()

    async def _keep_place(self) -> None:
        while True:
            await trio.sleep(self.processor.lock_expiry / _BEATS)
            await self._beat()
            await self._resync()

    async def _beat(self) -> None:
        await self._beat_once()
        if self._lapsed():  # it was under way for too long, while the server was away
            await self._beat_once()

    async def _beat_once(self) -> None:
        expiry = self.processor.lock_expiry
        started = self.broker.clock()
        membership = await self.broker.beat(self.processor.spec, self.member, expiry, self.about)
        changed = membership != self._membership
        if changed and self._lapsed():
            # Taken for dead: another may own, or have owned, what we still believe in. First that ends.
            for executor in self._running.values():
                executor.backlog.lose()
        self._trust.renew(trusted_until(started, expiry))
        if changed:
            self._membership = membership
            self._changed.set()

    def _lapsed(self) -> bool:
        """Whether others may have counted this member as dead since its last heartbeat."""
        return self.broker.clock() >= self._trust.until

    async def _own(self, executors: trio.Nursery) -> None:
        await trio.sleep(self.processor.join_delay)
        attempts = 0
        while True:
            self._changed = trio.Event()
            count = self.processor.stream.partition_count
            mine = assigned(self._membership.members, count, self.member)
            for number, executor in self._running.items():
                if number not in mine:
                    executor.drain()
            missing = sorted(mine - self._running.keys())
            if missing and await self._acquire(missing, executors):
                attempts += 1
                self._tell_of_held(attempts)
                with trio.move_on_after(self.processor.assignment_sleep if attempts > 1 else 0):
                    await self._changed.wait()
                continue
            attempts = 0
            if not mine and not self._ready.is_set():
                report(logging.INFO, "standing-by", processor=self.processor.name, member=self.member)
            self._ready.set()
            await self._changed.wait()

    async def _acquire(self, numbers: list[int], executors: trio.Nursery) -> bool:
        """Take leases and run what was granted; whether some are still held by somebody."""
        wanted = {number: self._takeable(number) for number in numbers}
        answers = await self.broker.acquire(self.processor.spec, self.member, wanted)
        self._held = {answer.partition: answer for answer in answers if isinstance(answer, Held)}
        granted = [answer for answer in answers if isinstance(answer, Acquired)]
        for answer in granted:
            executor = self._executor(answer)
            self._running[answer.lease.partition] = executor
            executors.start_soon(
                self._execute, executor, name=f"{self.processor.name}[{answer.lease.partition}]"
            )
        if granted:
            report(logging.INFO, "acquired", processor=self.processor.name, partitions=len(granted))
        return bool(self._held)

    def _takeable(self, number: int) -> Held | None:
        """What was seen of the lease, when its owner is a member no more: then it may be taken by force.

        Not on the word of an old membership: its owner may have joined since, and be alive.
        """
        held = self._held.get(number)
        if held is None or held.owner in self._membership.members or self._lapsed():
            return None
        return held

    def _tell_of_held(self, attempts: int) -> None:
        if attempts == self.processor.assignment_attempts:
            owners = sorted({held.owner for held in self._held.values()})
            report(
                logging.ERROR,
                "still-held",
                processor=self.processor.name,
                partitions=len(self._held),
                by=owners,
            )

    async def _execute(self, executor: PartitionExecutor) -> None:
        number = executor.backlog.number
        self._fetcher.watch(executor.backlog)
        try:
            await self._guarded(executor.run)
        finally:
            self._fetcher.forget(executor.backlog)
            del self._running[number]
            self._changed.set()

    def _executor(self, granted: Acquired) -> PartitionExecutor:
        processor, state, lease = self.processor, granted.state, granted.lease
        self._tell_of_loss(lease.partition, lost(state))
        backlog = Backlog(
            capacity=processor.prefetch_count,
            position=state.cursor,
            committed=state.cursor,
            entries_read=heal_entries_read(state),
            lease=lease,
        )
        key = self.broker.log_key(processor.stream.spec, lease.partition)
        return PartitionExecutor(
            broker=self.broker,
            processor=processor.spec,
            backlog=backlog,
            committer=self._committer,
            function=processor.function,
            middleware=processor.middleware,
            policy=processor.exception_policy,
            grace_period=processor.grace_period,
            halt=self.halt,
            make_source=partial(
                Source,
                backlog=backlog,
                partition=Partition(number=lease.partition, key=key, epoch=lease.epoch),
                group=processor.name.encode(),
                decode=processor.stream.decode,
                recovering_to=granted.read_to or ORIGIN,
                max_unacked=processor.max_unacked,
                trust=self._trust,
                clock=self.broker.clock,
                processed=self._committer.mark,
                hurry=self._committer.hurry,
            ),
        )

    def _tell_of_loss(self, number: int, count: int) -> None:
        if count > 0:
            place = f"{self.processor.stream.name}[{number}]"
            report(logging.ERROR, "events-lost", place=place, processor=self.processor.name, count=count)

    async def _resync(self) -> None:
        """Notice what happened to the logs, and to the cursors where no commit would be told."""
        before = [_Place.of(x.backlog) for x in self._running.values() if not x.backlog.closed]
        states = await self.broker.examine(self.processor.spec, [place.backlog.number for place in before])
        for place, state in zip(before, states, strict=True):
            backlog = place.backlog
            if place.cursor_moved(state):
                report(
                    logging.WARNING, "cursor-moved", place=f"{self.processor.stream.name}[{backlog.number}]"
                )
                backlog.lose()
            elif state is not None and backlog.position == place.position and not backlog.closed:
                read = read_up_to(state, place.position, backlog.read)
                if backlog.entries_read >= 0:
                    self._tell_of_loss(backlog.number, read - backlog.read)
                if read >= 0:
                    backlog.recount(read)


@attrs.frozen
class _Place:
    """Where a backlog stood before the server was asked; what it says is of that time or later."""

    backlog: Backlog
    position: bytes
    committed: bytes
    quiet: bool

    @classmethod
    def of(cls, backlog: Backlog) -> _Place:
        return cls(backlog, backlog.position, backlog.committed, not backlog.unacknowledged)

    def cursor_moved(self, state: LogState | None) -> bool:
        """Whether the server's story is another than ours: an operator's doing, or a lost write."""
        if not self.quiet or self.backlog.closed or self.backlog.committed != self.committed:
            return False
        return (
            state is None
            or state.cursor != self.committed
            or is_after(self.position, max(state.last_id, state.cursor, key=parse_id))
        )
