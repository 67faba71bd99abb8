"""One processor's member in this process: joins, keeps its session, and runs what it is given by the plan.

    JOINING ──first heartbeat──▶ MEMBER ──drain()──▶ LEAVING ──all given up──▶ LEFT
                                   │ the members changed: plan, store the plan; the first one holds
                                   │ the plan changed:    drain what is another's now, acquire what is ours
                                   │ news of a release:   acquire it
                                   │ nothing is ours:     stand by, and be given what a leaver leaves

Partitions that stay are never interrupted. One that moves is drained by its owner (the event in hand ends,
all is committed, the lease given up), who tells the party through the control log; the next owner waits for
that news and takes it at once. Only what belongs to nobody who is still a member is taken by force.

The nurseries stand inside each other in the order of stopping. Read down, it is how things start; read up,
how they end: first nothing more is fetched, then the partitions end, and what they need for that (heartbeat
and committer) ends last.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping
from functools import partial
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._subscription import tell_of_loss
from runnel_trio._broker._values import Acquired, Entry, Held, Lease, ProcessorSpec, Quarantine
from runnel_trio._processor import Processor
from runnel_trio._report._telemetry import Tally, report
from runnel_trio._rules._assignment import assign
from runnel_trio._rules._cursor import ORIGIN, heal_entries_read, lost
from runnel_trio._scopes import LAST_WORDS, shielded
from runnel_trio._worker._heartbeat import Heartbeat
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._committer import Committer
from runnel_trio._worker._member._fetcher import Fetcher, readers_for
from runnel_trio._worker._member._meter import Meter
from runnel_trio._worker._member._partition._executor import PartitionExecutor, tell_of_standing
from runnel_trio._worker._member._partition._poison import LastTryLock, PoisonGuard
from runnel_trio._worker._member._resync import ResyncSchedule, resync, tell_of_rewriting
from runnel_trio._worker._member._session import MemberSession, parse_news
from runnel_trio._worker._member._unowned import report_unowned

__all__ = ["Rebalancer"]

#: Seconds that a read of the control log waits in the server.
_CONTROL_BLOCK = 5.0


@attrs.define(eq=False, kw_only=True)
class Rebalancer:
    """Owns this process's share of a processor's partitions.

    Attributes:
        broker: where everything is.
        processor: whose partitions.
        spec: the same, in the layout that this member reads.
        member: this member's id.
        about: what others are told about it.
        heartbeat: keeps its session.
        halt: told of an exception that stops the worker.
        turn: among all partitions of the worker, see `_poison`.
        counts: the worker's, of events that did not go the usual way.
        on_moved: told that the stream has got other partitions.
        meter: told what happens.
    """

    broker: Broker
    processor: Processor[Any]
    spec: ProcessorSpec
    member: str
    about: str
    heartbeat: Heartbeat
    halt: Callable[[BaseException], None]
    last_try: LastTryLock
    counts: Tally
    on_moved: Callable[[], None]
    meter: Meter | None = None
    _session: MemberSession = attrs.field(init=False)
    _committer: Committer = attrs.field(init=False)
    _fetcher: Fetcher = attrs.field(init=False)
    _running: dict[int, PartitionExecutor] = attrs.field(factory=dict, init=False)
    _known: dict[int, bytes] = attrs.field(factory=dict, init=False)
    _owed: dict[int, Lease] = attrs.field(factory=dict, init=False)
    _still: dict[int, Quarantine] = attrs.field(factory=dict, init=False)
    _open: set[int] = attrs.field(factory=set, init=False)
    _plan_at: float = attrs.field(default=math.inf, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    _held_by: list[str] = attrs.field(factory=list, init=False)
    _patience: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _draining: trio.Event = attrs.field(factory=trio.Event, init=False)
    _ready: trio.Event = attrs.field(factory=trio.Event, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _paused: set[int] = attrs.field(factory=set, init=False)
    _doubt: ResyncSchedule = attrs.field(factory=ResyncSchedule, init=False)

    def __attrs_post_init__(self) -> None:
        processor, spec = self.processor, self.spec
        lanes = readers_for(spec.stream.partition_count, processor.pool_size, self.broker.keys_per_read)
        readers = [self.broker.reader(spec, processor.read_timeout / 1000) for _ in range(lanes)]
        wanted: dict[str, Any] = {"replicas": processor.commit_replicas, "sinks": processor.sinks}
        self._committer = Committer(broker=self.broker, processor=spec, meter=self.meter, **wanted)
        self._fetcher = Fetcher(readers, on_interrupted=self._doubt.raised_of_all)
        self._session = MemberSession(
            broker=self.broker,
            party=spec,
            member=self.member,
            expiry=processor.lock_expiry,
            about=self.about,
            on_removed=self._lose_all,
            on_beat=self._doubt.raised,
            on_changed=self._look_again,
        )

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
            executor.abort()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until drained. Started when it owns its share, or stands by."""
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
                        intake.start_soon(self._guarded, partial(self._own, executors))
                        with self._until_drained():
                            await self._ready.wait()
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
        """Whether the server has heard of it within the last lease, if it has joined."""
        return not self._session.view.joined_as or self._session.leaving or not self._session.lapsed

    @property
    def settled(self) -> bool:
        """Whether it has all that the plan gives it, or stands by."""
        mine = set(self._session.view.plan.get(self.member, ()))
        return self._ready.is_set() and mine <= self._running.keys() | self._still.keys()

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

    async def _announce_leaving(self) -> None:
        """Let the others plan without this member while its partitions end."""
        self._session.leaving = True
        await self._session.beat()

    def _lose_all(self) -> None:
        """Taken for dead: another may own, or have owned, what we still believe in. First that ends."""
        if self._running:
            report(logging.WARNING, "was-removed", processor=self.processor.name, member=self.member)
        for executor in list(self._running.values()):
            executor.backlog.lose()

    def _look_again(self) -> None:
        """The members, the plan, or what we have, changed."""
        if self.meter is not None:
            self.meter.changed(self._session.view.generation)
        self._open.update(range(self.spec.stream.partition_count))
        self._changed.set()

    async def _resync(self) -> None:
        while True:
            numbers = await self._doubt.next(self._running)
            if numbers:
                backlogs = [self._running[number].backlog for number in numbers]
                states = await resync(self.broker, self.spec, backlogs, self.counts)
                if self.meter is not None:
                    self.meter.examined(states)
            self._measure()

    def _measure(self) -> None:
        if self.meter is not None:
            self.meter.stands([x.backlog for x in self._running.values()], len(self._still))

    async def _listen(self) -> None:
        """Hear what the others tell."""
        reader = self.broker.control(self.spec, _CONTROL_BLOCK)
        place = self._session.view.news
        try:
            while True:
                found = (await reader.read({0: place}, 1000)).get(0, ())
                if found:
                    place = found[-1][0]
                    await self._hear(found)
        finally:
            await reader.aclose()

    async def _hear(self, news: Iterable[Entry]) -> None:
        told = parse_news(news)
        self._paused |= told.paused
        if told.released:
            self._still = {number: why for number, why in self._still.items() if number not in told.released}
            self._open |= told.released
            self._changed.set()
        for number in told.paused & self._running.keys():
            self._running[number].drain()
        if told.moved:
            self.on_moved()
        if told.changed:
            await self._session.beat()

    async def _own(self, executors: trio.Nursery) -> None:
        while True:
            self._changed = trio.Event()
            await self._pay_back()
            wait = await self._plan()
            mine = set(self._session.view.plan.get(self.member, ()))
            self._hand_over(mine)
            missing = mine - self._running.keys() - self._still.keys()
            tried = sorted(missing & self._open)
            self._open -= mine
            if tried and await self._acquire(tried, executors):
                self._attempts += 1
                self._tell_of_held(missing)
            missing -= self._running.keys() | self._still.keys()
            if not missing and wait == math.inf:
                self._settle(mine)
            with trio.move_on_after(min(wait, self.processor.assignment_sleep if missing else math.inf)):
                await self._changed.wait()
                continue
            self._open |= missing

    def _hand_over(self, mine: Container[int]) -> None:
        """Drain what the plan gives to others, and tell once."""
        others = [x for number, x in self._running.items() if number not in mine]
        fresh = [x for x in others if not x.backlog.closed]
        for executor in others:
            executor.drain()
        if fresh:
            report(logging.INFO, "handing-over", processor=self.processor.name, partitions=len(fresh))

    async def _pay_back(self) -> None:
        """Give up what was lost and still has our name: nobody takes by force what a living member holds."""
        owed = dict(self._owed)
        if owed:
            await self.broker.release(self.spec, list(owed.values()))
            for number, lease in owed.items():
                if self._owed[number] is lease:
                    del self._owed[number]

    def _settle(self, mine: set[int]) -> None:
        """Everything that is ours is here."""
        self._attempts = 0
        if self.meter is not None:
            self.meter.settled()
        if not mine and not self._ready.is_set():
            report(logging.INFO, "standing-by", processor=self.processor.name, member=self.member)
        self._ready.set()

    async def _plan(self) -> float:
        """Plan if the members are others than those of the plan; seconds until that is to be done.

        Members that have just come are waited for, `join_delay` at most, so that many make one plan.
        """
        view = self._session.view
        if view.planned == view.generation:
            self._plan_at = math.inf
            return math.inf
        staying = [member.id for member in view.members if not member.leaving]
        now = trio.current_time()
        if set(staying) <= view.plan.keys():
            self._plan_at = now
        elif self._plan_at == math.inf:
            self._plan_at = now + self.processor.join_delay
        if self._plan_at > now:
            return self._plan_at - now
        plan = assign(staying, self.spec.stream.partition_count, view.plan)
        await self.broker.plan(self.spec, view.generation, plan)
        await self._session.beat()
        return math.inf if self._session.view.planned == self._session.view.generation else 0.0

    async def _acquire(self, numbers: list[int], executors: trio.Nursery) -> bool:
        """Take leases and run what was granted; whether some are still held by somebody."""
        held = await self._take(dict.fromkeys(numbers), executors)
        if held and {x.owner for x in held} - {member.id for member in self._session.view.members}:
            # An owner we have not heard of may have joined just now, and be alive: only a view that was
            # made after the lease was seen can tell.
            await self._session.beat()
            alive = {member.id for member in self._session.view.members}
            orphans = {x.partition: x for x in held if x.owner not in alive}
            mine = self._session.view.plan.get(self.member, ())
            if orphans and not self._session.lapsed:
                wanted = {number: x for number, x in orphans.items() if number in mine}
                held = [x for x in held if x.partition not in wanted] + await self._take(wanted, executors)
        self._held_by = sorted({x.owner for x in held})
        return bool(held)

    async def _take(self, wanted: Mapping[int, Held | None], executors: trio.Nursery) -> list[Held]:
        place, self._paused = self._session.view.joined_as, set()
        answers = await self.broker.acquire(self.spec, self.member, wanted)
        granted = [answer for answer in answers if isinstance(answer, Acquired)]
        if granted and self._session.view.joined_as != place:
            # Removed since we asked, and a member again: others may have taken these from us by force.
            self._owed |= {grant.lease.partition: grant.lease for grant in granted}
            self._look_again()
            granted = []
        for grant in granted:
            executor = self._executor(grant)
            number = grant.lease.partition
            self._running[number] = executor
            if number in self._paused:  # as it was granted, so that nobody ran it when that was told
                executor.drain()
            executors.start_soon(self._execute, executor, name=f"{self.processor.name}[{number}]")
        if granted:
            report(logging.INFO, "acquired", processor=self.processor.name, partitions=len(granted))
        for answer in answers:
            if isinstance(answer, Quarantine):
                self._still[answer.partition] = answer
                tell_of_standing(self.processor.stream.name, answer, self.member)
        return [answer for answer in answers if isinstance(answer, Held)]

    def _tell_of_held(self, missing: set[int]) -> None:
        if self._attempts == self.processor.assignment_attempts:
            facts = {"processor": self.processor.name, "partitions": len(missing - self._running.keys())}
            report(logging.ERROR, "still-held", **facts, by=self._held_by)

    async def _execute(self, executor: PartitionExecutor) -> None:
        number = executor.backlog.number
        self._fetcher.watch(executor.backlog)
        try:
            await self._guarded(executor.run)
        finally:
            self._fetcher.forget(executor.backlog)
            if self.meter is not None:
                self.meter.forget(executor.backlog)
            del self._running[number]
            self._known[number] = executor.backlog.committed
            if not executor.released:
                self._owed[number] = executor.backlog.lease
            self._open.add(number)
            self._changed.set()

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
        )
        limits = {"max_attempts": processor.max_attempts, "max_unacked": processor.max_unacked}
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
