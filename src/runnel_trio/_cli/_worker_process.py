"""``runnel-trio run``: runs one worker until it is told to stop."""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Collection, Sequence
from contextlib import nullcontext

import attrs
import trio

from runnel_trio._app import App
from runnel_trio._cli._errors import Ended, Exit
from runnel_trio._cli._leash import ABORT, GONE, HERE, READY, Leash
from runnel_trio._cli._signals import handling_signals
from runnel_trio._http._probes import BindAddress, serving
from runnel_trio._report._redaction import redacted
from runnel_trio._report._telemetry import logger, report
from runnel_trio._worker._worker import Worker
from runnel_trio.exceptions import Misconfigured

__all__ = ["chosen", "run", "settle_heap", "share_server"]

#: Python's default threshold for a collection of the whole heap.
_USUAL = 10


def chosen(app: App, names: str | None) -> frozenset[str]:
    """The processors in ``--processors a,b``; None means all of them.

    Raises:
        Ended: one of them does not exist.
    """
    if names is None:
        return frozenset(app.processors)
    wanted = frozenset(name.strip() for name in names.split(",") if name.strip())
    unknown = sorted(wanted - app.processors.keys())
    if unknown or not wanted:
        there = ", ".join(app.processors) or "none"
        raise Ended(Exit.USAGE, f"no processor is called {', '.join(unknown) or names!r}. There are: {there}")
    return wanted


@attrs.define(eq=False)
class _Running:
    """What signals act on: the worker, or the scope around its start until it has started."""

    app: App
    processors: Sequence[str]
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    worker: Worker | None = None
    leash: Leash | None = None
    aborted: int = 0

    def started(self, value: Worker | None = None) -> None:
        """Take the worker when it has joined; this makes the object a `trio.TaskStatus`."""
        self.worker = value
        processors = ",".join(self.processors)
        server = redacted(self.app.settings.redis_url)
        report(logging.INFO, "running", app=self.app.name, processors=processors, server=server)
        if self.leash is not None:
            self.leash.tell(READY)

    def heard(self, word: str) -> None:
        """Obey a message from the supervisor, which has told the user about it, or is gone."""
        if word == GONE:
            report(logging.WARNING, "supervisor-gone", then="stopping gracefully")
        if word == ABORT:
            self._abort(signal.SIGTERM)
        else:
            self._drain()

    def drain(self, number: int) -> None:
        """End gracefully."""
        logger.info("%s: stopping gracefully; once more to stop at once", signal.Signals(number).name)
        self._drain()

    def abort(self, number: int) -> None:
        """End at once, without waiting for the events in hand."""
        logger.info("%s: stopping at once; once more to kill it", signal.Signals(number).name)
        self._abort(number)

    def _drain(self) -> None:
        if self.worker is None:
            self.scope.cancel()
        else:
            self.worker.stop()

    def _abort(self, number: int) -> None:
        self.aborted = number
        if self.worker is None:
            self.scope.cancel()
        else:
            self.worker.abort()


async def run(
    app: App, processors: Collection[str], leash: Leash | None = None, address: BindAddress | None = None
) -> int:
    """Run a worker until a signal, or until a processor raises under HALT.

    Args:
        app: the app to run.
        processors: the names of the processors to run.
        leash: ties the worker to its supervisor, if it has one.
        address: where to serve metrics, if anywhere.

    Returns:
        The exit code: 0 after a graceful end, 128 + the signal's number when a second one cut it short.

    Raises:
        Exception: what the processor raised.
        BrokerUnavailable: there was no server when it started.
        Misconfigured: the port for metrics cannot be opened.
    """
    running = _Running(app, sorted(processors), leash=leash)
    settle_heap()
    words = nullcontext() if leash is None else leash.handling_words(running.heard)
    with handling_signals(running.drain, running.abort), words, running.scope:
        async with serving(app, address, lambda: running.worker):
            if leash is None:
                await app.run(processors=processors, task_status=running)
            else:
                await _run_on_leash(app, processors, running, leash)
    return 128 + running.aborted if running.aborted else Exit.OK


async def _run_on_leash(app: App, processors: Collection[str], running: _Running, leash: Leash) -> None:
    """Run the app, and tell the supervisor when there is a server, and what it must know about the app."""
    url, settings = app.settings.redis_url, app.settings
    async with app.session():
        graces = [app.processors[name].grace_period for name in processors]
        leash.patience = max([settings.default_grace_period, *graces])
        leash.tell(
            HERE,
            url=url if url.startswith("embedded://") else None,
            patience=leash.patience,
            log_format=settings.log_format,
            log_level=settings.log_level,
        )
        await app.run(processors=processors, task_status=running)


def share_server(app: App, leash: Leash) -> None:
    """Have all workers of a supervisor use one server.

    Raises:
        Misconfigured: the app's server cannot be shared.
    """
    url = app.settings.redis_url
    if url.startswith("memory://") and leash.of > 1:
        raise Misconfigured(
            f"--workers {leash.of}: {url} is inside of one process; name a server, or use --embedded"
        )
    if url == "embedded://":
        app.use_server(f"embedded://{leash.directory}")


def settle_heap() -> None:
    """Have the garbage collector search the whole heap less often, because events do not need it.

    Imported modules stay for good, so they are frozen: each full collection takes 15 ms less. (One of them
    came just when a partition was to be taken over.) A full collection comes after a number of objects that
    have outlived two younger collections, as every event of a large read does. With a tenth of them, a worker
    is 1.1 times as fast with 16 partitions, and 1.4 times with 1,024, where each takes 40 to 90 ms.
    """
    gc.collect()
    gc.freeze()
    young, middle, old = gc.get_threshold()
    if old == _USUAL:  # leave a threshold that the app has set
        gc.set_threshold(young, middle, 10 * old)
