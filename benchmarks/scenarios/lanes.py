"""Many keys of a partition at a time, each in order."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.scenario import P99, RATE, SECONDS, Group, Scenario

#: By the number of keys.
BARS = {
    **dict.fromkeys(["1-key", "2-keys", "5-keys", "10-keys"], "≤ 1.35 x"),
    **dict.fromkeys(["20-keys", "50-keys"], ""),
    **dict.fromkeys(["100-keys", "1000-keys", "10000-keys"], "≤ 2 x"),
}


def by_keys() -> Iterator[Scenario]:
    for keys, bar in BARS.items():
        yield Scenario(keys.replace("-", " "), f"ours/lanes-{keys}", SECONDS, f"by-hand/ideal-{keys}", bar)


def beside_channels() -> Iterator[Scenario]:
    for keys in ("10-keys", "1000-keys"):
        hand, title = f"by-hand/channels-{keys}", keys.replace("-", " ")
        yield Scenario(f"by hand: a channel for each of {title}", hand, RATE, hand)
        yield Scenario(f"{title}, next to that", f"ours/lanes-{keys}", RATE, hand, "≥ 0.8 x")


LANES = Group(
    "lanes",
    "Many keys at a time",
    "Seconds for 10,000 events of one partition (2,500 of one key, 5,000 of two) that sleep for 0 to 5 ms "
    "each, in whole milliseconds, with concurrency=100; next to the ideal, which is what the longest key "
    "takes, or all of them, a hundred at a time. By hand: a task with a channel for each key, a hundred at "
    "work, nothing acknowledged. Handlers that never wait: 16 partitions. Beside the key that hangs for a "
    "minute, 50 others get 100 events a second.",
    backlog=True,
    scenarios=[
        *by_keys(),
        *beside_channels(),
        Scenario(
            "handlers that never wait, next to concurrency=1",
            "ours/consume-100-lanes",
            RATE,
            "ours/consume",
            "≥ 0.7 x",
        ),
        Scenario(
            "p99 of other keys beside one that hangs",
            "ours/lanes-beside-one-that-hangs",
            P99,
            "ours/lanes-beside-none",
            "≤ 1.2 x",
        ),
        Scenario(
            "16 partitions, 500 keys, 2,000 events of 50 ms",
            "ours/lanes-partitions",
            SECONDS,
            "by-hand/ideal-partitions",
            "≤ 1.3 x",
        ),
    ],
)
