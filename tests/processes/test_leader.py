"""The leader as a process: one at a time, and another soon after it was killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from warm import Forked

Leaders = Callable[[], list[int]]


@pytest.fixture
def leaders(log: Path) -> Leaders:
    """Who has led, one after the other."""
    return lambda: [int(pid) for pid, _ in groupby(log.read_text().split())]


@pytest.fixture
def workers(redis: Redis) -> Callable[[], int]:
    """How many stand for it."""

    def count() -> int:
        members: Any = [redis.hgetall(key) for key in redis.scan_iter("*{led}:leader:members")]
        return sum(field.startswith(b"m:") for found in members for field in found)

    return count


async def test_a_leader_that_is_killed_is_followed_within_a_lock_period(
    leaders: Leaders, workers: Any, redis: Redis, start: Any, until: Any
) -> None:
    def told() -> list[bytes]:
        news: Any = [redis.xrange(key) for key in redis.scan_iter("*{led}:leader:control")]
        return [fields[b"changed"] for found in news for _, fields in found]

    first: Forked = start("run", "led_app:app")
    await until(leaders)
    second: Forked = start("run", "led_app:app")
    third: Forked = start("run", "led_app:app")
    await until(lambda: workers() == 3)
    assert len(leaders()) == 1
    first.kill()
    await until(lambda: len(leaders()) == 2)
    assert told()[-1].startswith(b"removed "), "when its seat was over"
    (heir,) = [worker for worker in (second, third) if worker.pid == leaders()[1]]
    heir.terminate()
    await until(lambda: len(leaders()) == 3)
    assert told()[-1].startswith(b"left "), "nobody waited for its seat to be over"
    assert heir.wait() == 0


async def test_a_leader_that_was_frozen_begins_no_run_while_the_next_one_leads(
    leaders: Leaders, workers: Any, log: Path, start: Any, until: Any
) -> None:
    def no_more() -> int:
        return sum(path.read_text().count("leads-no-more") for path in log.parent.glob("process-*.log"))

    for _ in range(2):
        start("run", "led_app:app")
    await until(lambda: leaders() and workers() == 2)
    for freezes in (1, 2):
        frozen = leaders()[-1]
        log.with_name("flown.freeze").touch()
        await until(lambda frozen=frozen: leaders()[-1] != frozen)
        os.kill(frozen, signal.SIGCONT)
        await until(lambda freezes=freezes: no_more() >= freezes)
        assert len(leaders()) == freezes + 1, "those that were due when it woke up"
