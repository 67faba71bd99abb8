"""The leader as a process: one at a time, and another soon after it was killed."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

from redis import Redis
from warm import Forked


async def test_a_leader_that_is_killed_is_followed_within_a_lock_period(
    log: Path, redis: Redis, start: Any, until: Any
) -> None:
    def leaders() -> list[int]:
        return [int(pid) for pid, _ in groupby(log.read_text().split())]

    def workers() -> int:
        members: Any = [redis.hgetall(key) for key in redis.scan_iter("*{led}:leader:members")]
        return sum(field.startswith(b"m:") for found in members for field in found)

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
