"""The page that Prometheus reads."""

from __future__ import annotations

import inspect
import sys
from typing import Any

import pytest
import trio
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as strictly
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from runnel_trio import App, Misconfigured, Overflow, Stream, StreamFull
from runnel_trio.metrics import Metrics, PrometheusMetrics, families
from runnel_trio.testing import drained

FAMILIES = {family.name: family for family in families()}


def app_with(metrics: Metrics, **settings: Any) -> App:
    return App("test", redis_url="memory://", default_partition_count=4, metrics=metrics, **settings)


async def test_the_page_adds_up_with_what_was_sent(
    prometheus: PrometheusMetrics, page: Any, order: Any, autojump_clock: MockClock
) -> None:
    app = app_with(prometheus)
    orders: Stream[Any] = app.stream("orders", order, partition_by="key")

    @app.processor(orders)
    async def book(events: Any) -> None:
        async for _ in events.records():
            pass

    async with app.worker():
        await orders.send(*[order(key=str(n)) for n in range(500)])
        await orders.send(order(key="one more"))
        await drained(book)
    labels = {"stream": "orders", "processor": "book"}
    assert page("runnel_sent_events_total", stream="orders") == 501
    assert page("runnel_events_total", **labels) == 501
    assert page("runnel_events_total", outcome="processed", **labels) == 501
    assert page("runnel_handler_seconds_count", **labels) == 501
    assert page("runnel_handler_seconds_bucket", le="+Inf", **labels) == 501
    assert page("runnel_event_age_seconds_count", **labels) == 501
    assert page("runnel_commit_events_sum", **labels) == 501
    assert page("runnel_rebalance_seconds_count", **labels) >= 1


def test_it_is_what_both_parsers_of_prometheus_expect(prometheus: PrometheusMetrics) -> None:
    told = [name for name in vars(Metrics) if not name.startswith("_")]
    names = {"stream": "s", "processor": "p", "outcome": "processed", "then": "retried"}
    for name in told:
        method = getattr(prometheus, name)
        given = {x: names.get(x, 1) for x in inspect.signature(method).parameters}
        method(**given)
    plain = {f.name for f in text_string_to_metric_families(generate_latest(prometheus.registry).decode())}
    strict = list(strictly(openmetrics(prometheus.registry).decode()))
    assert plain == {f.name for f in strict} == {name.removesuffix("_total") for name in FAMILIES}
    assert all(family.samples for family in strict), "each method shows somewhere"


@pytest.mark.parametrize("family", families(), ids=lambda x: x.name)
def test_names_are_as_prometheus_wants_them(family: Any) -> None:
    assert family.name.startswith("runnel_")
    assert (family.kind == "counter") == family.name.endswith("_total")
    assert "partition" not in family.labels, "thousands of series"
    assert list(family.buckets) == sorted(set(family.buckets))
    assert bool(family.buckets) == (family.kind == "histogram")
    assert family.doc.endswith(".")


def test_a_registry_takes_one_of_them_and_says_so() -> None:
    registry = CollectorRegistry()
    PrometheusMetrics(registry)
    with pytest.raises(Misconfigured, match="already .*: share one"):
        PrometheusMetrics(registry)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(Misconfigured, match=r"pip install runnel-trio\[prometheus\]"):
        PrometheusMetrics()


async def test_sends_that_wait_and_sends_that_are_refused_are_told(
    prometheus: PrometheusMetrics, page: Any, order: Any, autojump_clock: MockClock
) -> None:
    app = app_with(prometheus, default_partition_size=10)
    waiting = app.stream("waiting", order, partition_by="key")
    refusing = app.stream("refusing", order, partition_by="key", overflow=Overflow.ERROR)
    async with app.session():
        with trio.move_on_after(60):
            await waiting.send(*[order(key="a") for _ in range(15)])
        with pytest.raises(StreamFull):
            await refusing.send(*[order(key="a") for _ in range(25)])
    assert page("runnel_sent_events_total", stream="waiting") == 10
    assert page("runnel_blocked_sends_total", stream="waiting") == 1
    assert page("runnel_blocked_send_seconds_total", stream="waiting") == pytest.approx(60, abs=0.1)
    assert page("runnel_sent_events_total", stream="refusing") == 10
    assert page("runnel_refused_events_total", stream="refusing") == 15
    assert page("runnel_blocked_sends_total", stream="refusing") == 0


def test_sends_from_threads_are_told_too(prometheus: PrometheusMetrics, page: Any, order: Any) -> None:
    app = app_with(prometheus)
    orders = app.stream("orders", order, partition_by="key")
    orders.send_sync(*[order(key="a")] * 3, within=60)
    assert page("runnel_sent_events_total", stream="orders") == 3


async def test_metrics_given_after_the_streams_are_told_as_well(
    prometheus: PrometheusMetrics, page: Any, order: Any, autojump_clock: MockClock
) -> None:
    app = App("test", redis_url="memory://")
    orders = app.stream("orders", order, partition_by="key")
    app.use_metrics(prometheus)
    async with app.session():
        await orders.send(order(key="a"))
    assert page("runnel_sent_events_total", stream="orders") == 1
