"""``runnel-trio run``: a worker, until it is told to stop."""

from __future__ import annotations

import signal
from collections.abc import Collection

import attrs
import trio

from runnel_trio._app import App
from runnel_trio._cli._errors import Ended, Exit, tell
from runnel_trio._cli._signals import obey
from runnel_trio._kinds import redacted
from runnel_trio._worker._worker import Worker
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["chosen", "run", "unavailable"]


def chosen(app: App, names: str | None) -> frozenset[str] | None:
    """The processors of ``--processors a,b``; None for all of them.

    Raises:
        Ended: one of them does not exist.
    """
    if names is None:
        return None
    wanted = frozenset(name.strip() for name in names.split(",") if name.strip())
    unknown = sorted(wanted - app.processors.keys())
    if unknown or not wanted:
        there = ", ".join(app.processors) or "none"
        raise Ended(Exit.USAGE, f"no processor is called {', '.join(unknown) or names!r}. There are: {there}")
    return wanted


@attrs.define(eq=False)
class _Running:
    """What signals act upon: the scope around the worker, and the worker when it has started."""

    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    worker: Worker | None = None
    aborted: int = 0

    def started(self, value: Worker | None = None) -> None:
        """As a `trio.TaskStatus`: called with the worker, when it has joined."""
        self.worker = value

    def drain(self, number: int) -> None:
        """End the worker as a cancellation does: gracefully."""
        tell(f"{signal.Signals(number).name}: stopping gracefully; once more to stop at once")
        self.scope.cancel()

    def abort(self, number: int) -> None:
        """Do not wait for the events in hand."""
        tell(f"{signal.Signals(number).name}: stopping at once")
        self.aborted = number
        if self.worker is not None:
            self.worker.abort()


async def run(app: App, processors: Collection[str] | None) -> int:
    """Run a worker until a signal, or until a processor raises under HALT.

    Returns:
        The exit code: 0 after a graceful end, 128 + the signal's number when a second one cut it short.

    Raises:
        Exception: what the processor raised.
        Ended: there was no server when it started.
    """
    running = _Running()
    error: Exception | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(obey, running.drain, running.abort)
        try:
            with running.scope:
                await app.run(processors=processors, task_status=running)
        except Exception as raised:  # kept, so that the nursery puts no group around it
            error = raised
        nursery.cancel_scope.cancel()

    if isinstance(error, BrokerUnavailable) and running.worker is None:
        raise unavailable(app, error) from error
    if error is not None:
        raise error
    return 128 + running.aborted if running.aborted else Exit.OK


def unavailable(app: App, error: BrokerUnavailable) -> Ended:
    """No server: what was tried, and what can be done."""
    url = app.settings.redis_url
    text = " ".join(str(error).split())
    if url.startswith("embedded://"):
        return Ended(Exit.UNAVAILABLE, text)
    tried = redacted(url)
    reason = text.removeprefix(f"{tried}: ").rstrip(".")
    return Ended(
        Exit.UNAVAILABLE,
        f"no server at {tried} ({reason}). Start one (`redis-server`, or `docker run -p 6379:6379 "
        "valkey/valkey`), name another one with --redis-url or RUNNEL_REDIS_URL, or use --embedded, "
        "which brings its own.",
    )
