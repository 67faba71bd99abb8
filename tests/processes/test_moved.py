"""A stream gets other partitions while processes send to it and work on it, and one of them is killed.

Of its three processors one is slow, and one is run by nobody at first.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from moved_app import KEYS, PAUSES
from redis import Redis

SENDERS = (0, 100)
MAX_UNACKED = 20
#: Events that a partition holds.
SIZE = 100


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers write."""
    path = tmp_path / "moved"
    path.touch()
    monkeypatch.setenv("MOVED_LOG", str(path))
    return path


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


async def test_partitions_change_under_load(log: Path, redis: Redis, start: Any, until: Any) -> None:
    for first in SENDERS:
        start("run", "moved_app:sender", MOVED_FIRST=str(first))
    options = ("--processors", "quick,slow")
    workers: list[subprocess.Popen[bytes]] = [start("run", "moved_app:app", *options) for _ in range(3)]
    await until(lambda: log.stat().st_size > 1000)

    command: Any = start("stream", "repartition", "moved_app:ticks", "--to", "16")
    await until(lambda: redis.hexists("runnel:{moved}:ticks:meta", "draining"))
    command.kill()
    workers[0].kill()
    await until(lambda: 2 in layouts(log))
    await until(lambda: not room(redis, "*ticks/2:log"))
    start("run", "moved_app:app")
    command = start("stream", "repartition", "moved_app:ticks", "--to", "16")
    assert await until(lambda: command.poll() is not None)
    assert command.returncode == 0
    assert not list(redis.scan_iter("*ticks:log")), "the former partitions are gone"

    command = start("stream", "repartition", "moved_app:ticks", "--to", "4")
    assert await until(lambda: command.poll() is not None)
    assert command.returncode == 0
    await until(lambda: 3 in layouts(log))
    (log.parent / "stop").touch()
    counts = {first: int(await until(partial(told, log.parent / f"sent-{first}"))) for first in SENDERS}
    await until(lambda: lag(redis) == 0)
    for name in PAUSES:
        assert repeats(log, counts, name) <= 16 * (MAX_UNACKED + 1), "of the one that was killed"
        assert layouts(log, name) == {1, 2, 3}
