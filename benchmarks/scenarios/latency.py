"""How soon an event is handled."""

from __future__ import annotations

from benchmarks.scenario import P50, P99, Group, Scenario

LOOP = "by-hand/latency"
QUICK = "ours/latency-all-quick"

LATENCY = Group(
    "latency",
    "Latency",
    "From before the send in one process until the handler in another, at 200 events per second. By hand: a "
    "thread that blocks in XREADGROUP.",
    fresh=True,
    scenarios=[
        Scenario("p50, by hand: blocking loop", LOOP, P50, LOOP),
        Scenario("p50", "ours/latency", P50, LOOP, "≤ 1.3 x"),
        Scenario("p99, by hand: blocking loop", LOOP, P99, LOOP),
        Scenario("p99", "ours/latency", P99, LOOP, "≤ 2 x"),
        Scenario(
            "p50 of quick ones beside a slow partition", "ours/latency-beside-slow", P50, QUICK, "≤ 1.2 x"
        ),
        Scenario(
            "p99 of quick ones beside a slow partition", "ours/latency-beside-slow", P99, QUICK, "≤ 1.2 x"
        ),
    ],
)
