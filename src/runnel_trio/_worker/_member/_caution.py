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
the others wait with their last tries until it is done. Who dies then dies of that event. (With
``max_attempts=3`` those are the few that were in hand at the second crash; with less, it is every one, one
after the other.)
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from runnel_trio._broker._protocol import Acquired, Broker, ProcessorSpec
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio.exceptions import Poisoned

__all__ = ["Caution"]


@attrs.define(eq=False)
class Turn:
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


@attrs.define(eq=False, kw_only=True)
class Caution:
    """Marks events before they are handed out, while there is reason to.

    Attributes:
        broker: where the lease is.
        processor: whose.
        backlog: of which partition.
        max_attempts: an event is not tried more often.
        clean: whether the owner before gave the partition up itself.
        attempts: what it had marked.
        left: for how many events there is still reason.
        turn: who may have a last try.
        refusal: why the event that is being handed out must not be handled; None lets it.
    """

    broker: Broker
    processor: ProcessorSpec
    backlog: Backlog
    max_attempts: int
    clean: bool
    attempts: tuple[bytes, int]
    left: float
    turn: Turn
    refusal: Poisoned | None = attrs.field(default=None, init=False)
    _marked: bytes = attrs.field(default=b"", init=False)

    @classmethod
    def after(
        cls,
        granted: Acquired,
        broker: Broker,
        processor: ProcessorSpec,
        backlog: Backlog,
        *,
        max_attempts: int,
        max_unacked: int,
        turn: Turn,
    ) -> Caution | None:
        """The care that a lease needs; None if none."""
        if granted.clean and max_attempts > 1:
            return None
        return cls(
            broker=broker,
            processor=processor,
            backlog=backlog,
            max_attempts=max_attempts,
            clean=granted.clean or max_attempts == 1,
            attempts=granted.attempts,
            left=math.inf if max_attempts == 1 else max_unacked,
            turn=turn,
        )

    @property
    def due(self) -> bool:
        """Whether the next event must be marked before it is handed out."""
        return self.left > 0 and bool(self.backlog.waiting) and self.backlog.waiting[0][0] != self._marked

    @property
    def _prior(self) -> int:
        """How often the next event was tried."""
        xid = self.backlog.waiting[0][0]
        return self.attempts[1] if self.attempts[0] == xid else int(not self.clean)

    def may_mark(self) -> bool:
        """Whether now; otherwise the backlog announces when to ask again."""
        return self._prior + 1 != self.max_attempts or self.turn.take(self, self.backlog.announce)

    def done(self) -> None:
        """What was marked is through, or at least not in hand any more."""
        self.turn.give(self)

    async def mark(self) -> None:
        """Mark the next event, or refuse it."""
        xid, prior = self.backlog.waiting[0][0], self._prior
        self.refusal = None
        if prior >= self.max_attempts:
            name, number = self.processor.stream.name, self.backlog.number
            self.refusal = Poisoned(name, number, xid.decode(), prior)
        elif not await self.broker.attempt(self.processor, self.backlog.lease, xid, prior + 1):
            self.backlog.lose()
        self._marked = xid
        self.left -= 1
