"""What an app does, in figures: `Metrics` receives it, `PrometheusMetrics` shows it. See docs/howto/metrics.

    app = App("shop", metrics=PrometheusMetrics())

Nothing is reported per event: acknowledgements are counted when they are committed, and handlers are timed
from one pause of the worker to the next. So an app with metrics is as fast as one without.
"""

from __future__ import annotations

from runnel_trio.metrics._families import Family as Family
from runnel_trio.metrics._families import families as families
from runnel_trio.metrics._interface import Metrics as Metrics
from runnel_trio.metrics._prometheus import PrometheusMetrics as PrometheusMetrics

__all__ = ["Family", "Metrics", "PrometheusMetrics", "families"]

for _thing in (Family, Metrics, PrometheusMetrics, families):
    _thing.__module__ = __name__  # where they are public, for tracebacks and docs
