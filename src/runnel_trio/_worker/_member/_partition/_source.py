"""The source of a partition's chain: hands out events, one by one or in batches, when that is safe.

A class with ``__anext__`` and no generator: a cancellation that strikes while it waits, from a timeout of
the user's around the iteration for example, leaves it as it was. An event is popped without any await
between that and the return, so none is stranded.

The test at the top runs once per event, and is all that one costs here beyond its construction.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from runnel_trio._broker._values import Entry
from runnel_trio._event import Event, Origin
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._partition._poison import PoisonGuard
from runnel_trio._worker._member._validity import LeaseValidity

__all__ = ["Source"]

#: Seconds of work after which other tasks get their turn: a checkpoint per event would double its price.
_SLICE = 0.0015


@attrs.define(eq=False, kw_only=True)
class Source:
    """An async iterator over one partition's backlog.

    Attributes:
        backlog: what it hands out.
        origin: what the events say of where they come from.
        max_unacked: at most so many handled events wait for their commit.
        trust: until when anything may be handed out.
        clock: by which `trust` runs out.
        processed: have the backlog committed soon.
        hurry: have it committed now.
        poison_guard: what to do before an event is handed out that may end the process; None: nothing.
        batch: number of events and seconds to wait for them, None for single events.
    """

    backlog: Backlog
    origin: Origin
    max_unacked: int
    validity: LeaseValidity
    clock: Callable[[], float]
    processed: Callable[[Backlog], None]
    hurry: Callable[[Backlog], None]
    poison_guard: PoisonGuard | None = None
    batch: tuple[int, float] | None = None
    _slice_end: float = attrs.field(default=0.0, init=False)
    _pause_at: float = attrs.field(default=0.0, init=False)

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Event | list[Event]:
        if self.batch is not None:
            return await self._next_batch(*self.batch)
        backlog = self.backlog
        if backlog.allowance <= 0 or self.clock() >= self._pause_at:
            await self._clearance(1)
        number, (xid, fields) = backlog.take()
        return Event(self.origin, xid, fields, number)

    def end_call(self) -> None:
        """The call of the function has ended: a source that measures reports what it has."""

    async def _next_batch(self, count: int, within: float) -> list[Event]:
        backlog = self.backlog
        await self._clearance(1)
        if self.poison_guard is not None and self.poison_guard.has_marked(backlog.head):
            count = 1  # alone, and at once
        else:
            await self._gathered(count, within)
        return [Event(self.origin, xid, fields, number) for number, (xid, fields) in backlog.take_many(count)]

    async def _gathered(self, count: int, within: float) -> None:
        backlog = self.backlog
        with trio.move_on_after(within):
            while backlog.waiting < count and not backlog.closed:
                await backlog.changed()
        await self._clearance(count)

    async def _clearance(self, count: int) -> None:
        """Wait until an item of up to ``count`` events may be handed out.

        Raises:
            StopAsyncIteration: nothing will be handed out any more.
        """
        backlog = self.backlog
        while True:
            if backlog.closed:
                raise StopAsyncIteration
            if self.poison_guard is not None:
                self.poison_guard.look()
            now = self.clock()
            if not backlog.waiting:
                pass
            elif now >= self.validity.until:
                self.validity.tell(backlog.announce)
            elif self._over_limit(min(count, backlog.waiting)):
                self.hurry(backlog)
            elif self.poison_guard is not None and self.poison_guard.is_due():
                if self.poison_guard.may_mark():
                    await self._mark(self.poison_guard)
                    continue
            elif now >= self._slice_end:
                await trio.lowlevel.checkpoint()
                self._slice_end = self.clock() + _SLICE
                continue
            else:
                break
            await backlog.changed()
            self._slice_end = self.clock() + _SLICE
        # Careful, it looks again before every event.
        backlog.allow(1 if self._careful else max(1, self.max_unacked - backlog.unacknowledged))
        self._pause_at = min(self._slice_end, self.validity.until)

    async def _mark(self, poison_guard: PoisonGuard) -> None:
        hopeless = await poison_guard.mark()
        if hopeless is not None and self.backlog.waiting:
            self.backlog.take()
            raise hopeless

    @property
    def _careful(self) -> bool:
        return self.poison_guard is not None and self.poison_guard.left > 0

    def _over_limit(self, count: int) -> bool:
        unacknowledged = self.backlog.unacknowledged
        limit = 1 if self._careful else self.max_unacked
        return unacknowledged > 0 and unacknowledged + count > limit

    def event_of(self, entry: Entry) -> Event:
        """An entry that was handed out, as an event once more."""
        return Event(self.origin, *entry)
