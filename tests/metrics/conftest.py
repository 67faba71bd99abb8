"""Metrics that remember what they were told, and a page of Prometheus as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from runnel_trio import App, Record, Stream
from runnel_trio.metrics import Metrics, PrometheusMetrics

Page = Callable[..., float]


class Order(Record):
    key: str
    n: int = 0


class Told(Metrics):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.handled_calls: list[tuple[float, int]] = []
        self.ages: list[tuple[float, int]] = []
        self.commits: list[int] = []
        self.last: dict[str, Any] = {}
        self.ownerless: list[int] = []
        self.rebalances: list[float] = []
        self.away: list[float | None] = []
        self.stalls: list[float] = []
        self.in_hands: list[dict[str, float]] = []
        self.parked_keys: list[tuple[int, int]] = []

    def acknowledged(self, stream: str, processor: str, outcome: str, events: int) -> None:
        self.outcomes[outcome] += events

    def failed(self, stream: str, processor: str, then: str, events: int) -> None:
        self.failures[then] += events

    def handled(self, stream: str, processor: str, seconds: float, calls: int) -> None:
        self.handled_calls.append((seconds, calls))

    def aged(self, stream: str, processor: str, seconds: float, events: int) -> None:
        self.ages.append((seconds, events))

    def committed(self, stream: str, processor: str, events: int, seconds: float) -> None:
        self.commits.append(events)

    def rebalanced(self, stream: str, processor: str, seconds: float) -> None:
        self.rebalances.append(seconds)

    def standing(self, stream: str, processor: str, **values: Any) -> None:
        self.last = values

    def in_hand(self, stream: str, processor: str, **values: Any) -> None:
        self.in_hands.append(values)

    def parked(self, stream: str, processor: str, *, keys: int, events: int) -> None:
        self.parked_keys.append((keys, events))

    def unowned(self, stream: str, processor: str, partitions: int) -> None:
        self.ownerless.append(partitions)

    def server_away(self) -> None:
        self.away.append(None)

    def server_back(self, seconds: float) -> None:
        self.away.append(seconds)

    def stalled(self, seconds: float) -> None:
        self.stalls.append(seconds)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def app(told: Told) -> App:
    """An app on a memory broker of its own, with metrics."""
    return App("test", redis_url="memory://", default_partition_count=4, metrics=told)


@pytest.fixture
def orders(app: App) -> Stream[Order]:
    return app.stream("orders", Order, partition_by="key")


@pytest.fixture
def order() -> type[Order]:
    return Order


@pytest.fixture
def prometheus() -> PrometheusMetrics:
    return PrometheusMetrics(CollectorRegistry())


@pytest.fixture
def page(prometheus: PrometheusMetrics) -> Page:
    """The sum of a metric's samples with these labels, as prometheus_client's own parser reads them."""

    def read(name: str, **labels: str) -> float:
        text = generate_latest(prometheus.registry).decode()
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())

    return read
