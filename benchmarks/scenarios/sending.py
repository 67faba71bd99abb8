"""How fast records are stored."""

from __future__ import annotations

from benchmarks.scenario import RATE, Group, Scenario

SENDING = Group(
    "sending",
    "Sending",
    "Records per second from one process. By hand: XADD in pipelines of 1,000 from the same records, or one "
    "XADD after the other.",
    fresh=True,
    scenarios=[
        Scenario("by hand: XADD pipeline, json", "by-hand/pipeline", RATE, "by-hand/pipeline"),
        Scenario("send(1000 records)", "ours/send-bulk", RATE, "by-hand/pipeline", "≥ 4 x"),
        Scenario("send(all records)", "ours/send-all", RATE, "by-hand/pipeline", "≥ 4 x"),
        Scenario("two tasks, send(1000 records)", "ours/send-two-tasks", RATE, "by-hand/pipeline", "≥ 4 x"),
        Scenario("send(1000), stdlib json", "ours/send-bulk-json", RATE, "by-hand/pipeline", "≥ 2.5 x"),
        Scenario("send(all), stdlib json", "ours/send-all-json", RATE, "by-hand/pipeline", "≥ 2.5 x"),
        Scenario("1000 tasks, one record each", "ours/send-1000-tasks", RATE, "ours/send-bulk", "≥ 0.5 x"),
        Scenario("by hand: one XADD at a time", "by-hand/one-by-one", RATE, "by-hand/one-by-one"),
        Scenario("one awaited send at a time", "ours/send-one-by-one", RATE, "by-hand/one-by-one", "≥ 0.6 x"),
    ],
)
