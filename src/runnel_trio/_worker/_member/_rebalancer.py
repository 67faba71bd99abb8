"""One processor's member in this process: joins, keeps its session, and runs what the plan gives it.

    JOINING ──first heartbeat──▶ MEMBER ──drain()──▶ LEAVING ──all given up──▶ LEFT
                                   └ owns what the plan gives it: `_assignment`

The nurseries in `Rebalancer.run` are nested in the order in which they stop, the innermost first: fetching
ends, then the partitions end, and what they need for that (heartbeat and committer) ends last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._subscription import tell_of_loss
from runnel_trio._broker._values import Acquired, Entry, ProcessorSpec
from runnel_trio._event import Event
from runnel_trio._operate._parked import facts_of
from runnel_trio._processor import Processor
from runnel_trio._report._telemetry import Tally
from runnel_trio._rules._cursor import ORIGIN, heal_entries_read, lost
from runnel_trio._rules._parked import Facts
from runnel_trio._scopes import LAST_WORDS, run_guarded, shielded
from runnel_trio._worker._heartbeat import Heartbeat
from runnel_trio._worker._member._assignment import Assignment
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._committer import Committer
from runnel_trio._worker._member._fetcher import Fetcher, readers_for
from runnel_trio._worker._member._meter import Meter
from runnel_trio._worker._member._owned_tables import OwnedTables, TableCache
from runnel_trio._worker._member._parked_keys import ParkedKeys
from runnel_trio._worker._member._partition._executor import PartitionExecutor
from runnel_trio._worker._member._partition._poison import LastTryLock, PoisonGuard
from runnel_trio._worker._member._resync import ResyncSchedule, resync, tell_of_rewriting
from runnel_trio._worker._member._session import MemberSession, parse_news
from runnel_trio._worker._member._unowned import report_unowned

__all__ = ["Rebalancer"]

#: Seconds for which a read of the party's news waits on the server.
_CONTROL_BLOCK = 5.0


@attrs.define(eq=False, kw_only=True)
class Rebalancer:
    """Owns this process's share of a processor's partitions.

    Attributes:
        broker: knows the partitions and the members.
        processor: whose partitions they are.
        spec: the processor in the layout that this member reads.
        member: this member's id.
        about: what other members are told about it.
        heartbeat: keeps its session.
        halt: called with an exception that stops the worker.
        last_try: shared by all partitions of the worker, see `_poison`.
        cache: what the worker has read of tables.
        counts: the worker's counts of events that did not go the usual way.
        on_moved: called when the stream has got other partitions.
        meter: reports to metrics, if there are any.
    """

    broker: Broker
    processor: Processor[Any]
    spec: ProcessorSpec
    member: str
    about: str
    heartbeat: Heartbeat
    halt: Callable[[BaseException], None]
    last_try: LastTryLock
    cache: TableCache
    counts: Tally
    on_moved: Callable[[], None]
    meter: Meter | None = None
    _session: MemberSession = attrs.field(init=False)
    _committer: Committer = attrs.field(init=False)
    _fetcher: Fetcher = attrs.field(init=False)
    _assignment: Assignment = attrs.field(init=False)
    _known: dict[int, bytes] = attrs.field(factory=dict, init=False)
    _patience: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _draining: trio.Event = attrs.field(factory=trio.Event, init=False)
    _schedule: ResyncSchedule = attrs.field(factory=ResyncSchedule, init=False)

    def __attrs_post_init__(self) -> None:
        processor, spec = self.processor, self.spec
        count = readers_for(spec.stream.partition_count, processor.pool_size, self.broker.keys_per_read)
        readers = [self.broker.reader(spec, processor.read_timeout / 1000) for _ in range(count)]
        wanted: dict[str, Any] = {"replicas": processor.commit_replicas, "sinks": processor.written}
        self._committer = Committer(broker=self.broker, processor=spec, meter=self.meter, **wanted)
        self._fetcher = Fetcher(readers, on_interrupted=self._doubt)
        self._session = MemberSession(
            broker=self.broker,
            party=spec,
            member=self.member,
            expiry=processor.lock_expiry,
            about=self.about,
            on_beat=self._schedule.raised,
        )
        self._assignment = Assignment(
            broker=self.broker,
            spec=spec,
            session=self._session,
            join_delay=processor.join_delay,
            retry_interval=processor.assignment_sleep,
            patience=processor.assignment_attempts,
            make=self._executor,
            execute=self._execute,
            meter=self.meter,
        )

    def drain(self) -> None:
        """End gracefully: every partition finishes the event in hand."""
        self._draining.set()
        self._patience.cancel()
        self._assignment.drain()

    def move_parked(self, stage: ProcessorSpec) -> None:
        """The stream has got other partitions: what is parked goes there, so that this layout can end."""
        for executor in self._assignment.running.values():
            executor.move_parked(stage)

    def abort(self) -> None:
        """End now: cancel the events in hand."""
        self.drain()
        self._assignment.abort()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until drained. Reports that it has started once it owns its share, or stands by."""
        try:
            with self._until_drained():
                await self._guarded(self._session.beat)
            self.heartbeat.keep(self._session)
            async with trio.open_nursery() as services:
                services.start_soon(self._guarded, self._committer.run)
                services.start_soon(self._guarded, self._resync)
                looking = partial(report_unowned, self.broker, self.spec, self._session, self.meter)
                services.start_soon(self._guarded, looking)
                async with trio.open_nursery() as executors:
                    async with trio.open_nursery() as intake:
                        intake.start_soon(self._guarded, self._fetcher.run)
                        intake.start_soon(self._guarded, self._listen)
                        intake.start_soon(self._guarded, partial(self._assignment.follow, executors))
                        with self._until_drained():
                            await self._assignment.ready.wait()
                        task_status.started()
                        await self._draining.wait()
                        intake.cancel_scope.cancel()
                    self.drain()
                    services.start_soon(self._guarded, self._announce_leaving)
                services.cancel_scope.cancel()
        finally:
            self.heartbeat.drop(self._session)
            with shielded(LAST_WORDS):
                await self._guarded(self._session.leave)
            self._measure()

    @property
    def alive(self) -> bool:
        """Whether its session has not lapsed; True also before it has joined, and while it leaves."""
        return not self._session.view.joined_as or self._session.leaving or not self._session.lapsed

    @property
    def settled(self) -> bool:
        """Whether it owns all that the plan gives it, or stands by."""
        return self._assignment.is_settled

    def _until_drained(self) -> trio.CancelScope:
        """A scope for a wait that a drain must end, however long the server is away."""
        self._patience = trio.CancelScope()
        if self._draining.is_set():
            self._patience.cancel()
        return self._patience

    async def _guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run one of our own tasks. An exception in it ends the worker."""
        await run_guarded(self._fail, task)

    def _fail(self, error: BaseException) -> None:
        self.halt(error)
        self.drain()

    async def _announce_leaving(self) -> None:
        """Have the other members plan without this one while its partitions end."""
        self._session.leaving = True
        await self._session.beat()

    async def _resync(self) -> None:
        while True:
            running = self._assignment.running
            numbers = await self._schedule.next(running)
            if numbers:
                backlogs = [running[number].backlog for number in numbers]
                states = await resync(self.broker, self.spec, backlogs, self.counts)
                if self.meter is not None:
                    self.meter.examined(states)
            self._measure()

    def _doubt(self) -> None:
        """Nothing was heard for a while: what an operator did meanwhile may never have been told."""
        self._schedule.raised_of_all()
        for executor in self._assignment.running.values():
            if executor.backlog.parked.heads:
                executor.refresh_parked()

    def _measure(self) -> None:
        if self.meter is not None:
            mine = self._assignment
            if self.processor.by_key:
                self.meter.works([x.in_hand for x in mine.running.values() if x.in_hand is not None])
            self.meter.stands([x.backlog for x in mine.running.values()], len(mine.still))

    async def _listen(self) -> None:
        """Listen to the news of the party."""
        await self._session.listen(_CONTROL_BLOCK, self._hear, most=1000)

    async def _hear(self, entries: Iterable[Entry]) -> None:
        news = parse_news(entries)
        self._assignment.heed(news)
        if news.moved:
            self.on_moved()
        if news.changed:
            await self._session.beat()

    async def _execute(self, executor: PartitionExecutor) -> None:
        backlog = executor.backlog
        self._fetcher.watch(backlog)
        try:
            await self._guarded(executor.run)
        finally:
            self._fetcher.forget(backlog)
            if self.meter is not None:
                self.meter.forget(backlog)
            self._known[backlog.number] = backlog.committed

    def _describe(self, event: Event) -> Facts:
        """What people are told of an event's key if it is parked, and where it goes in other partitions."""
        stream = self.processor.stream
        return facts_of(stream, stream.key_of(event.record()), by=self.member)

    def _now(self) -> int:
        return int(self.broker.wall() * 1000)

    def _owned_tables(self, granted: Acquired) -> OwnedTables:
        return OwnedTables(
            broker=self.broker,
            processor=self.spec,
            number=granted.lease.partition,
            tables={table.name: table for table in self.processor.tables},
            cache=self.cache,
            clock=self.broker.clock,
            touched=granted.touched,
        )

    def _executor(self, granted: Acquired) -> PartitionExecutor:
        processor, state, lease = self.processor, granted.state, granted.lease
        tell_of_loss(self.spec, lease.partition, lost(state), self.counts)
        tell_of_rewriting(self.spec, lease.partition, state, self._known.get(lease.partition, ORIGIN))
        backlog = Backlog(
            capacity=processor.prefetch_count,
            most_bytes=processor.prefetch_bytes,
            position=state.cursor,
            committed=state.cursor,
            entries_read=heal_entries_read(state),
            lease=lease,
            left_ahead=granted.ahead,
            parked=ParkedKeys(describe=self._describe, now=self._now, most=processor.max_parked),
            tables=self._owned_tables(granted) if processor.tables else None,
        )
        # Each lane of the previous owner may have freed one more key whose events come before those in hand.
        suspects = processor.max_unacked + (processor.concurrency if processor.concurrency > 1 else 0)
        limits = {"max_attempts": processor.max_attempts, "max_unacked": suspects}
        return PartitionExecutor(
            broker=self.broker,
            processor=processor,
            spec=self.spec,
            granted=granted,
            backlog=backlog,
            committer=self._committer,
            validity=self._session.validity,
            poison_guard=PoisonGuard.after(
                granted, self.broker, self.spec, backlog, last_try=self.last_try, **limits
            ),
            counts=self.counts,
            meter=self.meter,
            halt=self.halt,
        )
