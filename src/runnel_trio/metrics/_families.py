"""The families of `PrometheusMetrics`: the only place that has their names and descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

__all__ = ["FAMILIES", "Family", "families"]

_OF_PROCESSOR = ("stream", "processor")
_OF_STREAM = ("stream",)

#: Seconds: for handlers, from a tenth of what a fast one takes; for a round trip; for waits that people
#: notice.
_HANDLING = (1e-5, 1e-4, 1e-3, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TRIP = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WAITING = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200, 43200)
#: Events in a commit.
_BATCH = (1, 10, 100, 1000, 10_000, 100_000)


@attrs.frozen(kw_only=True)
class Family:
    """One family of metrics.

    Attributes:
        name: as Prometheus shows it; the name of a counter ends in ``_total``.
        kind: ``"counter"``, ``"gauge"`` or ``"histogram"``.
        labels: their names.
        doc: what it counts or measures.
        alert: when to wake somebody, if ever.
        buckets: upper bounds, for a histogram.
    """

    name: str
    kind: str
    labels: Sequence[str] = ()
    doc: str
    alert: str = ""
    buckets: Sequence[float] = ()


def _counter(name: str, doc: str, labels: Sequence[str] = _OF_PROCESSOR, alert: str = "") -> Family:
    return Family(name=name, kind="counter", labels=labels, doc=doc, alert=alert)


def _gauge(name: str, doc: str, labels: Sequence[str] = _OF_PROCESSOR, alert: str = "") -> Family:
    return Family(name=name, kind="gauge", labels=labels, doc=doc, alert=alert)


def _histogram(
    name: str,
    doc: str,
    buckets: Sequence[float],
    labels: Sequence[str] = _OF_PROCESSOR,
    alert: str = "",
) -> Family:
    return Family(name=name, kind="histogram", labels=labels, doc=doc, alert=alert, buckets=buckets)


_ALL = [
    _counter(
        "runnel_events_total",
        "Events that the processor has finished: processed, ignored, set_aside or lost. Each event is "
        "counted once, when its acknowledgement is committed; one that was parked, when it is handled later.",
        (*_OF_PROCESSOR, "outcome"),
        "Any event is lost. The rate is 0 while the lag is not.",
    ),
    _counter(
        "runnel_failures_total",
        "Events whose handling failed, by what happened then: retried, set_aside, ignored, parked, "
        "quarantined or halted. An event that is tried again is counted again.",
        (*_OF_PROCESSOR, "then"),
        "The rate is more than a few percent of that of events.",
    ),
    _histogram(
        "runnel_handler_seconds",
        "Time to handle an event, or a list of take(): decoding, middleware and the processor function. "
        "Fast ones are means over 1.5 ms.",
        _HANDLING,
        alert="The 99th percentile is near the grace period.",
    ),
    _histogram(
        "runnel_event_age_seconds",
        "Time from when an event was stored until it was taken up for handling.",
        _WAITING,
        alert="The 99th percentile is above what your users may wait for.",
    ),
    _histogram("runnel_commit_seconds", "Time that the server takes for a commit.", _TRIP),
    _histogram("runnel_commit_events", "Acknowledgements in a commit.", _BATCH),
    _counter(
        "runnel_commits_refused_total",
        "Commits of a partition that the server refused, because the partition was another worker's or was "
        "reset.",
    ),
    _gauge("runnel_unacked_events", "Events that are handled and wait for their commit."),
    _gauge(
        "runnel_lag_events",
        "Events that are not acknowledged, in the partitions that this worker owns; one worker also "
        "counts those in partitions without an owner. As of the last heartbeat, at most a quarter of "
        "lock_expiry ago.",
        alert="It grows for ten minutes.",
    ),
    _gauge(
        "runnel_lag_seconds",
        "Time since the oldest event that waits in these partitions was stored; one worker also includes "
        "partitions without an owner.",
        alert="It is above what your users may wait for.",
    ),
    _gauge("runnel_lanes", "Lanes that were started, of processors with a concurrency above 1."),
    _gauge("runnel_in_hand_events", "Events that these lanes have in hand."),
    _gauge(
        "runnel_ahead_events",
        "Events that are handled ahead of others that are not, of processors with a concurrency above 1.",
    ),
    _gauge(
        "runnel_oldest_in_hand_seconds",
        "Time since a heartbeat first found the oldest event in hand, where the concurrency is above 1.",
        alert="It is longer than any handler should take: one hangs. Give the processor a timeout.",
    ),
    _gauge(
        "runnel_owned_partitions",
        "Partitions that this worker owns.",
        alert="There is none: no worker runs, or none is scraped.",
    ),
    _gauge(
        "runnel_unowned_partitions",
        "Partitions without an owner: they stand still, or wait to be taken over. Reported by the worker "
        "that has run the processor longest; 0 for the others.",
        alert="Their sum is above 0 for a minute.",
    ),
    _gauge(
        "runnel_quarantined_partitions",
        "Partitions of this worker's share that stand still, quarantined or paused.",
        alert="It is above 0: these partitions stand still until somebody resumes them.",
    ),
    _gauge(
        "runnel_parked_keys",
        "Keys that are parked in the partitions that this worker owns.",
        alert="Its sum is above 0 for longer than you want a customer to wait.",
    ),
    _gauge(
        "runnel_parked_events",
        "Events of these keys, which wait. They are not part of the lag.",
        alert="It is above half of max_parked: a partition that has no room for more is quarantined.",
    ),
    _counter(
        "runnel_rebalances_total",
        "Changes of the processor's members: one joined, left, or was taken for dead.",
        alert="More than a few in ten minutes while nothing is deployed: workers die, or block.",
    ),
    _histogram(
        "runnel_rebalance_seconds", "Time from such a change until this worker owned its share.", _WAITING
    ),
    _counter("runnel_sent_events_total", "Events that were stored by send().", _OF_STREAM),
    _histogram(
        "runnel_send_seconds", "Time that a round trip of send() takes, queueing included.", _TRIP, _OF_STREAM
    ),
    _counter(
        "runnel_blocked_sends_total",
        "Calls of send() that had to wait for room in a full partition.",
        _OF_STREAM,
        "Any: processors are too slow, or stand still.",
    ),
    _counter("runnel_blocked_send_seconds_total", "Time for which these calls waited.", _OF_STREAM),
    _counter(
        "runnel_refused_events_total",
        "Events that send() did not store because there was no room, with overflow=error.",
        _OF_STREAM,
        "Any.",
    ),
    _gauge(
        "runnel_server_away",
        "1 while the Redis server does not answer or refuses temporarily, else 0.",
        (),
        "It is 1 for a minute.",
    ),
    _counter("runnel_server_outages_total", "How often the server went away.", ()),
    _counter("runnel_server_outage_seconds_total", "Time for which the server was away.", ()),
    _counter(
        "runnel_stalls_total",
        "How often something blocked the event loop for more than a second.",
        (),
        "Any: the log has the stack of the blocking function.",
    ),
    _counter("runnel_stall_seconds_total", "Time for which the event loop was blocked.", ()),
]

FAMILIES: Mapping[str, Family] = {family.name: family for family in _ALL}


def families() -> Sequence[Family]:
    """Everything that `PrometheusMetrics` shows; the table in the documentation is generated from it.

    Example:
        >>> from runnel_trio.metrics import families
        >>> {x.name: x.kind for x in families()}["runnel_lag_events"]
        'gauge'
    """
    return _ALL
