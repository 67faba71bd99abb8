"""A backlog is worked off."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from benchmarks.contenders.ours import (
    Body,
    app_at,
    consumed,
    each_event,
    each_hundred,
    each_record,
    order_stream,
    reading_stream,
)
from benchmarks.workload import Contender, Result
from runnel_trio import Middleware
from runnel_trio.metrics import PrometheusMetrics


class PassThrough(Middleware):
    """A link that does nothing."""

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        async for item in parent:
            yield item


def consume(
    url: str,
    count: int,
    unique: int,
    *,
    body: Body = each_record,
    fast: bool = True,
    links: int = 0,
    share: int = 1,
    metrics: bool = False,
    **options: Any,
) -> Result:
    """All of it, or one in ``share``."""
    app = app_at(url)
    if metrics:
        from prometheus_client import CollectorRegistry  # of an extra that the others do not need

        app.use_metrics(PrometheusMetrics(CollectorRegistry()))
    stream = order_stream(app, fast=fast)
    options |= {"name": f"ours-{unique}", "middleware": [PassThrough() for _ in range(links)]}
    return consumed(app, stream, count // share, body, **options)


def consume_primitive(url: str, count: int, unique: int) -> Result:
    app = app_at(url)
    return consumed(app, reading_stream(app), count, name=f"ours-{unique}")


CONTENDERS: dict[str, Contender] = {
    "consume": consume,
    "consume-json": partial(consume, fast=False),
    "consume-take-100": partial(consume, body=each_hundred),
    "consume-raw": partial(consume, body=each_event),
    "consume-1-link": partial(consume, links=1),
    "consume-2-links": partial(consume, links=2),
    "consume-3-links": partial(consume, links=3),
    "consume-primitive": consume_primitive,
    "consume-metrics": partial(consume, metrics=True),
    "consume-take-metrics": partial(consume, body=each_hundred, metrics=True),
    "consume-100-lanes": partial(consume, concurrency=100),
    "consume-unacked-1": partial(consume, share=10, max_unacked=1),
}
