"""`PrometheusMetrics`: keeps figures, and shows them when a registry of prometheus_client collects them.

It is a collector that keeps its own numbers, because the histograms of prometheus_client take one observation
at a time; here, many events with the same duration are one addition. It does not use Counter either, so that
all numbers of one call change under one lock.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import attrs

from runnel_trio.exceptions import Misconfigured
from runnel_trio.metrics._families import FAMILIES, Family
from runnel_trio.metrics._interface import Metrics

__all__ = ["PrometheusMetrics"]

_Labels = tuple[str, ...]


@attrs.define(eq=False)
class _Distribution:
    """The observations of one histogram with one set of labels."""

    counts: list[int]
    total: float = 0.0


class PrometheusMetrics(Metrics):
    """Metrics of one process for Prometheus; `families` lists them.

    There is no label for partitions: a thousand partitions would be a thousand series for each worker.

    Args:
        registry: where it registers itself; by default ``prometheus_client.REGISTRY``.

    Attributes:
        registry: as given.

    Raises:
        Misconfigured: the package is not installed, or the registry has such metrics already.

    Example:
        >>> from prometheus_client import CollectorRegistry, generate_latest
        >>> from runnel_trio import App
        >>> from runnel_trio.metrics import PrometheusMetrics
        >>> metrics = PrometheusMetrics(CollectorRegistry())
        >>> app = App("example", redis_url="memory://", metrics=metrics)
        >>> metrics.sent("orders", 3, 0.002)
        >>> b'runnel_sent_events_total{stream="orders"} 3.0' in generate_latest(metrics.registry)
        True
    """

    def __init__(self, registry: Any = None) -> None:
        core = _imported()
        self.registry: Any = core.REGISTRY if registry is None else registry
        self._lock = threading.Lock()
        # What has no labels is there from the start: a rate needs to have seen the 0.
        self._numbers: dict[str, dict[_Labels, float]] = {
            name: {} if x.labels else {(): 0.0} for name, x in FAMILIES.items() if x.kind != "histogram"
        }
        self._distributions: dict[str, dict[_Labels, _Distribution]] = {
            name: {} for name, x in FAMILIES.items() if x.kind == "histogram"
        }
        try:
            self.registry.register(self)
        except ValueError as error:
            raise Misconfigured(
                f"the registry has metrics of another PrometheusMetrics already ({error}): share one among "
                "the apps of a process, or give each a registry of its own"
            ) from error

    def describe(self) -> Iterator[Any]:
        """For the registry: all families, without numbers."""
        return (_shown(family) for family in FAMILIES.values())

    def collect(self) -> Iterator[Any]:
        """For the registry: all families, as they are now."""
        with self._lock:
            numbers = {name: dict(found) for name, found in self._numbers.items()}
            distributions = {
                name: {labels: (list(x.counts), x.total) for labels, x in found.items()}
                for name, found in self._distributions.items()
            }
        for name, family in FAMILIES.items():
            shown = _shown(family)
            for labels, number in numbers.get(name, {}).items():
                shown.add_metric(labels, number)
            for labels, (counts, total) in distributions.get(name, {}).items():
                bounds = [*map(_bound, family.buckets), "+Inf"]
                shown.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), total)
            yield shown

    def acknowledged(self, stream: str, processor: str, outcome: str, events: int) -> None:
        """See `Metrics.acknowledged`."""
        self._add("runnel_events_total", (stream, processor, outcome), events)

    def failed(self, stream: str, processor: str, then: str, events: int) -> None:
        """See `Metrics.failed`."""
        self._add("runnel_failures_total", (stream, processor, then), events)

    def handled(self, stream: str, processor: str, seconds: float, calls: int) -> None:
        """See `Metrics.handled`."""
        self._observe("runnel_handler_seconds", (stream, processor), seconds, calls)

    def aged(self, stream: str, processor: str, seconds: float, events: int) -> None:
        """See `Metrics.aged`."""
        self._observe("runnel_event_age_seconds", (stream, processor), seconds, events)

    def committed(self, stream: str, processor: str, events: int, seconds: float) -> None:
        """See `Metrics.committed`."""
        self._observe("runnel_commit_seconds", (stream, processor), seconds)
        self._observe("runnel_commit_events", (stream, processor), events)

    def commit_refused(self, stream: str, processor: str, partitions: int) -> None:
        """See `Metrics.commit_refused`."""
        self._add("runnel_commits_refused_total", (stream, processor), partitions)

    def rebalancing(self, stream: str, processor: str) -> None:
        """See `Metrics.rebalancing`."""
        self._add("runnel_rebalances_total", (stream, processor), 1)

    def rebalanced(self, stream: str, processor: str, seconds: float) -> None:
        """See `Metrics.rebalanced`."""
        self._observe("runnel_rebalance_seconds", (stream, processor), seconds)

    def standing(
        self,
        stream: str,
        processor: str,
        *,
        owned: int,
        quarantined: int,
        unacked: int,
        lag: int,
        age: float,
    ) -> None:
        """See `Metrics.standing`."""
        labels = (stream, processor)
        with self._lock:
            self._numbers["runnel_owned_partitions"][labels] = owned
            self._numbers["runnel_quarantined_partitions"][labels] = quarantined
            self._numbers["runnel_unacked_events"][labels] = unacked
            self._numbers["runnel_lag_events"][labels] = lag
            self._numbers["runnel_lag_seconds"][labels] = age

    def in_hand(
        self, stream: str, processor: str, *, lanes: int, events: int, ahead: int, oldest: float
    ) -> None:
        """See `Metrics.in_hand`."""
        labels = (stream, processor)
        with self._lock:
            self._numbers["runnel_lanes"][labels] = lanes
            self._numbers["runnel_in_hand_events"][labels] = events
            self._numbers["runnel_ahead_events"][labels] = ahead
            self._numbers["runnel_oldest_in_hand_seconds"][labels] = oldest

    def parked(self, stream: str, processor: str, *, keys: int, events: int) -> None:
        """See `Metrics.parked`."""
        with self._lock:
            self._numbers["runnel_parked_keys"][stream, processor] = keys
            self._numbers["runnel_parked_events"][stream, processor] = events

    def unowned(self, stream: str, processor: str, partitions: int) -> None:
        """See `Metrics.unowned`."""
        with self._lock:
            self._numbers["runnel_unowned_partitions"][stream, processor] = partitions

    def sent(self, stream: str, events: int, seconds: float) -> None:
        """See `Metrics.sent`."""
        self._add("runnel_sent_events_total", (stream,), events)
        self._observe("runnel_send_seconds", (stream,), seconds)

    def blocked(self, stream: str, seconds: float, *, begins: bool) -> None:
        """See `Metrics.blocked`."""
        self._add("runnel_blocked_sends_total", (stream,), int(begins))
        self._add("runnel_blocked_send_seconds_total", (stream,), seconds)

    def refused(self, stream: str, events: int) -> None:
        """See `Metrics.refused`."""
        self._add("runnel_refused_events_total", (stream,), events)

    def server_away(self) -> None:
        """See `Metrics.server_away`."""
        self._add("runnel_server_outages_total", (), 1)
        self._add("runnel_server_away", (), 1)

    def server_back(self, seconds: float) -> None:
        """See `Metrics.server_back`."""
        self._add("runnel_server_away", (), -1)
        self._add("runnel_server_outage_seconds_total", (), seconds)

    def stalled(self, seconds: float) -> None:
        """See `Metrics.stalled`."""
        self._add("runnel_stalls_total", (), 1)
        self._add("runnel_stall_seconds_total", (), seconds)

    def _add(self, name: str, labels: _Labels, more: float) -> None:
        with self._lock:
            numbers = self._numbers[name]
            numbers[labels] = numbers.get(labels, 0.0) + more

    def _observe(self, name: str, labels: _Labels, value: float, weight: int = 1) -> None:
        buckets = FAMILIES[name].buckets
        with self._lock:
            found = self._distributions[name].get(labels)
            if found is None:
                found = self._distributions[name][labels] = _Distribution([0] * (len(buckets) + 1))
            found.counts[bisect_left(buckets, value)] += weight
            found.total += value * weight


def _shown(family: Family) -> Any:
    """The family as prometheus_client has it, without numbers."""
    core = _imported()
    makers = {
        "counter": core.CounterMetricFamily,
        "gauge": core.GaugeMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    return makers[family.kind](family.name, family.doc, labels=family.labels)


def _bound(value: float) -> str:
    return f"{float(value)!r}"


def _imported() -> Any:
    try:
        from prometheus_client import core
    except ImportError as error:
        raise Misconfigured(
            "PrometheusMetrics needs the package 'prometheus_client', which is not installed: "
            "pip install runnel-trio[prometheus]"
        ) from error
    return core
