"""How fast a backlog is handled."""

from __future__ import annotations

from benchmarks.scenario import MEMORY, RATE, Group, Scenario

LOOP = "by-hand/group"

CONSUMING = Group(
    "consuming",
    "Consuming",
    "Events per second of one process that works off a backlog, acknowledgements included.",
    backlog=True,
    scenarios=[
        Scenario("by hand: XREADGROUP 100, json, XACK", LOOP, RATE, LOOP),
        Scenario("by hand: XREAD, msgspec, no acks", "by-hand/cursor", RATE, LOOP),
        Scenario("records(), stdlib json", "ours/consume-json", RATE, LOOP, "≥ 0.9 x"),
        Scenario("records()", "ours/consume", RATE, LOOP, "≥ 1.8 x"),
        Scenario("records(), next to the bare XREAD", "ours/consume", RATE, "by-hand/cursor", "≥ 0.4 x"),
        Scenario("take(100).records()", "ours/consume-take-100", RATE, LOOP, "≥ 2.2 x"),
        Scenario("raw events", "ours/consume-raw", RATE, LOOP, "≥ 2.5 x"),
        Scenario("primitive records", "ours/consume-primitive", RATE, LOOP),
        Scenario("one more middleware", "ours/consume-1-link", RATE, "ours/consume", "≥ 0.94 x"),
        Scenario("the second one", "ours/consume-2-links", RATE, "ours/consume-1-link", "≥ 0.94 x"),
        Scenario("the third one", "ours/consume-3-links", RATE, "ours/consume-2-links", "≥ 0.94 x"),
        Scenario("records(), metrics on", "ours/consume-metrics", RATE, "ours/consume", "≥ 0.97 x"),
        Scenario(
            "take(100), metrics on", "ours/consume-take-metrics", RATE, "ours/consume-take-100", "≥ 0.97 x"
        ),
        Scenario("peak memory, by hand", LOOP, MEMORY),
        Scenario("peak memory, records()", "ours/consume", MEMORY),
    ],
)

ACKNOWLEDGING = Group(
    "acknowledging",
    "An acknowledgement for each event",
    "Each event is acknowledged on the server before the next one of its partition is handled; 16 "
    "partitions.",
    backlog=True,
    scenarios=[
        Scenario("by hand: one XACK for each event", "by-hand/group-each", RATE, "by-hand/group-each"),
        Scenario("max_unacked=1", "ours/consume-unacked-1", RATE, "by-hand/group-each", "≥ 1.5 x"),
    ],
)
