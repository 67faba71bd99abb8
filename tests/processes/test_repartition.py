"""A stream gets other partitions while processes send to it and work on it, and one of them is killed.

Of its three processors one is slow, and one is run by nobody at first.
"""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import moved_log
import pytest
from moved_app import MAX_UNACKED, PAUSES
from moved_log import layouts
from redis import Redis

SENDERS = (0, 100)


@pytest.mark.parametrize("lanes", [1, MAX_UNACKED])
async def test_partitions_change_under_load(
    moved: Path, redis: Redis, start: Any, until: Any, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    monkeypatch.setenv("RUNNEL_DEFAULT_CONCURRENCY", str(lanes))
    for first in SENDERS:
        start("run", "moved_app:sender", MOVED_FIRST=str(first))
    options = ("--processors", "quick,slow")
    workers: list[subprocess.Popen[bytes]] = [start("run", "moved_app:app", *options) for _ in range(3)]
    await until(lambda: moved.stat().st_size > 1000)

    command: Any = start("stream", "repartition", "moved_app:ticks", "--to", "16")
    await until(lambda: redis.hexists("runnel:{moved}:ticks:meta", "draining"))
    command.kill()
    workers[0].kill()
    await until(lambda: 2 in layouts(moved))
    await until(lambda: not moved_log.room(redis, "*ticks/2:log"))
    start("run", "moved_app:app")
    command = start("stream", "repartition", "moved_app:ticks", "--to", "16")
    assert await until(lambda: command.poll() is not None)
    assert command.returncode == 0
    assert not list(redis.scan_iter("*ticks:log")), "the former partitions are gone"

    command = start("stream", "repartition", "moved_app:ticks", "--to", "4")
    assert await until(lambda: command.poll() is not None)
    assert command.returncode == 0
    await until(lambda: 3 in layouts(moved))
    (moved.parent / "stop").touch()
    counts = {
        first: int(await until(partial(moved_log.told, moved.parent / f"sent-{first}"))) for first in SENDERS
    }
    await until(lambda: moved_log.lag(redis) == 0)
    for name in PAUSES:
        assert moved_log.repeats(moved, counts, name) <= 16 * (MAX_UNACKED + 1), "of the one that was killed"
        assert layouts(moved, name) == {1, 2, 3}
