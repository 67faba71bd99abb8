"""The outermost box: runs the members, and makes sure that everything ends in order.

The tree runs in a shielded scope, and its parent only waits. So a cancellation from outside reaches the wait
and not the tree. When the wait ends, it drains the tree, which ends by itself within the grace period; only
then does the cancellation continue.

A user's exception that stops the worker (HALT) is stored: the tree drains as for any other reason, and when
it has ended, that exception is raised, with no exception group around it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib.metadata import version
from typing import Any, Protocol

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._seen import Ending
from runnel_trio._broker._subscription import subscribe
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._processor import Processor
from runnel_trio._report._telemetry import Tally, report
from runnel_trio._report._traceback import note
from runnel_trio._report._words import described
from runnel_trio._scopes import helpers, holds_cancellation, quitting
from runnel_trio._stream import Stream, refuse_far
from runnel_trio._worker._background import Backgrounds, BackgroundTask
from runnel_trio._worker._heartbeat import Heartbeat
from runnel_trio._worker._last_word import ending_by, leave_word
from runnel_trio._worker._member._meter import Meter
from runnel_trio._worker._member._owned_tables import TableCache
from runnel_trio._worker._member._partition._poison import LastTryLock
from runnel_trio._worker._member._rebalancer import Rebalancer
from runnel_trio._worker._processor_runner import ProcessorRunner
from runnel_trio.metrics import Metrics
from runnel_trio.settings import Settings

__all__ = ["Worker", "running_beside"]


@cache
def _version() -> str:
    return version("runnel-trio")


def _member_id() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"


@attrs.define(eq=False, kw_only=True)
class Worker:
    """Runs processors until it is stopped. Created by `App.run` and `App.worker`.

    Attributes:
        broker: the broker that it uses.
        processors: the processors that it runs.
        declared: all processors of the app. Those that do not run here also get cursors, so that no event
            that they have not handled is trimmed from the streams used here.
        app: the name of their app.
        functions: what runs beside the processors.
        settings: the app's settings.
        metrics: receives what happens.
        member: the id by which other workers know this one.
        counts: by processor and fact, how many events did not go the usual way: ``ignored``, ``set-aside``
            (as dead letters), ``quarantined``, ``events-lost`` (they left the log unprocessed),
            ``events-missed`` (they had left the log before the server knew the processor).
        ended: set when the worker has ended: ``worker.stop(); await worker.ended.wait()``.

    Example:
        Under ``async with app.worker() as worker``::

            assert worker.counts["printer", "ignored"] == 0
    """

    broker: Broker
    processors: Sequence[Processor[Any]] = ()
    declared: Collection[Processor[Any]] = ()
    app: str = ""
    functions: Sequence[BackgroundTask] = ()
    settings: Settings = attrs.field(factory=Settings, repr=False)
    metrics: Metrics | None = attrs.field(default=None, repr=False)
    member: str = attrs.field(factory=_member_id)
    counts: Tally = attrs.field(factory=Tally, init=False, repr=False)
    ended: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)
    _heartbeat: Heartbeat = attrs.field(init=False)
    _members: list[ProcessorRunner | Backgrounds] = attrs.field(factory=list, init=False)
    _halted: BaseException | None = attrs.field(default=None, init=False)
    _ending: Ending | None = attrs.field(default=None, init=False)
    _failures: set[str] = attrs.field(factory=set, init=False)
    _ready: trio.Event = attrs.field(factory=trio.Event, init=False)
    _stopping: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._heartbeat = Heartbeat(
            broker=self.broker,
            stall_limit=self.settings.stall_limit,
            halt=self.halt,
            on_stalled=None if self.metrics is None else self.metrics.stalled,
        )
        shared = {"last_try": LastTryLock(), "cache": TableCache(self.settings.table_cache_bytes)}
        about = json.dumps(
            {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "since": round(self.broker.wall(), 3),
                "version": _version(),
            }
        )
        for processor in self.processors:
            make = partial(self._make, processor, about, shared, self._meter(processor))
            self._members.append(
                ProcessorRunner(
                    broker=self.broker,
                    processor=processor,
                    names=self._names(processor.stream),
                    counts=self.counts,
                    make=make,
                    halt=self.halt,
                )
            )
        if self.functions:
            self._members.append(
                Backgrounds(
                    broker=self.broker,
                    functions=self.functions,
                    app=self.app,
                    settings=self.settings,
                    member=self.member,
                    about=about,
                    heartbeat=self._heartbeat,
                    halt=self.halt,
                )
            )

    def _make(
        self,
        processor: Processor[Any],
        about: str,
        shared: Mapping[str, Any],
        meter: Meter | None,
        spec: ProcessorSpec,
        on_moved: Callable[[], None],
    ) -> Rebalancer:
        return Rebalancer(
            broker=self.broker,
            processor=processor,
            spec=spec,
            member=self.member,
            about=about,
            heartbeat=self._heartbeat,
            halt=self.halt,
            counts=self.counts,
            on_moved=on_moved,
            meter=meter,
            **shared,
        )

    def __repr__(self) -> str:
        return f"<Worker {self.member} of {', '.join(processor.name for processor in self.processors)}>"

    def _meter(self, processor: Processor[Any]) -> Meter | None:
        if self.metrics is None:
            return None
        return Meter(
            metrics=self.metrics,
            stream=processor.stream.name,
            processor=processor.name,
            id_time=self.broker.id_time,
            clock=self.broker.clock,
            counts=self.counts,
        )

    @property
    def alive(self) -> bool:
        """Whether the server has heard from it within the last lease; for a liveness probe."""
        return all(x.alive for x in self._members if isinstance(x, ProcessorRunner))

    @property
    def ready(self) -> bool:
        """Whether every processor owns its share of the partitions, or stands by; False during a stop."""
        settled = all(x.settled for x in self._members if isinstance(x, ProcessorRunner))
        return self._ready.is_set() and settled and not self._stopping.is_set()

    def stop(self) -> None:
        """End gracefully: every partition finishes the event in hand, commits, and is released."""
        self._stopping.set()
        for member in self._members:
            member.drain()

    def abort(self) -> None:
        """End now: events in hand are cancelled; those already handled are still committed."""
        self._stopping.set()
        for member in self._members:
            member.abort()

    def halt(self, error: BaseException) -> None:
        """Stop, and raise this error at the end. Another failure is logged and added to it as a note, once.

        If all partitions fail with the same error, as when a database is away, that is one failure. A
        KeyboardInterrupt does not wait for the events in hand, and takes precedence over any failure.
        """
        if isinstance(error, KeyboardInterrupt):
            self._halted = error
            self.abort()
            return
        if self._halted is None:
            self._halted = error
            self._ending = ending_by(error, self.member, self.processors)
        elif described(error) not in self._failures:
            report(logging.ERROR, "failed-too", error=described(error))
            note(self._halted, f"While the worker was stopping, this was raised too: {described(error)}")
        self._failures.add(described(error))
        self._stopping.set()

    async def run(self, *, task_status: trio.TaskStatus[Worker] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until stopped or cancelled. ``task_status`` is started when every processor has joined.

        Raises:
            Misconfigured: a stream was declared differently before.
            BaseException: whatever a processor function raised under HALT; always for `SystemExit` and the
                like, to which no policy applies.
            KeyboardInterrupt: also unwrapped, at once.

        Cancellation: drains as `stop` does, then continues.
        """
        try:
            await self._declare()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tree)
                try:
                    await self._until_stopped(task_status)
                    nursery.start_soon(leave_word, self.broker, self.app, self._ending)
                finally:
                    self.stop()
        except BaseException as error:
            plain = quitting(error)
            if plain is not None:
                raise plain from (error if plain is not error else None)
            if self._halted is None:
                if isinstance(error, Exception):
                    await leave_word(self.broker, self.app, ending_by(error, self.member, self.processors))
                raise
        finally:
            self.ended.set()
            report(logging.INFO, "stopped", member=self.member)
        if self._halted is not None:
            raise self._halted

    async def _declare(self) -> None:
        """Declare the streams that its processors read and write, and all processors that read them."""
        used = [stream for x in self.processors for stream in (x.stream, *x.written)]
        for stream in {stream.name: stream for stream in used}.values():
            layouts = await subscribe(self.broker, stream.declared_spec, self._names(stream), self.counts)
            stream.adopt(layouts.current)
        for processor in self.processors:  # by the counts that the server has
            refuse_far(self.broker, processor.stream, processor.sinks)

    def _names(self, stream: Stream[Any]) -> list[str]:
        return sorted({x.name for x in (*self.processors, *self.declared) if x.stream is stream})

    async def _until_stopped(self, task_status: trio.TaskStatus[Worker]) -> None:
        await self._ready.wait()
        if not self._stopping.is_set():
            report(logging.INFO, "started", member=self.member, processors=len(self.processors))
        if self._halted is None:
            task_status.started(self)
        await self._stopping.wait()

    async def _tree(self) -> None:
        with trio.CancelScope(shield=True):
            async with helpers() as beating:
                await beating.start(self._heartbeat.run)
                async with trio.open_nursery() as nursery:
                    async with trio.open_nursery() as joining:
                        for member in self._members:
                            joining.start_soon(nursery.start, member.run)
                    self._ready.set()


class _Run(Protocol):
    def __call__(self, *, task_status: trio.TaskStatus[Worker]) -> Awaitable[None]: ...


@asynccontextmanager
async def running_beside(run: _Run) -> AsyncIterator[Worker]:
    """A worker that runs beside the body of an ``async with``, and stops at its end.

    An error that ends the worker cancels the body, and is raised instead of the cancellation. If the body
    itself raises, that error is raised, with the worker's as a note.
    """
    failed: list[BaseException] = []

    async def supervised(task_status: trio.TaskStatus[Worker]) -> None:
        try:
            await run(task_status=task_status)
        except BaseException as error:
            if not begun or holds_cancellation(error):
                raise
            failed.append(error)
        body.cancel()

    begun = False
    body = trio.CancelScope()
    try:
        async with helpers() as nursery:
            worker: Worker = await nursery.start(supervised)
            begun = True
            with body:
                yield worker
    except BaseException as error:
        if not failed:
            raise
        if not isinstance(error, trio.Cancelled):
            note(error, f"While the worker was stopping, this was raised too: {described(failed[0])}")
            raise
    if failed:
        raise failed[0]
