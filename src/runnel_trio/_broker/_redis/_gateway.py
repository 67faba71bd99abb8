"""Group commit: while one batch of requests is under way, later ones gather and leave together in the next.

A hop to a thread costs more than what most requests cost the server, so there is one hop per batch, not
per request, and no timer: a request that comes alone leaves at once.

A request that still waits is cancelled by taking it out of the queue. One that is under way is not
abandoned: its task is resumed with the outcome when that is known, and a cancellation is delivered at
that task's next checkpoint. What bounds the wait is the socket's timeout, inside the thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import attrs
import outcome
import trio

from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["Gateway"]

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")


@attrs.define(eq=False)
class _Ticket(Generic[_Request]):
    request: _Request
    task: trio.lowlevel.Task


@attrs.define(eq=False, kw_only=True)
class Gateway(Generic[_Request, _Reply]):
    """Carries requests in batches, in the order in which they came.

    Attributes:
        carry: does the work of one batch, in a thread: an outcome for each request, in order. What it
            raises becomes the outcome of every request of the batch.
        limit: at most so many requests in a batch.
    """

    carry: Callable[[Sequence[_Request]], Sequence[outcome.Outcome[_Reply]]]
    limit: int = 1024
    _queue: deque[_Ticket[_Request]] = attrs.field(factory=deque, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _closed: bool = attrs.field(default=False, init=False)

    async def call(self, request: _Request) -> _Reply:
        """Have a request carried.

        Raises:
            BrokerUnavailable: the gateway is closed. Else whatever the outcome holds.

        Cancellation: a request that has not left is withdrawn; one that has is waited for.
        """
        if self._closed:
            raise BrokerUnavailable("the connection to the server is closed")
        ticket = _Ticket(request, trio.lowlevel.current_task())
        self._queue.append(ticket)
        self._wake.set()

        def withdraw(_: Any) -> trio.lowlevel.Abort:
            if ticket not in self._queue:
                return trio.lowlevel.Abort.FAILED
            self._queue.remove(ticket)
            return trio.lowlevel.Abort.SUCCEEDED

        reply: _Reply = await trio.lowlevel.wait_task_rescheduled(withdraw)
        return reply

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry batches until cancelled; then refuse what still waits."""
        task_status.started()
        try:
            while True:
                while not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                await self._carry_batch()
                await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            self._closed = True
            unsent = BrokerUnavailable("the connection to the server was closed; this was not sent")
            waiting = self._take(len(self._queue))
            self._settle(waiting, [outcome.Error(unsent) for _ in waiting])

    def _take(self, most: int) -> list[_Ticket[_Request]]:
        return [self._queue.popleft() for _ in range(min(most, len(self._queue)))]

    async def _carry_batch(self) -> None:
        batch = self._take(self.limit)
        requests = [ticket.request for ticket in batch]
        outcomes: Sequence[outcome.Outcome[_Reply]]
        try:
            with trio.CancelScope(shield=True):
                outcomes = await trio.to_thread.run_sync(self.carry, requests, limiter=self._limiter)
        except Exception as error:
            outcomes = [outcome.Error(error) for _ in batch]
        self._settle(batch, outcomes)

    def _settle(self, batch: Sequence[_Ticket[_Request]], outcomes: Sequence[outcome.Outcome[Any]]) -> None:
        for ticket, result in zip(batch, outcomes, strict=True):
            trio.lowlevel.reschedule(ticket.task, result)
