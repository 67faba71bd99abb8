"""One processor in this process: a member for each layout of its stream's partitions, one at a time.

    member in the former layout ──all in there is acknowledged──▶ member in the one that takes entries

A former layout takes no more entries. So once everything in it is acknowledged, that stays true: each worker
can check it by itself, and need not agree with the others about when to switch. The first worker that
switches finds the new partitions without owners, and later ones join it. Until then nothing in them has been
read; this keeps the order of a key.

Usually there is one layout, and this costs one check on the server per quarter of `lock_expiry`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._stages import reads
from runnel_trio._broker._subscription import subscribe
from runnel_trio._broker._values import Layouts, ProcessorSpec
from runnel_trio._processor import Processor
from runnel_trio._report._telemetry import Tally, report
from runnel_trio._scopes import helpers, run_guarded
from runnel_trio._worker._member._rebalancer import Rebalancer

__all__ = ["ProcessorRunner"]

#: Looks at the server in one `lock_expiry`.
_LOOKS = 4
#: Seconds between two looks whether a former layout is through, and how many times as long as one takes.
_CLOSE, _REST = 0.2, 20.0


@attrs.define(eq=False, kw_only=True)
class ProcessorRunner:
    """Runs one member at a time.

    Attributes:
        broker: where everything is.
        processor: whose members they are.
        names: of all processors of its stream that the app declares, whether they run here or not.
        counts: the worker's, of events that did not go the usual way.
        make: one for a layout, which is to call this when it hears that there is another one.
        halt: told of an exception that stops the worker.
    """

    broker: Broker
    processor: Processor[Any]
    names: Collection[str]
    counts: Tally
    make: Callable[[ProcessorSpec, Callable[[], None]], Rebalancer]
    halt: Callable[[BaseException], None]
    member: Rebalancer | None = attrs.field(default=None, init=False)
    _draining: bool = attrs.field(default=False, init=False)
    _succeeded: bool = attrs.field(default=False, init=False)
    _between: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _news: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def alive(self) -> bool:
        """Whether the server has heard from its member, if that has joined, within the last lease."""
        return self.member is None or self.member.alive

    @property
    def settled(self) -> bool:
        """Whether its member has all that the plan gives it, or stands by."""
        return self.member is not None and self.member.settled

    def drain(self) -> None:
        """End gracefully."""
        self._draining = True
        self._between.cancel()
        if self.member is not None:
            self.member.drain()

    def abort(self) -> None:
        """End now."""
        self.drain()
        if self.member is not None:
            self.member.abort()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until drained. Started when the first member is."""
        begun = False
        while not self._draining:
            spec = await self._next()
            if spec is None:
                break
            self._succeeded = False
            self.member = self.make(spec, self._hear)
            async with helpers() as watching:
                watching.start_soon(run_guarded, self._fail, partial(self._watch, self.member))
                await self.member.run(task_status=trio.TASK_STATUS_IGNORED if begun else task_status)
            begun = True
            if not self._succeeded:
                return
        if not begun:
            task_status.started()

    async def _next(self) -> ProcessorSpec | None:
        """The layout to read; None if it should end before that is known."""
        spec = None
        with trio.CancelScope() as self._between:
            try:
                spec = (await reads(self.broker, self.processor.name, await self._look()))[0]
            except Exception as error:
                self.halt(error)
        # An answer that is under way already arrives although the scope was cancelled.
        return None if self._draining else spec

    def _hear(self) -> None:
        self._news.set()

    def _fail(self, error: BaseException) -> None:
        self.halt(error)
        self.drain()

    async def _watch(self, member: Rebalancer) -> None:
        mine = member.spec.stream.layout
        pause = rest = self.processor.lock_expiry / _LOOKS
        while True:
            with trio.move_on_after(pause):
                await self._news.wait()
            self._news = trio.Event()
            layouts = await self._look()
            if layouts.current.layout == mine:
                pause = rest
                continue
            began = trio.current_time()
            if await self._is_over(member.spec, layouts):
                break
            member.move_parked(ProcessorSpec(stream=layouts.current, name=member.spec.name))
            pause = max(_CLOSE, _REST * (trio.current_time() - began))
        facts = {"stream": self.processor.stream.name, "processor": self.processor.name}
        counts = {"was": member.spec.stream.partition_count, "is_now": layouts.current.partition_count}
        report(logging.INFO, "partitions-changed", **facts, **counts)
        self._succeeded = True
        member.drain()

    async def _look(self) -> Layouts:
        """What the server says, after it was told what it may have forgotten."""
        stream = self.processor.stream
        layouts = await self.broker.layouts(stream.spec)
        if layouts is None or layouts.current.layout < stream.spec.layout:
            layouts = await subscribe(self.broker, stream.spec, self.names, self.counts)
        stream.adopt(layouts.current)
        return layouts

    async def _is_over(self, mine: ProcessorSpec, layouts: Layouts) -> bool:
        if layouts.draining is None or layouts.draining.layout != mine.stream.layout:
            return True
        return not await self.broker.undrained(mine)
