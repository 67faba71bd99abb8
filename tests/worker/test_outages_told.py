"""A server that goes away and comes back, in figures."""

from __future__ import annotations

from typing import Any

import trio
from prometheus_client import CollectorRegistry

from runnel_trio import App, Record
from runnel_trio.metrics import PrometheusMetrics


class Order(Record):
    key: str


async def test_a_server_that_is_killed_and_comes_back_is_told_and_loses_no_figure(server: Any) -> None:
    registry = CollectorRegistry()

    def figure(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    metrics = PrometheusMetrics(registry)
    app = App("test", redis_url=server.url, default_partition_count=4, metrics=metrics)
    orders = app.stream("orders", Order, partition_by="key")

    @app.processor(orders)
    async def slow(events: Any) -> None:
        async for _ in events.records():
            await trio.sleep(0.001)

    of = {"stream": "orders", "processor": "slow"}
    async with app.worker():
        await orders.send(*[Order(key=str(n)) for n in range(1000)])
        with trio.fail_after(60):
            while not figure("runnel_events_total", outcome="processed", **of):
                await trio.sleep(0.001)
            server.kill()
            while not figure("runnel_server_away"):
                await trio.sleep(0.001)
            await server.start()
            while figure("runnel_server_away"):
                await trio.sleep(0.001)
        await server.drained()
    assert figure("runnel_events_total", outcome="processed", **of) == 1000
    assert figure("runnel_sent_events_total", stream="orders") == 1000
    assert figure("runnel_server_outages_total") >= 1
    assert figure("runnel_server_outage_seconds_total") > 0
