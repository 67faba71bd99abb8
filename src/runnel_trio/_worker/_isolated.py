"""A worker under test: the error that ends it is kept for the test, and cancels nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._processor import Processor
from runnel_trio._scopes import helpers, holds_cancellation
from runnel_trio._stream import Stream
from runnel_trio._worker._worker import Worker
from runnel_trio.settings import Settings

__all__ = ["IsolatedWorker", "isolated"]


@attrs.define(eq=False)
class IsolatedWorker:
    """A worker, and what has ended it.

    Attributes:
        streams: of its app, by name.
        error: what a processor function raised under HALT.
        ready: set when the processor has joined, or cannot.
    """

    _worker: Worker
    streams: dict[str, Stream[Any]]
    error: BaseException | None = attrs.field(default=None, init=False)
    ready: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def broker(self) -> Broker:
        """Where it runs."""
        return self._worker.broker

    def started(self, value: Worker | None = None) -> None:
        """As a task status of Trio."""
        self.ready.set()

    async def run(self) -> None:
        """Until stopped."""
        try:
            await self._worker.run(task_status=self)
        except BaseException as error:
            if holds_cancellation(error) or isinstance(error, KeyboardInterrupt):
                raise
            self.error = error
        finally:
            self.ready.set()


@asynccontextmanager
async def isolated(
    private: Callable[[], AbstractAsyncContextManager[Broker]],
    settings: Settings,
    streams: dict[str, Stream[Any]],
    processor: Processor[Any],
    prepare: Callable[[], Awaitable[None]],
) -> AsyncIterator[IsolatedWorker]:
    """Run one processor of an app beside the body, on a broker in memory; it is drained at the end.

    Args:
        private: opens that broker for the app.
        settings: of the app.
        streams: of the app.
        processor: the one to run.
        prepare: called before it runs.

    Raises:
        Misconfigured: the app is connected already in this run of Trio.
    """
    async with private() as broker, helpers() as nursery:
        await prepare()
        worker = Worker(
            broker=broker, processors=[processor], app=processor.stream.spec.app, settings=settings
        )
        ran = IsolatedWorker(worker, streams)
        nursery.start_soon(ran.run)
        await ran.ready.wait()
        yield ran
        worker.stop()
        await worker.ended.wait()
