"""What a second worker process brings, with the server on the same cores."""

from __future__ import annotations

from benchmarks.scenario import RATE, Group, Scenario

WORKERS = Group(
    "workers",
    "Two worker processes",
    "Events per second of one worker and of two, which share the machine with the server.",
    fresh=True,
    scenarios=[
        Scenario("one worker", "ours/one-worker", RATE),
        Scenario("two workers", "ours/two-workers", RATE, "ours/one-worker"),
        Scenario("one worker, 1 ms of CPU for each event", "ours/one-worker-1ms", RATE),
        Scenario(
            "two workers, 1 ms of CPU for each event",
            "ours/two-workers-1ms",
            RATE,
            "ours/one-worker-1ms",
            "≥ 1.8 x",
        ),
    ],
)
