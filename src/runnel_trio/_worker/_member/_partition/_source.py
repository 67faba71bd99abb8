"""The source of a partition's chain: hands out events, one by one or in batches, when that is safe.

A class with ``__anext__`` and no generator: a cancellation that strikes while it waits, from a timeout of
the user's around the iteration for example, leaves it as it was. An event is popped without any await
between that and the return, so none is stranded.

The test at the top runs once per event, and is all that one costs here beyond its construction.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from runnel_trio._event import Event
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._partition._event_queue import EventQueue
from runnel_trio._worker._member._partition._poison import PoisonGuard
from runnel_trio._worker._member._validity import LeaseValidity

__all__ = ["Source"]

#: Seconds of work after which other tasks get their turn: a checkpoint per event would double its price.
_SLICE = 0.0015


@attrs.define(eq=False, kw_only=True)
class Source:
    """An async iterator over one partition's backlog.

    Attributes:
        queue: where the events come from.
        max_unacked: at most so many handled events wait for their commit.
        validity: until when anything may be handed out.
        clock: by which that runs out.
        processed: have the backlog committed soon.
        hurry: have it committed now.
        poison_guard: what to do before an event is handed out that may end the process; None: nothing.
        batch: number of events and seconds to wait for them, None for single events.
    """

    queue: EventQueue
    max_unacked: int
    validity: LeaseValidity
    clock: Callable[[], float]
    processed: Callable[[Backlog], None]
    hurry: Callable[[Backlog], None]
    poison_guard: PoisonGuard | None = None
    batch: tuple[int, float] | None = None
    backlog: Backlog = attrs.field(init=False)
    _slice_end: float = attrs.field(default=0.0, init=False)
    _pause_at: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.backlog = self.queue.backlog

    def __aiter__(self) -> Source:
        return self

    async def __anext__(self) -> Event | list[Event]:
        if self.batch is not None:
            return await self._next_batch(*self.batch)
        backlog, clock = self.backlog, self.clock
        while True:
            if backlog.allowance <= 0 or (clock() >= self._pause_at and not self._goes_on()):
                await self._clearance(1)
            event = self.queue.take()
            if event is not None:
                return event
            backlog.allowance = 0  # of what may be handed out, the keys are busy

    def end_call(self) -> None:
        """The call of the function has ended: a source that measures reports what it has."""

    async def _next_batch(self, count: int, within: float) -> list[Event]:
        queue = self.queue
        while True:
            # A full list is looked at once, and needs no deadline to wait for more.
            cleared = count if queue.available(count) >= count else 1
            await self._clearance(cleared)
            if self.poison_guard is not None and self.poison_guard.has_marked(queue.head):
                return queue.take_many(1)  # alone, and at once
            if cleared < count or queue.available(count) < count:
                await self._gather(count, within)
            if events := queue.take_many(count):
                return events

    async def _gather(self, count: int, within: float) -> None:
        with trio.move_on_after(within):
            while self.queue.available(count) < count and not self.backlog.closed:
                await self.queue.changed()
        await self._clearance(count)

    async def _clearance(self, count: int) -> None:
        """Wait until an item of up to ``count`` events may be handed out.

        Raises:
            StopAsyncIteration: nothing will be handed out any more.
        """
        while (step := self._next_step(count)) is not None:
            await step()
        self._clear()

    def _next_step(self, count: int) -> Callable[[], Awaitable[None]] | None:
        """What has to be awaited before an item of up to ``count`` events may be handed out; None: nothing.

        Raises:
            StopAsyncIteration: nothing will be handed out any more.
        """
        backlog, queue, guard = self.backlog, self.queue, self.poison_guard
        if backlog.closed:
            raise StopAsyncIteration
        available = queue.available(count)
        if guard is not None:
            guard.look(queue.head if available else None, others=queue.in_hand)
        now = self.clock()
        if not available:
            return self._change
        if now >= self.validity.until:
            self.validity.tell(backlog.announce)
            return self._change
        if self._over_limit(min(count, available)):
            self.hurry(backlog)
            return self._change
        if guard is not None and guard.is_due(queue.head, parked=queue.head_is_parked):
            return partial(self._mark, guard) if guard.may_mark(queue.head) else self._change
        if now >= self._slice_end and not queue.gave_way:
            return self._rest
        return None

    def _clear(self) -> None:
        """Let `__anext__` hand out events by itself until somebody must look again."""
        now = self.clock()
        if now >= self._slice_end:
            self._slice_end = now + _SLICE
        # Careful, it looks again before every event.
        queue = self.queue
        open_ = self.backlog.unacknowledged + queue.in_hand
        queue.allow(1 if self._careful else max(1, self.max_unacked - open_))
        self._pause_at = min(self._slice_end, self.validity.until)

    def _goes_on(self) -> bool:
        """Begin another slice, if the last one has ended and others have had their turn already.

        That is so at each event where many lanes wait for something of the user's.
        """
        now = self.clock()
        if now >= self.validity.until or not self.queue.gave_way:
            return False
        self._slice_end = now + _SLICE
        self._pause_at = min(self._slice_end, self.validity.until)
        return True

    async def _change(self) -> None:
        """Wait until the queue has changed; other tasks have had their turn then."""
        await self.queue.changed()
        self._slice_end = self.clock() + _SLICE

    async def _rest(self) -> None:
        """Let other tasks have their turn."""
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            self.queue.leave()
            raise
        self._slice_end = self.clock() + _SLICE

    async def _mark(self, guard: PoisonGuard) -> None:
        try:
            hopeless = await guard.mark(self.queue.head, parked=self.queue.head_is_parked)
        except trio.Cancelled:
            self.queue.leave()
            raise
        if hopeless is not None and self.queue.available(1):
            self.queue.take()
            raise hopeless

    @property
    def _careful(self) -> bool:
        return self.poison_guard is not None and self.poison_guard.is_careful

    def _over_limit(self, count: int) -> bool:
        """Whether so many more are too many, and there is something to wait for: a commit, another lane."""
        backlog, queue = self.backlog, self.queue
        open_ = backlog.unacknowledged + queue.in_hand
        limit = 1 if self._careful else self.max_unacked
        if not open_ or open_ + count <= limit:
            return False
        return backlog.lacks(backlog.count) or queue.waits_for_others
