"""A member's session in its party: its heartbeats, what it knows of others, and how long its leases hold.

Heartbeats leave from two places: regularly from the worker's heartbeat, which may be a thread, and in between
from Trio, by whoever needs to know now. Their answers are the same, and all end in `heard`.

Why `joined_as` tells that this member was removed: a member keeps that number as long as it is one, and no
number is given twice. So an answer with another one says that others could take, and may have taken, what
this one believed to own. Nothing else can: a lease is taken by force only from an owner that is no member.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

import attrs
import trio

from runnel_trio._broker._protocol import Parties
from runnel_trio._broker._values import Beat, Entry, Membership, Party, ProcessorSpec
from runnel_trio._report._telemetry import report
from runnel_trio._rules._lease import trusted_until
from runnel_trio._worker._member._validity import LeaseValidity

__all__ = ["ControlNews", "MemberSession", "parse_news"]

#: Heartbeats in one expiry.
_BEATS = 4


def _nothing() -> None:
    """Nobody wants to know."""


@attrs.define(eq=False, kw_only=True)
class MemberSession:
    """One member of one party.

    Attributes:
        broker: where the party is.
        party: of what it is a member.
        member: its id.
        expiry: seconds without a heartbeat after which it counts as dead.
        about: what others are told of it.
        on_removed: called when it had been removed meanwhile, before its leases count as valid again.
        on_beat: called after every heartbeat, answered or not.
        on_changed: called when the members or their plan are others than before.
        validity: until when its leases hold, by its own clock.
        view: the party, as last heard of.
        leaving: whether it is about to leave.
    """

    broker: Parties
    party: Party
    member: str
    expiry: float
    about: str
    on_removed: Callable[[], None] = _nothing
    on_beat: Callable[[], None] = _nothing
    on_changed: Callable[[], None] = _nothing
    validity: LeaseValidity = attrs.field(factory=LeaseValidity, init=False)
    view: Membership = attrs.field(factory=Membership, init=False)
    leaving: bool = attrs.field(default=False, init=False)
    _heard_of: float = attrs.field(default=0.0, init=False)
    _beats: dict[str, tuple[int, float]] = attrs.field(factory=dict, init=False)

    @property
    def interval(self) -> float:
        """Seconds from one heartbeat to the next."""
        return self.expiry / _BEATS

    @property
    def lapsed(self) -> bool:
        """Whether others may have counted this member as dead since its last heartbeat."""
        return self.broker.clock() >= self.validity.until

    def next_beat(self) -> Beat:
        """What to send now; may be called from a thread."""
        return Beat(
            self.party, self.member, self.expiry, self.about, leaving=self.leaving, suspects=self._suspects()
        )

    async def beat(self) -> None:
        """A heartbeat now; join, if this is the first."""
        await self._beat_once()
        if self.lapsed:  # it was under way for too long, while the server was away
            await self._beat_once()

    async def _beat_once(self) -> None:
        started = self.broker.clock()
        self.heard(started, await self.broker.beat(self.next_beat()))

    def answered(self, started: float, view: Membership) -> None:
        """For a thread: extend the validity, if that is safe, even while Trio is held up; `heard` follows."""
        if view.joined_as == self.view.joined_as:
            self.validity.until = max(self.validity.until, trusted_until(started, self.expiry))

    def heard(self, started: float, view: Membership) -> None:
        """The answer to a heartbeat that was sent at ``started``; in Trio."""
        if started < self._heard_of:
            return
        self._heard_of = started
        before, self.view = self.view, view
        if before.joined_as not in {0, view.joined_as}:
            self.on_removed()
        if view.joined_as and not before.joined_as and isinstance(self.party, ProcessorSpec):
            name, members = self.party.name, len(view.members)
            report(logging.INFO, "joined", processor=name, member=self.member, members=members)
        if view.joined_as:
            # Never back: while Trio was held up, the thread may have been answered to later ones already.
            self.validity.renew(max(self.validity.until, trusted_until(started, self.expiry)))
        self._note_beats(view)
        if _outline(before) != _outline(view):
            self.on_changed()
        self.on_beat()

    async def listen(
        self, block: float, hear: Callable[[Sequence[Entry]], Awaitable[None]], *, most: int
    ) -> None:
        """Hear what others write into the party's control log, until cancelled.

        Args:
            block: seconds that a read waits.
            hear: called with what one read has found, which may be nothing.
            most: how many entries one read finds.
        """
        reader = self.broker.control(self.party, block)
        heard_to = self.view.news
        try:
            while True:
                found = (await reader.read({0: heard_to}, most)).get(0, ())
                heard_to = found[-1][0] if found else heard_to
                await hear(found)
        finally:
            await reader.aclose()

    async def leave(self) -> None:
        """Be a member no more."""
        self.leaving = True
        await self.broker.leave(self.party, self.member)

    def _note_beats(self, view: Membership) -> None:
        now = self.broker.clock()
        noted = {member.id: self._beats.get(member.id, (0, now)) for member in view.members}
        self._beats = {
            member.id: noted[member.id] if noted[member.id][0] == member.beat else (member.beat, now)
            for member in view.members
        }

    def _suspects(self) -> dict[str, int]:
        """Members that made no beat for their whole expiry by our clock, whatever the server's says."""
        now, beats = self.broker.clock(), self._beats
        return {
            member.id: member.beat
            for member in self.view.members
            if member.id != self.member
            and member.id in beats
            and now - beats[member.id][1] > member.expiry + self.interval
        }


def _outline(view: Membership) -> tuple[int, int, int]:
    return view.generation, view.planned, view.joined_as


async def keep(session: MemberSession) -> None:
    """Heartbeats from a Trio task, until cancelled: where there is nothing but Trio's own time."""
    while True:
        await trio.sleep(session.interval)
        await session.beat()


@attrs.frozen
class ControlNews:
    """What a party's control log says.

    Attributes:
        released: numbers of partitions.
        paused: numbers of partitions.
        parked: numbers of partitions in which an operator has changed what is parked.
        moved: whether the stream has got other partitions.
        changed: whether the members or the plan have changed.
    """

    released: set[int]
    paused: set[int]
    parked: set[int]
    moved: bool
    changed: bool


def parse_news(news: Iterable[Entry]) -> ControlNews:
    """What a party's control log says."""
    released: set[int] = set()
    paused: set[int] = set()
    parked: set[int] = set()
    named = {b"released": released, b"paused": paused, b"parked": parked}
    moved = changed = False
    for _, fields in news:
        try:
            what, numbers = fields
            if what == b"layout":
                moved = True
            else:
                named[what].update(map(int, numbers.split()))
        except (KeyError, ValueError):  # whatever it is, and whoever wrote it: to look again does no harm
            changed = True
    return ControlNews(released, paused, parked, moved, changed)
