"""Group commit: while one batch of requests is under way, later ones gather and leave together in the next.

A hop to a thread costs more than what most requests cost the server, so there is one hop per batch, not
per request, and no timer: a request that comes alone leaves at once. Where nobody else asks, its own task
carries it: to be resumed by the driver costs two turns of Trio's loop, a third of the whole.

A request that still waits is cancelled by taking it out of the queue. One that is under way is not
abandoned: its task goes on with the outcome when that is known, and a cancellation is delivered at
that task's next checkpoint. What bounds the wait is the socket's timeout.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Generic, TypeVar

import attrs
import outcome
import trio

from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["Batcher", "Ticket"]

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")


@attrs.define(eq=False)
class Ticket(Generic[_Request]):
    """A request that waits, or is under way; of one that was cancelled meanwhile, nobody hears."""

    request: _Request
    settle: Callable[[outcome.Outcome[Any]], None] | None
    many: bool = False


@attrs.define(eq=False, kw_only=True)
class Batcher(Generic[_Request, _Reply]):
    """Carries requests in batches, in the order in which they came.

    Attributes:
        carry: does the work of one batch: an outcome for each request, in order. What it raises becomes
            the outcome of every request of the batch. While it waits otherwise than by the waiter, its
            requests can be cancelled.
        weigh: how much a request is; one that weighs more than the limit goes alone.
        limit: at most so much in a batch. Of large requests, those that wait are prepared anew by their tasks
            while the server works on the next one; all in one batch, the server would wait for the tasks.
        waiter: how a batch waits for the server.
    """

    carry: Callable[[Sequence[_Request], Waiter], Awaitable[Sequence[outcome.Outcome[_Reply]]]]
    weigh: Callable[[_Request], float] = lambda _: 1
    limit: int = 1024
    waiter: Waiter = attrs.field(factory=Waiter, init=False)
    _queue: deque[Ticket[_Request]] = attrs.field(factory=deque, init=False)
    _wake: trio.Event = attrs.field(factory=trio.Event, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _busy: bool = attrs.field(default=False, init=False)
    _crowded: bool = attrs.field(default=False, init=False)

    @property
    def idle(self) -> bool:
        """Whether a request would be carried at once."""
        return not (self._busy or self._queue or self._crowded or self._closed)

    async def call(self, request: _Request) -> _Reply:
        """Have a request carried.

        Raises:
            BrokerUnavailable: the batcher is closed. Else whatever the outcome holds.

        Cancellation: a request that has not left is withdrawn; one that has is waited for.
        """
        if not self.idle:
            return await self._queue_up(request)
        await trio.lowlevel.checkpoint_if_cancelled()
        self._busy = True
        try:
            (result,) = await self.carry([request], self.waiter)
        finally:
            self._busy = False
            if self._queue:
                self._wake.set()
        return result.unwrap()

    async def _queue_up(self, request: _Request) -> _Reply:
        ticket = self.put(request, partial(trio.lowlevel.reschedule, trio.lowlevel.current_task()))
        reply: _Reply = await trio.lowlevel.wait_task_rescheduled(partial(self._withdraw, ticket))
        return reply

    def put(
        self, request: _Request, settle: Callable[[outcome.Outcome[_Reply]], None], *, many: bool = False
    ) -> Ticket[_Request]:
        """Queue a request, which may be for many tasks.

        Args:
            request: what is carried.
            settle: is told of the outcome.
            many: whether more than one task waits for it.

        Raises:
            BrokerUnavailable: the batcher is closed.
        """
        if self._closed:
            raise BrokerUnavailable("the connection to the server is closed")
        ticket = Ticket(request, settle, many)
        self._queue.append(ticket)
        if not self._busy:
            self._wake.set()
        return ticket

    def take_back(self, ticket: Ticket[_Request]) -> bool:
        """Withdraw a request that has not left; whether it could be."""
        if ticket in self._queue:
            self._queue.remove(ticket)
            return True
        return False

    def _withdraw(self, ticket: Ticket[_Request], _: Any) -> trio.lowlevel.Abort:
        if not self.take_back(ticket):
            if self.waiter.under_way:
                return trio.lowlevel.Abort.FAILED
            ticket.settle = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry batches until cancelled; then refuse what still waits."""
        task_status.started()
        try:
            while True:
                while self._busy or not self._queue:
                    self._wake = trio.Event()
                    await self._wake.wait()
                self._busy = True
                await self._carry_batch()
                self._busy = False
                await trio.lowlevel.checkpoint_if_cancelled()
        finally:
            self._closed = True
            unsent = BrokerUnavailable("the connection to the server was closed; this was not sent")
            waiting = self._take(math.inf)
            self._settle(waiting, [outcome.Error(unsent) for _ in waiting])

    def _take(self, most: float) -> list[Ticket[_Request]]:
        """Take requests from the front up to this weight, but at least one."""
        queue = self._queue
        taken: list[Ticket[_Request]] = []
        while queue:
            weight = self.weigh(queue[0].request)
            if taken and weight > most:
                break
            taken.append(queue.popleft())
            most -= weight
        return taken

    async def _carry_batch(self) -> None:
        batch = self._take(self.limit)
        self._crowded = len(batch) > 1 or batch[0].many
        outcomes: Sequence[outcome.Outcome[Any]]
        try:
            outcomes = await self.carry([ticket.request for ticket in batch], self.waiter)
        except Exception as error:
            outcomes = [outcome.Error(error) for _ in batch]
        except trio.Cancelled:
            unknown = BrokerUnavailable("the connection was closed; this may have been sent or not")
            self._settle(batch, [outcome.Error(unknown) for _ in batch])
            raise
        self._settle(batch, outcomes)

    def _settle(self, batch: Sequence[Ticket[_Request]], outcomes: Sequence[outcome.Outcome[Any]]) -> None:
        for ticket, result in zip(batch, outcomes, strict=True):
            if ticket.settle is not None:
                ticket.settle(result)
