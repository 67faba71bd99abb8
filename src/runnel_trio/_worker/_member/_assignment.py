"""What the plan gives a member, and what it owns of it: plans, hands over, acquires.

    the members changed: plan, store the plan; the first one that is stored holds
    the plan changed:    drain what belongs to others now, acquire what is ours
    news of a release:   acquire it
    nothing is ours:     stand by, and be given what a leaver leaves

Partitions that stay are never interrupted. One that moves is drained by its owner (the event in hand ends,
all is committed, the lease given up), who tells the party through the control log; the next owner waits for
that news and takes it at once. Only what belongs to nobody who is still a member is taken by force.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Container, Mapping

import attrs
import trio

from runnel_trio._broker._protocol import Ownership
from runnel_trio._broker._values import Acquired, Held, Lease, ProcessorSpec, Quarantine
from runnel_trio._report._telemetry import report
from runnel_trio._rules._assignment import assign
from runnel_trio._worker._member._meter import Meter
from runnel_trio._worker._member._partition._executor import PartitionExecutor, tell_of_standing
from runnel_trio._worker._member._session import ControlNews, MemberSession

__all__ = ["Assignment"]


@attrs.define(eq=False, kw_only=True)
class Assignment:
    """Keeps what runs here equal to what the plan gives this member.

    Attributes:
        broker: where the leases are.
        spec: the processor, in the layout that the member reads.
        session: the member's.
        join_delay: seconds that a plan waits for more members.
        retry_interval: seconds from one try to the next for what somebody else holds.
        patience: tries after which it is told that somebody holds on to something.
        make: a partition that was granted → what runs it.
        execute: runs it until it has ended.
        meter: told what happens.
        running: what is owned, by number.
        still: what stands still of the member's share, by number.
        ready: set when it has had its share, or stands by.
    """

    broker: Ownership
    spec: ProcessorSpec
    session: MemberSession
    join_delay: float
    retry_interval: float
    patience: int
    make: Callable[[Acquired], PartitionExecutor]
    execute: Callable[[PartitionExecutor], Awaitable[None]]
    meter: Meter | None
    running: dict[int, PartitionExecutor] = attrs.field(factory=dict, init=False)
    still: dict[int, Quarantine] = attrs.field(factory=dict, init=False)
    ready: trio.Event = attrs.field(factory=trio.Event, init=False)
    _owed: dict[int, Lease] = attrs.field(factory=dict, init=False)
    _open: set[int] = attrs.field(factory=set, init=False)
    _paused: set[int] = attrs.field(factory=set, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _plan_at: float = attrs.field(default=math.inf, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    _held_by: list[str] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.session.on_removed = self.lose_all
        self.session.on_changed = self.look_again

    @property
    def share(self) -> set[int]:
        """What the plan gives the member."""
        return set(self.session.view.plan.get(self.session.member, ()))

    @property
    def is_settled(self) -> bool:
        """Whether the member has all that the plan gives it, or stands by."""
        return self.ready.is_set() and self.share <= self.running.keys() | self.still.keys()

    def drain(self) -> None:
        """Every partition ends gracefully, after the event in hand."""
        for executor in self.running.values():
            executor.drain()

    def abort(self) -> None:
        """Every partition ends now: what is in hand is cancelled."""
        for executor in self.running.values():
            executor.abort()

    def lose_all(self) -> None:
        """Taken for dead: another may own, or have owned, what we still believe in. First that ends."""
        if self.running:
            report(logging.WARNING, "was-removed", processor=self.spec.name, member=self.session.member)
        for executor in list(self.running.values()):
            executor.backlog.lose()

    def look_again(self) -> None:
        """The members, the plan, or what we have, changed."""
        if self.meter is not None:
            self.meter.changed(self.session.view.generation)
        self._open.update(range(self.spec.stream.partition_count))
        self._changed.set()

    def heed(self, news: ControlNews) -> None:
        """What others released can be acquired; what an operator paused ends."""
        self._paused |= news.paused
        if news.released:
            self.still = {number: why for number, why in self.still.items() if number not in news.released}
            self._open |= news.released
            self._changed.set()
        for number in news.paused & self.running.keys():
            self.running[number].drain()
        for number in news.parked & self.running.keys():
            self.running[number].refresh_parked()

    async def follow(self, executors: trio.Nursery) -> None:
        """Follow the plan until cancelled; what is acquired runs in the nursery."""
        while True:
            self._changed = trio.Event()
            await self._pay_back()
            wait = await self._plan()
            mine = self.share
            self._hand_over(mine)
            missing = mine - self.running.keys() - self.still.keys()
            tried = sorted(missing & self._open)
            self._open -= mine
            if tried and await self._acquire(tried, executors):
                self._attempts += 1
                self._tell_of_held(missing)
            missing -= self.running.keys() | self.still.keys()
            if not missing and wait == math.inf:
                self._settle(mine)
            with trio.move_on_after(min(wait, self.retry_interval if missing else math.inf)):
                await self._changed.wait()
                continue
            self._open |= missing

    def _hand_over(self, mine: Container[int]) -> None:
        """Drain what the plan gives to others, and tell once."""
        others = [x for number, x in self.running.items() if number not in mine]
        fresh = [x for x in others if not x.backlog.closed]
        for executor in others:
            executor.drain()
        if fresh:
            report(logging.INFO, "handing-over", processor=self.spec.name, partitions=len(fresh))

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
        if not mine and not self.ready.is_set():
            report(logging.INFO, "standing-by", processor=self.spec.name, member=self.session.member)
        self.ready.set()

    async def _plan(self) -> float:
        """Plan if the members are others than those of the plan; seconds until that is to be done.

        Members that have just come are waited for, `join_delay` at most, so that many make one plan.
        """
        view = self.session.view
        if view.planned == view.generation:
            self._plan_at = math.inf
            return math.inf
        staying = [member.id for member in view.members if not member.leaving]
        now = trio.current_time()
        if set(staying) <= view.plan.keys():
            self._plan_at = now
        elif self._plan_at == math.inf:
            self._plan_at = now + self.join_delay
        if self._plan_at > now:
            return self._plan_at - now
        plan = assign(staying, self.spec.stream.partition_count, view.plan)
        await self.session.broker.plan(self.spec, view.generation, plan)
        await self.session.beat()
        return math.inf if self.session.view.planned == self.session.view.generation else 0.0

    async def _acquire(self, numbers: list[int], executors: trio.Nursery) -> bool:
        """Take leases and run what was granted; whether some are still held by somebody."""
        held = await self._take(dict.fromkeys(numbers), executors)
        if held and {x.owner for x in held} - {member.id for member in self.session.view.members}:
            # An owner we have not heard of may have joined just now, and be alive: only a view that was
            # made after the lease was seen can tell.
            await self.session.beat()
            alive = {member.id for member in self.session.view.members}
            orphans = {x.partition: x for x in held if x.owner not in alive}
            mine = self.session.view.plan.get(self.session.member, ())
            if orphans and not self.session.lapsed:
                wanted = {number: x for number, x in orphans.items() if number in mine}
                held = [x for x in held if x.partition not in wanted] + await self._take(wanted, executors)
        self._held_by = sorted({x.owner for x in held})
        return bool(held)

    async def _take(self, wanted: Mapping[int, Held | None], executors: trio.Nursery) -> list[Held]:
        place, self._paused = self.session.view.joined_as, set()
        answers = await self.broker.acquire(self.spec, self.session.member, wanted)
        granted = [answer for answer in answers if isinstance(answer, Acquired)]
        if granted and self.session.view.joined_as != place:
            # Removed since we asked, and a member again: others may have taken these from us by force.
            self._owed |= {grant.lease.partition: grant.lease for grant in granted}
            self.look_again()
            granted = []
        for grant in granted:
            executor = self.make(grant)
            number = grant.lease.partition
            self.running[number] = executor
            if number in self._paused:  # as it was granted, so that nobody ran it when that was told
                executor.drain()
            executors.start_soon(self._run, executor, name=f"{self.spec.name}[{number}]")
        if granted:
            report(logging.INFO, "acquired", processor=self.spec.name, partitions=len(granted))
        for answer in answers:
            if isinstance(answer, Quarantine):
                self.still[answer.partition] = answer
                tell_of_standing(self.spec.stream.name, answer, self.session.member)
        return [answer for answer in answers if isinstance(answer, Held)]

    def _tell_of_held(self, missing: set[int]) -> None:
        if self._attempts == self.patience:
            facts = {"processor": self.spec.name, "partitions": len(missing - self.running.keys())}
            report(logging.ERROR, "still-held", **facts, by=self._held_by)

    async def _run(self, executor: PartitionExecutor) -> None:
        number = executor.backlog.number
        try:
            await self.execute(executor)
        finally:
            del self.running[number]
            if not executor.released:
                self._owed[number] = executor.backlog.lease
            self._open.add(number)
            self._changed.set()
