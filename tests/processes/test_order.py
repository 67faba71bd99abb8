"""Workers that are killed or frozen: nothing is lost or out of order, and little is repeated."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from flown_log import MAX_UNACKED, check, count, done, lines
from redis import Redis
from warm import Forked


@pytest.mark.parametrize("seed", range(int(os.environ.get("RUNNEL_SOAK", "2"))))
async def test_workers_killed_at_any_moment(
    seed: int, total: int, log: Path, expected: dict[str, Any], start: Any, until: Any, groups: Any
) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        goal = count(log) + chance.randrange(1, total // 5)
        worker: Forked = start("run", "flown_app:app")
        await until(lambda goal=goal: count(log) >= goal)
        worker.kill()
        worker.wait()
        assert not done(groups), "killed in the middle"
    start("run", "flown_app:app")
    await until(lambda: done(groups))
    assert check(log, expected) <= 3 * 16 * MAX_UNACKED


async def test_a_frozen_owner_wakes_up_and_does_no_harm(
    total: int, log: Path, expected: dict[str, Any], start: Any, until: Any, groups: Any
) -> None:
    frozen: Forked = start("run", "flown_app:app")
    await until(lambda: count(log) > total // 10)
    frozen.send_signal(signal.SIGSTOP)
    start("run", "flown_app:app")
    await until(lambda: done(groups))
    before = count(log)
    frozen.send_signal(signal.SIGCONT)
    frozen.terminate()
    assert await until(lambda: frozen.poll() is not None)
    assert frozen.returncode == 0
    late = lines(log)[before:]
    assert len(late) == len({line.partition for line in late}), "no more than the event that was in hand"
    check(log, expected)


async def test_a_lone_worker_that_was_frozen_for_longer_than_its_lease_goes_on(
    total: int, log: Path, expected: dict[str, Any], redis: Redis, start: Any, until: Any, groups: Any
) -> None:
    worker: Forked = start("run", "flown_app:app")
    await until(lambda: count(log) > total // 10)
    worker.send_signal(signal.SIGSTOP)
    await until(lambda: expired(redis))
    assert not done(groups), "frozen in the middle"
    worker.send_signal(signal.SIGCONT)
    await until(lambda: done(groups))
    assert check(log, expected) <= 16 * MAX_UNACKED


def expired(redis: Redis) -> bool:
    """Whether the time of every member is over, by the server's clock."""
    seconds, microseconds = redis.time()
    (members,) = redis.scan_iter("*:members")
    deadlines = [int(v.split()[0]) for k, v in redis.hgetall(members).items() if k.startswith(b"m:")]
    return bool(deadlines) and max(deadlines) < seconds * 1000 + microseconds // 1000


async def test_a_worker_that_is_killed_and_with_it_its_server_goes_on_from_its_directory(
    embedded: str, flights: Path, log: Path, expected: dict[str, Any], start: Any, until: Any
) -> None:
    total = sum(plane["flights"] for plane in expected.values())
    sender = start("sendmany", "flown_app:flights", str(flights))
    assert await until(lambda: sender.poll() is not None)
    worker: Forked = start("run", "flown_app:app")
    await until(lambda: count(log) > total // 3)
    worker.kill()
    worker.wait()
    start("run", "flown_app:app")
    await until(lambda: count(log) >= total and len({(x.partition, x.xid) for x in lines(log)}) == total)
    assert check(log, expected) <= 16 * MAX_UNACKED
