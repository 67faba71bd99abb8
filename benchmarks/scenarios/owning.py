"""What it costs to own partitions, and to start."""

from __future__ import annotations

from benchmarks.scenario import CORE, HANDLED, PER_PARTITION, RATE, SECONDS, STEADY, Group, Scenario

OWNING = Group(
    "owning",
    "Partitions and the start",
    "What partitions cost a worker that owns them all, and how long a worker needs until its first event. "
    "For those that consume, the garbage collector is set as `runnel-trio run` does (see performance).",
    backlog=True,
    scenarios=[
        Scenario("idle, 16 partitions", "ours/idle-16", CORE, bar="< 0.3 %"),
        Scenario("idle, 1,024 partitions", "ours/idle-1024", CORE, bar="< 1 %"),
        Scenario("memory of an owned idle partition", "ours/memory-4096", PER_PARTITION, bar="≤ 12 KiB"),
        Scenario("4,096 partitions in one worker", "ours/memory-4096", HANDLED, bar="≥ 100 %"),
        Scenario(
            "consume, 1,024 partitions against 16", "ours/consume-1024", STEADY, "ours/consume-16", "≥ 0.8 x"
        ),
        Scenario("the same with the time to join and to leave", "ours/consume-1024", RATE, "ours/consume-16"),
        Scenario('python -c "import trio, redis, cattrs"', "by-hand/imports", SECONDS),
        Scenario(
            "start to first event (ratio: less 0.3 s)",
            "ours/first-event",
            SECONDS,
            "by-hand/imports",
            "≤ 1.5 x",
            beyond=0.3,
        ),
    ],
)
