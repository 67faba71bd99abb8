"""What the workers of `moved_app` have written down, and what the server says of their partitions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from moved_app import KEYS, SIZE
from redis import Redis

__all__ = ["behind", "lag", "layouts", "repeats", "room", "told"]


def repeats(log: Path, counts: dict[int, int], name: str) -> int:
    """Every key's events are there, in order, for a processor; how many were handled twice."""
    last: Counter[int] = Counter()
    repeated = 0
    for line in log.read_text().splitlines():
        processor, *numbers = line.split()
        key, n, _ = map(int, numbers)
        if processor == name:
            assert n <= last[key] + 1, f"{name}: key {key}: {n} was handled after {last[key]}"
            repeated += n <= last[key]
            last[key] = max(last[key], n)
    assert last == {first + key: count for first, count in counts.items() for key in range(KEYS)}
    return repeated


def layouts(log: Path, name: str = "quick") -> set[int]:
    lines = [line.split() for line in log.read_text().splitlines()]
    return {int(line[3]) for line in lines if line[0] == name}


def told(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def lag(redis: Redis) -> int:
    """In the last partitions."""
    keys: Any = redis.scan_iter("*/3:log")
    groups: Any = [group for key in keys for group in redis.xinfo_groups(key)]
    return sum(group["lag"] for group in groups)


def room(redis: Redis, logs: str) -> int:
    """Of the fullest of these partitions."""
    return min(SIZE - redis.xlen(key) for key in redis.scan_iter(logs))


def behind(redis: Redis) -> int:
    """How many entries some group has not acknowledged, in all partitions that there are."""
    behind = 0
    for key in redis.scan_iter("runnel:{moved:*}*:log"):
        last: Any = redis.xinfo_stream(key)
        groups: Any = redis.xinfo_groups(key)
        behind += sum(
            last["length"] and group["last-delivered-id"] != last["last-generated-id"] for group in groups
        )
    return behind
