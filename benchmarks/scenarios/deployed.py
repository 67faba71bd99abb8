"""What a cluster costs."""

from __future__ import annotations

from benchmarks.scenario import P50, P99, RATE, Group, Scenario

DEPLOYED = Group(
    "deployed",
    "A cluster",
    "Three masters next to one server, over TCP, on the same cores. Elsewhere a cluster has more of them.",
    scenarios=[
        Scenario("bulk sends, one server", "ours/deployed-send-server", RATE),
        Scenario(
            "bulk sends, three masters",
            "ours/deployed-send-cluster",
            RATE,
            "ours/deployed-send-server",
            "≥ 0.8 x",
        ),
        Scenario("a backlog, one server", "ours/deployed-consume-server", RATE),
        Scenario(
            "a backlog, three masters",
            "ours/deployed-consume-cluster",
            RATE,
            "ours/deployed-consume-server",
            "≥ 0.8 x",
        ),
        Scenario("p50, one server", "ours/deployed-latency-server", P50),
        Scenario(
            "p50, three masters",
            "ours/deployed-latency-cluster",
            P50,
            "ours/deployed-latency-server",
            "≤ 1.5 x",
        ),
        Scenario("p99, three masters", "ours/deployed-latency-cluster", P99, "ours/deployed-latency-server"),
    ],
)
