"""Calls the processor function over one partition, again and again, until nothing more is handed out.

What ends a call of the function, and what becomes of the event in hand:

    break, return, aclose      acknowledged; the function is called again for what follows
    it raises                  everything before is committed; then a rule of the middleware or the exception
                               policy decides (`_rules/_failure`)
    cancelled from outside     not acknowledged: the next owner handles it again; whatever the function does
                               with the cancellation
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

import attrs
import trio

from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._report._telemetry import Handling, handling, report
from runnel_trio._report._words import numbered
from runnel_trio._scopes import holds_cancellation, unwrapped
from runnel_trio._stream import Stream
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._partition._event_queue import EventQueue
from runnel_trio._worker._member._partition._events import Events, explain
from runnel_trio._worker._member._partition._failure import FailureHandler
from runnel_trio._worker._member._partition._scope import PartitionScope
from runnel_trio._worker._member._partition._source import Source
from runnel_trio._worker._member._partition._time_limit import TimeLimit
from runnel_trio.exceptions import LeaseLost, Misconfigured
from runnel_trio.interfaces import Middleware

__all__ = ["Lane"]


@attrs.define(eq=False, kw_only=True)
class Lane:
    """One copy of the function at a time; its events are handled one after another.

    Attributes:
        processor: whose function it is.
        function: the function.
        middleware: its links.
        backlog: what it is called for.
        targets: streams that the function may emit to.
        queue: where its events come from.
        scope: what it runs in.
        make_source: makes a source over the queue, for each call.
        failures: decides about calls that have failed.
        timeout: seconds that a turn may take; 0: as long as it takes.
        halt: told of the exception that stops the worker.
    """

    processor: ProcessorSpec
    function: Callable[[Any], Awaitable[None]]
    middleware: Sequence[Middleware]
    targets: Collection[Stream[Any]]
    backlog: Backlog
    queue: EventQueue
    scope: PartitionScope
    make_source: Callable[[EventQueue], Source]
    failures: FailureHandler
    timeout: float
    halt: Callable[[BaseException], None]

    async def run(self) -> None:
        """Until the backlog is closed.

        Raises:
            BaseException: what the function makes of its cancellation, when it is cancelled.
        """
        backlog, queue = self.backlog, self.queue
        handling.set(
            Handling(
                member=backlog.lease.owner,
                processor=self.processor.name,
                partition=backlog.number,
                first_in_hand=lambda: queue.first_in_hand,
            )
        )
        while not backlog.closed:
            limit = TimeLimit(self.timeout) if self.timeout else None
            events: Events[Any] = Events(
                source=self.make_source(queue),
                middleware=self.middleware,
                targets=self.targets,
                stream=self.processor.stream.name,
                grace_period=self.scope.grace_period,
                interrupted=self._is_interrupted,
                time_limit=limit,
                decide=self.failures.decide,
            )
            before = queue.handed_out
            queue.leave()
            failure = await self._call(events, limit)
            if failure is not None:
                queue.forget_turn()
                await self.failures.carry_out(failure, events)
            else:
                events.finish()
            queue.give_back()
            if failure is None and queue.handed_out == before:
                self._refuse_idling(events)
                await trio.lowlevel.checkpoint()
            while not backlog.closed and not queue.available(1):
                await queue.changed()

    async def _call(self, events: Events[Any], limit: TimeLimit | None) -> BaseException | None:
        try:
            if limit is None:
                await self.function(events)
            else:
                await self._call_within(limit, events)
            if events.has_in_hand and self._is_interrupted():
                self._tell_of_interruption(events)
                await trio.lowlevel.checkpoint()  # raises what the function has kept to itself
        except BaseException as error:
            if holds_cancellation(error):
                events.fail(self._reason(error))
                raise
            explain(error)
            events.fail(unwrapped(error))
        finally:
            with self.scope.shielded(self.scope.grace_period):
                await events.aclose()
        return events.exception

    async def _call_within(self, limit: TimeLimit, events: Events[Any]) -> None:
        """Call the function; whatever it makes of a turn that took too long, the turn has failed.

        Raises:
            HandlerTimeout: one has.
        """
        cause = None
        with limit.scope:
            try:
                await self.function(events)
            except Exception as error:
                if not limit.is_over:
                    raise
                cause = error
        if limit.is_over:
            raise limit.error() from cause

    def _is_interrupted(self) -> bool:
        """Whether what is in hand was cancelled: nobody can tell then how far the function got with it."""
        return self.backlog.closed and self.scope.cancelled

    def _reason(self, error: BaseException) -> BaseException:
        """For middleware: why the function was cancelled."""
        if self.backlog.lost and isinstance(error, trio.Cancelled):
            return LeaseLost(self.backlog.number, self.backlog.lease.epoch)
        return error

    def _tell_of_interruption(self, events: Events[Any]) -> None:
        """The function has swallowed its cancellation, or was too busy to see it."""
        ids = events.ids_in_hand()
        why = "lease-lost" if self.backlog.lost else "aborted" if self.scope.aborted else "grace-over"
        place = numbered(self.processor.stream.name, [self.backlog.number])
        facts = {"place": place, "xid": ids[0].decode(), "count": len(ids), "why": why}
        report(logging.WARNING, "not-acknowledged", **facts)

    def _refuse_idling(self, events: Events[Any]) -> None:
        """A function that returns and never asks for what waits would be called for ever."""
        backlog = self.backlog
        if not events.begun and not backlog.closed and self.queue.available(1):
            self.halt(
                Misconfigured(
                    f"processor {self.processor.name!r} returned without taking an event while events wait: "
                    "it is called for a partition, and must iterate over its events, as in `async for order "
                    "in events.records():`"
                )
            )
            backlog.close()
