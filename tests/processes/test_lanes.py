"""Fifty keys at a time in real processes, which are killed and frozen: in order, nothing lost, little repeated."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from lanes_app import MAX_UNACKED
from redis import Redis
from warm import Forked

LEASE = "runnel:{lanes:0}:steps:lease:walk"
KEYS, COUNT = 100, 100


@pytest.fixture
async def sent(server: str, start: Any, until: Any, tmp_path: Path) -> None:
    """One event that may hang, and ten thousand of others behind it."""
    file = tmp_path / "steps.jsonl"
    steps = [("hangs", 0), *((f"k{key}", n) for n in range(COUNT) for key in range(KEYS))]
    file.write_text("".join(json.dumps({"key": key, "n": n}) + "\n" for key, n in steps))
    sender: Forked = start("sendmany", "lanes_app:steps", str(file))
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0


def begun(log: Path) -> list[tuple[str, int, int]]:
    lines = [line.split() for line in log.read_text().splitlines()]
    return [(key, int(n), int(pid)) for key, n, pid in lines]


def repeats(log: Path) -> int:
    """Every key's events were begun in order, all of them; how many were begun twice."""
    last: Counter[str] = Counter()
    repeated = 0
    for key, n, _ in begun(log):
        assert n <= last[key], f"{key}: {n} was begun after {last[key] - 1}"
        repeated += n < last[key]
        last[key] = max(last[key], n + 1)
    assert last == {"hangs": 1} | {f"k{key}": COUNT for key in range(KEYS)}
    return repeated


def ahead(redis: Redis) -> int:
    """How many are committed ahead of the one that hangs."""
    field: Any = redis.hget(LEASE, "ahead") or b"- 0"
    return int(field.split()[1])


def is_done(redis: Redis) -> bool:
    (group,) = redis.xinfo_groups("runnel:{lanes:0}:steps:log")  # type: ignore[misc]
    return bool(group["lag"] == 0)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("kill_at", [3000, KEYS * COUNT])
async def test_killed_with_thousands_done_ahead_of_one_that_hangs_a_worker_repeats_only_what_was_not_committed(
    sent: None, log: Path, redis: Redis, start: Any, until: Any, kill_at: int
) -> None:
    worker: Forked = start("run", "lanes_app:app", LANES_HANG="inf")
    await until(lambda: ahead(redis) >= kill_at)
    worker.kill()
    worker.wait()
    kept, found = ahead(redis), len(begun(log)) - 1
    assert 0 <= found - kept <= MAX_UNACKED
    start("run", "lanes_app:app", LANES_HANG="0")
    await until(lambda: is_done(redis))
    assert repeats(log) <= found - kept + 1, "and the one that hangs"


async def test_frozen_for_longer_than_its_lease_a_worker_begins_nothing_more(
    sent: None, log: Path, redis: Redis, start: Any, until: Any
) -> None:
    frozen: Forked = start("run", "lanes_app:app", LANES_HANG="3")
    await until(lambda: ahead(redis) >= 2000)
    frozen.send_signal(signal.SIGSTOP)
    await until(lambda: is_stopped(frozen.pid))
    count = len(begun(log))
    start("run", "lanes_app:app", LANES_HANG="0.5")
    await until(lambda: len(begun(log)) > count + 1000)
    frozen.send_signal(signal.SIGCONT)
    await until(lambda: is_done(redis))
    # One may have been on its way from the look at the clock to the handler when the process was stopped.
    assert len([pid for _, _, pid in begun(log)[count:] if pid == frozen.pid]) <= 1
    assert repeats(log) <= MAX_UNACKED + 1
