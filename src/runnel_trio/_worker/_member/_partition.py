"""One owned partition: runs the processor function over it, again and again, in a cancel scope of its own.

    RUNNING ──drain()──▶ DRAINING ──function returns, or grace is over──▶ settled, released
       └────────────── the partition is lost ──▶ cancelled, nothing committed

What ends a call of the function, and what becomes of the event in hand:

    break, return, aclose      acknowledged; the function is called again for what follows
    it raises                  everything before is committed, then the exception policy decides
    cancelled from outside     not acknowledged: the next owner handles it again
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker, ProcessorSpec
from runnel_trio._scopes import LAST_WORDS, shielded
from runnel_trio._telemetry import report
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._committer import Committer
from runnel_trio._worker._member._events import Events
from runnel_trio._worker._member._source import Source
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.exceptions import Misconfigured
from runnel_trio.interfaces import Middleware

__all__ = ["PartitionExecutor"]


@attrs.define(eq=False, kw_only=True)
class PartitionExecutor:
    """Supervises one partition; carries no event itself.

    Attributes:
        function: the processor function.
        middleware: its links.
        policy: what happens when it raises.
        grace_period: seconds that it may take to end.
        halt: told of the exception that stops the worker.
        make_source: a new source over the backlog, for each call of the function.
        scope: everything that runs for this partition.
    """

    broker: Broker
    processor: ProcessorSpec
    backlog: Backlog
    committer: Committer
    function: Callable[[Any], Awaitable[None]]
    middleware: Sequence[Middleware]
    policy: ExceptionPolicy
    grace_period: float
    halt: Callable[[BaseException], None]
    make_source: Callable[[], Source]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def __attrs_post_init__(self) -> None:
        self.backlog.on_lost = self.scope.cancel

    def drain(self) -> None:
        """Hand out nothing more; what is in hand may end within the grace period."""
        self.backlog.close()
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + self.grace_period)

    async def run(self) -> None:
        """Until drained or lost: then everything handled is committed, and the lease given up."""
        try:
            with self.scope:
                await self._supervise()
        except Exception as error:  # raised while it was being cancelled
            self.halt(error)
        finally:
            self.backlog.close()
            with shielded(max(self.grace_period, LAST_WORDS)):
                await self._give_up()

    def __repr__(self) -> str:
        backlog = self.backlog
        state = "LOST" if backlog.lost else "DRAINING" if backlog.closed else "RUNNING"
        where = f"{self.processor.stream.name}/{self.processor.name}[{backlog.number}]"
        at = backlog.processed.decode()
        return f"<PartitionExecutor {where} {state} at {at} backlog {len(backlog.waiting)}>"

    async def _supervise(self) -> None:
        backlog = self.backlog
        while not backlog.closed:
            events: Events[Any] = Events(source=self.make_source(), middleware=self.middleware)
            before = backlog.progress
            failure = await self._call(events)
            if failure is not None:
                await self.committer.settle(backlog)
                self._apply_policy(failure, events)
            else:
                events.handled()
            backlog.give_back()
            if failure is None and backlog.progress == before:
                self._refuse_idling(events)
                await trio.lowlevel.checkpoint()
            while not backlog.waiting and not backlog.closed:
                await backlog.changed()

    async def _call(self, events: Events[Any]) -> BaseException | None:
        try:
            await self.function(events)
        except BaseException as error:
            events.exception = events.exception or error
            if not isinstance(error, Exception):
                raise
        finally:
            with shielded(self.grace_period):
                await events.aclose()
        return events.exception

    def _apply_policy(self, failure: BaseException, events: Events[Any]) -> None:
        if self.policy is ExceptionPolicy.IGNORE and isinstance(failure, Exception) and self.backlog.taken:
            place = f"{self.processor.stream.name}[{self.backlog.number}]"
            events.ignored()
            report(
                logging.ERROR,
                "ignored",
                place=place,
                xid=self.backlog.processed.decode(),
                error=repr(failure),
            )
            return
        self.halt(failure)
        self.backlog.close()

    def _refuse_idling(self, events: Events[Any]) -> None:
        """A function that returns and never asks for what waits would be called for ever."""
        backlog = self.backlog
        if not events.begun and backlog.waiting and not backlog.closed:
            self.halt(
                Misconfigured(
                    f"processor {self.processor.name!r} returned without taking an event while events wait: "
                    "it must iterate over `events`"
                )
            )
            backlog.close()

    async def _give_up(self) -> None:
        if not self.backlog.lost:
            await self.committer.settle(self.backlog)
            await self.broker.release(self.processor, [self.backlog.lease])
