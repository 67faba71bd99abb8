"""What ``runnel-trio run --metrics-port`` serves: /metrics, /healthz and /readyz."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import attrs
import trio

from runnel_trio._app import App
from runnel_trio._http._server import Answer, Pages, check_extra, listen
from runnel_trio._report._telemetry import report
from runnel_trio._scopes import helpers
from runnel_trio._worker._worker import Worker
from runnel_trio.exceptions import Misconfigured
from runnel_trio.metrics import PrometheusMetrics

__all__ = ["BindAddress", "serving"]


#: Seconds between attempts to open a port that another process still has.
_BUSY = 0.2
#: Threads in which the text of /metrics is made.
_SCRAPES = 2


@attrs.frozen
class BindAddress:
    """Where to serve.

    Attributes:
        patient: whether to wait for the port while another process has it.
    """

    host: str
    port: int
    patient: bool = attrs.field(default=False, kw_only=True)


@asynccontextmanager
async def serving(
    app: App, address: BindAddress | None, worker: Callable[[], Worker | None]
) -> AsyncIterator[None]:
    """Serve the pages while the block runs.

    An app without metrics gets `PrometheusMetrics` in the process's registry. An app with metrics of its own
    keeps them; the process's registry is shown all the same, because they may be in it.

    Raises:
        Misconfigured: the port cannot be opened, or prometheus_client is not installed.
    """
    if address is None:
        yield
        return
    check_extra()
    if app.metrics is None:
        app.use_metrics(PrometheusMetrics())
    pages = Pages(
        {
            "/metrics": partial(_metrics, _registry(app), trio.CapacityLimiter(_SCRAPES)),
            "/healthz": partial(_health, worker),
            "/readyz": partial(_readiness, worker),
        }
    )
    async with helpers() as nursery:
        await nursery.start(_serve, pages, address)
        yield


async def _serve(
    pages: Pages, address: BindAddress, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    listeners, told = None, False
    if address.patient:
        task_status.started()
    while listeners is None:
        try:
            listeners = await listen(address.host, address.port)
        except Misconfigured as error:
            if not address.patient:
                raise
            if not told:
                report(logging.WARNING, "metrics-wait", reason=error)
            told = True
            await trio.sleep(_BUSY)
    host, port = listeners[0].socket.getsockname()[:2]
    report(logging.INFO, "serving-metrics", host=host, port=port)
    if not address.patient:
        task_status.started()
    await pages.serve(listeners)


def _registry(app: App) -> Any:
    if isinstance(app.metrics, PrometheusMetrics):
        return app.metrics.registry
    from prometheus_client import REGISTRY

    return REGISTRY


async def _metrics(registry: Any, limiter: trio.CapacityLimiter) -> Answer:
    """Answer from a thread, of which this has its own: a user's collectors may take their time."""
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    body = await trio.to_thread.run_sync(generate_latest, registry, abandon_on_cancel=True, limiter=limiter)
    return Answer(200, body, CONTENT_TYPE_LATEST)


async def _health(worker: Callable[[], Worker | None]) -> Answer:
    """That this answers shows that Trio runs. A worker that has not joined yet has no heartbeats to fail."""
    found = worker()
    if found is None or found.alive:
        return Answer(200, b"alive\n")
    return Answer(503, b"no heartbeat was answered for longer than a lease lasts\n")


async def _readiness(worker: Callable[[], Worker | None]) -> Answer:
    found = worker()
    if found is not None and found.ready:
        return Answer(200, b"ready\n")
    return Answer(503, b"it has not joined, waits for partitions, or stops\n")
