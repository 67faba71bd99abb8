"""One owned partition: runs the processor function over it, again and again, in a cancel scope of its own.

    RUNNING ──drain()──▶ DRAINING ──function returns, or grace is over──▶ settled, released
       └────────────── the partition is lost ──▶ cancelled, nothing committed

What ends a call of the function, and what becomes of the event in hand:

    break, return, aclose      acknowledged; the function is called again for what follows
    it raises                  everything before is committed; then it is tried again (`RetryMiddleware`), set
                               aside (`DeadLetterMiddleware`), or the exception policy decides
    cancelled from outside     not acknowledged: the next owner handles it again; whatever the function does
                               with the cancellation
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Ownership
from runnel_trio._broker._values import ProcessorSpec, Quarantine
from runnel_trio._rules._cursor import after
from runnel_trio._scopes import LAST_WORDS, holds_cancellation, shielded, unwrapped
from runnel_trio._telemetry import Handling, Tally, handling, report
from runnel_trio._traceback import is_from_terminal, said_elsewhere, shown_at, told
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._caution import Caution
from runnel_trio._worker._member._committer import Committer
from runnel_trio._worker._member._events import Events, explain
from runnel_trio._worker._member._meter import Meter
from runnel_trio._worker._member._source import Source
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.exceptions import LeaseLost, Misconfigured
from runnel_trio.interfaces import Middleware
from runnel_trio.middleware._retry import RetryMiddleware

__all__ = ["PartitionExecutor", "tell_of_standing"]


@attrs.define(eq=False, kw_only=True)
class PartitionExecutor:
    """Supervises one partition; carries no event itself.

    Attributes:
        counts: the worker's, of events that did not go the usual way.
        function: the processor function.
        middleware: its links.
        policy: what happens when it raises.
        grace_period: seconds that it may take to end.
        halt: told of the exception that stops the worker.
        make_source: a new source over the backlog, for each call of the function.
        caution: of those sources.
        meter: told of what fails.
        scope: everything that runs for this partition.
        released: whether the lease was given up, with a quarantine or by itself.
    """

    broker: Ownership
    processor: ProcessorSpec
    backlog: Backlog
    committer: Committer
    counts: Tally
    function: Callable[[Any], Awaitable[None]]
    middleware: Sequence[Middleware]
    policy: ExceptionPolicy
    grace_period: float
    halt: Callable[[BaseException], None]
    make_source: Callable[[], Source]
    caution: Caution | None = None
    meter: Meter | None = None
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _retry: RetryMiddleware | None = attrs.field(default=None, init=False)
    _tried: tuple[bytes, int] = attrs.field(default=(b"", 0), init=False)
    _shields: list[trio.CancelScope] = attrs.field(factory=list, init=False)
    _last_words: float = attrs.field(default=math.inf, init=False)
    released: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.backlog.on_lost = self.scope.cancel
        self._retry = next((link for link in self.middleware if isinstance(link, RetryMiddleware)), None)

    def drain(self) -> None:
        """Hand out nothing more; what is in hand may end within the grace period."""
        self.backlog.close()
        self.scope.deadline = min(self.scope.deadline, trio.current_time() + self.grace_period)

    def abort(self) -> None:
        """Cancel what is in hand; what was handled is still committed, if that can be done at once."""
        self.drain()
        self.scope.cancel()
        self._last_words = LAST_WORDS
        for scope in self._shields:
            scope.deadline = min(scope.deadline, trio.current_time() + LAST_WORDS)

    async def run(self) -> None:
        """Until drained or lost: then everything handled is committed, and the lease given up."""
        handling.set(
            Handling(
                member=self.backlog.lease.owner,
                processor=self.processor.name,
                partition=self.backlog.number,
                first_in_hand=self._first_in_hand,
            )
        )
        try:
            with self.scope:
                await self._supervise()
        except BaseException as error:  # raised while it was being cancelled
            if holds_cancellation(error):
                raise
            self._leave(unwrapped(error))
        finally:
            self.backlog.close()
            with self._shielded(self._time_left()):
                await self._give_up()
            if self.caution is not None:
                self.caution.end()

    def __repr__(self) -> str:
        backlog = self.backlog
        state = "LOST" if backlog.lost else "DRAINING" if backlog.closed else "RUNNING"
        where = f"{self.processor.stream.name}/{self.processor.name}[{backlog.number}]"
        at = backlog.processed.decode()
        return f"<PartitionExecutor {where} {state} at {at} backlog {backlog.waiting}>"

    def _first_in_hand(self) -> bytes | None:
        return self.backlog.first if self.backlog.in_hand else None

    @contextmanager
    def _shielded(self, seconds: float) -> Iterator[None]:
        """As `_scopes.shielded`, until `abort` cuts it short."""
        with shielded(min(seconds, self._last_words)) as scope:
            self._shields.append(scope)
            try:
                yield
            finally:
                self._shields.remove(scope)

    def _time_left(self) -> float:
        """Of the grace period, for the last words."""
        left = min(self.scope.deadline - trio.current_time(), self.grace_period)
        return max(left, LAST_WORDS)

    async def _supervise(self) -> None:
        backlog = self.backlog
        while not backlog.closed:
            events: Events[Any] = Events(
                source=self.make_source(),
                middleware=self.middleware,
                stream=self.processor.stream.name,
                tried=self._tried,
                grace_period=self.grace_period,
                interrupted=self._is_interrupted,
            )
            before = backlog.taken_to
            failure = await self._call(events)
            if failure is not None:
                await self._failed(failure, events)
            else:
                events.finished()
            backlog.give_back()
            if failure is None and backlog.taken_to == before:
                self._refuse_idling(events)
                await trio.lowlevel.checkpoint()
            while not backlog.waiting and not backlog.closed:
                await backlog.changed()

    async def _call(self, events: Events[Any]) -> BaseException | None:
        try:
            await self.function(events)
            if events.has_in_hand and self._is_interrupted():
                self._tell_of_interruption(events)
                await trio.lowlevel.checkpoint()  # raises what the function has kept to itself
        except BaseException as error:
            if holds_cancellation(error):
                events.exception = self._reason(error)
                raise
            explain(error)
            if events.exception is None or not isinstance(error, Exception):
                events.exception = unwrapped(error)
        finally:
            events.retrying = self._is_retried(events)
            with self._shielded(self.grace_period):
                await events.aclose()
        return events.exception

    def _is_interrupted(self) -> bool:
        """Whether what is in hand was cancelled: nobody can tell then how far the function got with it."""
        return self.backlog.closed and self.scope.cancel_called

    def _tell_of_interruption(self, events: Events[Any]) -> None:
        """The function has swallowed its cancellation, or was too busy to see it."""
        ids = events.failed_ids()
        why = (
            "lease-lost" if self.backlog.lost else "aborted" if self._last_words < math.inf else "grace-over"
        )
        place = f"{self.processor.stream.name}[{self.backlog.number}]"
        facts = {"place": place, "xid": ids[0].decode(), "count": len(ids), "why": why}
        report(logging.WARNING, "not-acknowledged", **facts)

    def _reason(self, error: BaseException) -> BaseException:
        """For middleware: why the function was cancelled."""
        if self.backlog.lost and isinstance(error, trio.Cancelled):
            return LeaseLost(self.backlog.number, self.backlog.lease.epoch)
        return error

    def _is_retried(self, events: Events[Any]) -> bool:
        error = events.exception
        if self._retry is None or not isinstance(error, Exception) or not self.backlog.in_hand:
            return False
        return self._retry.wants(error, events.attempt)

    async def _failed(self, failure: BaseException, events: Events[Any]) -> None:
        if not isinstance(failure, Exception):
            self._leave(failure, events.failed_ids())
        elif not self.scope.cancel_called:
            await self.committer.settle(self.backlog)
            await self._apply_policy(failure, events)
        elif self.policy is ExceptionPolicy.HALT and not (events.retrying or events.is_set_aside):
            self.halt(failure)
        else:
            # Raised on the way out of a cancellation: the event has not failed, the next owner handles it.
            place = f"{self.processor.stream.name}[{self.backlog.number}]"
            report(logging.ERROR, "failed-when-cancelled", place=place, error=shown_at(failure, ""))

    async def _apply_policy(self, failure: Exception, events: Events[Any]) -> None:
        if not self.backlog.in_hand:
            self._measure("halted", events.failed_ids())
            self._halt(failure)
        elif events.retrying and self._retry is not None:
            self._measure("retried", events.failed_ids())
            await self._wait_to_retry(self._retry, failure, events.attempt)
        elif events.is_set_aside:
            self._report("set-aside", failure, events.failed_ids())
            events.handled_aside()
            await self.committer.settle(self.backlog)
        elif self.policy is ExceptionPolicy.IGNORE:
            self._report("ignored", failure, events.failed_ids())
            events.ignored()
        elif self.policy is ExceptionPolicy.QUARANTINE:
            await self._quarantine(failure, events)
        else:
            ids = events.failed_ids()
            self._report("halted", failure, ids, leave_out=self._leave_out(ids))
            self._halt(failure)

    def _leave_out(self, ids: Sequence[bytes]) -> str:
        behind = b"%d-%d" % after(ids[-1])
        return self._command(f"seek {{}} {behind.decode()}")

    def _command(self, what: str) -> str:
        """What an operator would type about this partition."""
        name = f"{self.function.__module__}:{self.processor.name}"
        return f"`runnel-trio processor {what.format(name)} --partition {self.backlog.number}`"

    def _halt(self, failure: BaseException) -> None:
        self.halt(failure)
        self.backlog.close()

    def _leave(self, failure: BaseException, ids: Sequence[bytes] = ()) -> None:
        """End the worker over what no policy is for: `SystemExit` and the like say what is to end."""
        if isinstance(failure, Exception) or is_from_terminal(failure):
            pass
        elif ids:
            self._report("halted", failure, ids, leave_out=self._leave_out(ids))
        else:
            place = f"{self.processor.stream.name}[{self.backlog.number}]"
            report(logging.ERROR, "halted", place=place, count=0, error=shown_at(failure, ""))
        self._halt(failure)

    def _measure(self, then: str, ids: Sequence[bytes]) -> None:
        if self.meter is not None:
            self.meter.failed(self.backlog, then, len(ids))

    async def _wait_to_retry(self, rule: RetryMiddleware, failure: Exception, attempt: int) -> None:
        """The partition waits, so that order is kept; an end of it cuts this short."""
        backlog = self.backlog
        self._tried = (backlog.first or b"", attempt)
        pause = rule.pause(attempt)
        place = f"{self.processor.stream.name}[{backlog.number}]"
        facts = {
            "place": place,
            "attempt": attempt,
            "seconds": round(pause, 3),
            "error": shown_at(failure, ""),
        }
        report(logging.WARNING, "retry", **facts)
        with trio.move_on_after(pause):
            while not backlog.closed:
                await backlog.changed()

    async def _quarantine(self, failure: Exception, events: Events[Any]) -> None:
        """Let the partition stand still; the others go on."""
        ids = events.failed_ids()
        why = Quarantine(
            partition=self.backlog.number,
            first=ids[0],
            last=ids[-1],
            count=len(ids),
            error=said_elsewhere(failure),
            traceback=told(failure),
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            member=self.backlog.lease.owner,
        )
        self._report("quarantined", failure, ids, resume=self._command("resume {}"))
        if await self.broker.quarantine(self.processor, self.backlog.lease, why):
            self.released = True
            self.backlog.close()
        else:
            self.backlog.lose()

    def _report(self, fact: str, failure: BaseException, ids: Sequence[bytes], **more: str) -> None:
        self.counts[self.processor.name, fact] += len(ids)
        self._measure(fact.replace("-", "_"), ids)
        place = f"{self.processor.stream.name}[{self.backlog.number}]"
        xid = ids[0].decode()
        facts = {"place": place, "xid": xid, "count": len(ids), "error": shown_at(failure, xid)}
        report(logging.ERROR, fact, **facts, **more)

    def _refuse_idling(self, events: Events[Any]) -> None:
        """A function that returns and never asks for what waits would be called for ever."""
        backlog = self.backlog
        if not events.begun and backlog.waiting and not backlog.closed:
            self.halt(
                Misconfigured(
                    f"processor {self.processor.name!r} returned without taking an event while events wait: "
                    "it is called for a partition, and must iterate over its events, as in `async for order "
                    "in events.records():`"
                )
            )
            backlog.close()

    async def _give_up(self) -> None:
        if not self.backlog.lost and not self.released:
            await self.committer.settle(self.backlog)
            await self.broker.release(self.processor, [self.backlog.lease])
            self.released = True


def tell_of_standing(stream: str, why: Quarantine, member: str) -> None:
    """Log that a partition is in quarantine, or paused; not once more by the member that has put it there."""
    if why.member == member:
        return
    place = f"{stream}[{why.partition}]"
    if why.is_pause:
        report(logging.WARNING, "paused", place=place, since=why.time, by=why.member, reason=why.error)
    else:
        facts = {"xid": why.first.decode(), "since": why.time, "error": why.error}
        report(logging.ERROR, "stands-still", place=place, **facts)
