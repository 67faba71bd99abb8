"""Care after a crash: finds the event that ends the process of whoever handles it.

An exception can be caught; a call of ``os._exit``, a fault in an extension or the kernel's out-of-memory
killer cannot. Without care the next owner begins with the same event and ends too, and so do all. So an owner
that takes a partition from one that died is careful for as many events as that one can have left
unacknowledged: each is marked in the lease before it is handed out, alone, with everything before it
committed. Who dies then leaves the mark, and the next owner knows which event it was, and how often it was
tried.

The first crash leaves no mark: nobody marks in ordinary times, because that is a round trip for each event.
It is counted as one try of whatever is tried next. With ``max_attempts=1`` there is no such second try, so
then every event is marked, always.

A process that ends leaves a mark on every partition that it was careful with, and all but one of them are on
innocent events. So an event has its last try alone: one partition of the worker at a time has the turn, and
the others wait with their last tries until it is committed. Who dies then dies of that event. (With
``max_attempts=3`` those are the few that were in hand at the second crash; with less, it is every one, one
after the other.)

The events of parked keys are counted by themselves, for they are tried beside those of the log: one from each
list that may have been in memory, and as many more as of the log.

An event that has had its tries still goes through the middleware, so that it can become a dead letter, and is
refused where the function would be given it. It is marked for that too: if the process ends even so, a link
did it, and the next owner raises before any link has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import attrs

from runnel_trio._broker._protocol import Ownership
from runnel_trio._broker._values import Acquired, ProcessorSpec
from runnel_trio._rules._cursor import is_after
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._parked_keys import LISTS
from runnel_trio.exceptions import Poisoned

__all__ = ["LastTryLock", "PoisonGuard"]


@attrs.define(eq=False)
class LastTryLock:
    """One for each worker: who may have a last try."""

    _holder: object | None = None
    _waiting: list[Callable[[], None]] = attrs.field(factory=list)

    def take(self, holder: object, announce: Callable[[], None]) -> bool:
        """Whether it is the holder's now; if not, ``announce`` is called when it may be."""
        if self._holder in {None, holder}:
            self._holder = holder
            return True
        self._waiting.append(announce)
        return False

    def give(self, holder: object) -> None:
        """It is over, if it was the holder's."""
        if self._holder is holder:
            self._holder = None
            waiting, self._waiting = self._waiting, []
            for announce in waiting:
                announce()


def _none_is() -> bool:
    """The default, where nothing can be parked."""
    return False


@attrs.define(eq=False, kw_only=True)
class PoisonGuard:
    """Marks events before they are handed out, while there is reason to.

    Attributes:
        broker: where the lease is.
        processor: whose.
        backlog: of which partition.
        max_attempts: an event is not tried more often.
        unmarked: how often an event was tried that has no mark.
        attempts: what the owner before had marked, and how often.
        left: for how many events of the log there is still reason.
        left_parked: for how many of parked keys.
        are_parked_due: whether any parked key is being tried, or is due: else there is no reason for these.
        until: the last entry at the crash: nothing behind it was ever tried.
        turn: who may have a last try.
        refused: events that have had their tries.
    """

    broker: Ownership
    processor: ProcessorSpec
    backlog: Backlog
    max_attempts: int
    unmarked: int
    attempts: tuple[bytes, int]
    left: float
    left_parked: float
    until: bytes | None
    last_try: LastTryLock
    _marked: bytes = attrs.field(default=b"", init=False)
    _marking: bool = attrs.field(default=False, init=False)
    _trying: bool = attrs.field(default=False, init=False)
    are_parked_due: Callable[[], bool] = attrs.field(default=_none_is, init=False)
    refused: dict[bytes, Poisoned] = attrs.field(factory=dict, init=False)

    @classmethod
    def after(
        cls,
        granted: Acquired,
        broker: Ownership,
        processor: ProcessorSpec,
        backlog: Backlog,
        *,
        max_attempts: int,
        max_unacked: int,
        last_try: LastTryLock,
    ) -> PoisonGuard | None:
        """The care that a lease needs; None if none."""
        if granted.clean and max_attempts > 1:
            return None
        return cls(
            broker=broker,
            processor=processor,
            backlog=backlog,
            max_attempts=max_attempts,
            unmarked=0 if max_attempts == 1 else 1,
            # A member that takes its own lease anew finds marks that it has outlived itself.
            attempts=(b"", 0) if granted.clean else granted.attempts,
            left=math.inf if max_attempts == 1 else max_unacked,
            left_parked=math.inf if max_attempts == 1 else max_unacked + LISTS if granted.parked else 0,
            until=None if max_attempts == 1 else granted.state.last_id,
            last_try=last_try,
        )

    @property
    def is_careful(self) -> bool:
        """Whether events are handed out alone; also until the one that was marked last is through."""
        return self.left > 0 or self._trying or (self.left_parked > 0 and self.are_parked_due())

    def is_due(self, xid: bytes, *, parked: bool) -> bool:
        """Whether the event that comes next, from the log or of a parked key, must be marked before."""
        if parked:
            return self.left_parked > 0 and not self.has_marked(xid)
        if self.left > 0 and self.until is not None and is_after(xid, self.until):
            self.left = 0
        return self.left > 0 and not self.has_marked(xid)

    def has_marked(self, xid: bytes) -> bool:
        """Whether this is the event that was marked last: it is handed out alone."""
        return xid == self._marked

    def _prior(self, xid: bytes) -> int:
        """How often an event was tried."""
        return self.attempts[1] if self.attempts[0] == xid else self.unmarked

    def may_mark(self, xid: bytes) -> bool:
        """Whether now, and not while another lane does; the backlog announces when to ask again."""
        if self._marking:
            return False
        return self._prior(xid) + 1 != self.max_attempts or self.last_try.take(self, self.backlog.announce)

    def look(self, following: bytes | None, others: int) -> None:
        """Give the turn away if what was marked is through, which it is only with its commit.

        Before that, and while it waits to be tried again, the next owner would refuse it: let nobody else
        end the process meanwhile.

        Args:
            following: the event that comes next.
            others: how many are in hand of other lanes.
        """
        if self.left_parked < math.inf and not (self.are_parked_due() or self._trying):
            self.left_parked = 0  # whatever is due later was not in hand at the crash
        is_open = self.backlog.unacknowledged or others or (following and self.has_marked(following))
        if not (is_open or self._marking):
            self._trying = False
            self.end()

    def end(self) -> None:
        """The partition is given up."""
        self.last_try.give(self)

    def check(self, xids: Iterable[bytes]) -> None:
        """Refuse what the function is about to be given, if it has had its tries.

        Raises:
            Poisoned: it has.
        """
        for xid in xids:
            if xid in self.refused:
                raise self.refused[xid]

    async def mark(self, xid: bytes, *, parked: bool) -> Poisoned | None:
        """Mark the event that comes next; what to raise at once, when not even the middleware may have it."""
        prior = self._prior(xid)
        self._marking = self._trying = True
        try:
            if not await self.broker.mark_attempt(self.processor, self.backlog.lease, xid, prior + 1):
                self.backlog.lose()
        finally:
            self._marking = False
            self.backlog.announce()
        self._marked = xid
        if parked:
            self.left_parked -= 1
        else:
            self.left -= 1
        if prior < self.max_attempts:
            return None
        name, number = self.processor.stream.name, self.backlog.number
        poisoned = Poisoned(name, number, xid.decode(), prior)
        self.refused[xid] = poisoned
        return poisoned if prior > self.max_attempts else None
