"""Four workers share the flights while workers are killed, frozen, added and replaced."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import trio
from flown_log import MAX_UNACKED, check, count, done, members
from redis import Redis
from warm import Forked

Worker = Forked


def shared(redis: Redis, *workers: Worker) -> bool:
    """Whether exactly these own everything, evenly."""
    found = members(redis)
    return found.keys() == {x.pid for x in workers} and max(found.values()) - min(found.values()) <= 1


async def test_one_is_killed_one_is_frozen_one_is_added(
    total: int, log: Path, expected: dict[str, Any], redis: Redis, start: Any, until: Any, groups: Any
) -> None:
    workers: list[Worker] = [start("run", "flown_app:app") for _ in range(4)]
    await until(lambda: shared(redis, *workers))
    killed, frozen, *others = workers
    await until(lambda: count(log) > total // 10)
    killed.kill()
    killed.wait()
    await until(lambda: count(log) > total * 2 // 10)
    frozen.send_signal(signal.SIGSTOP)
    await until(lambda: shared(redis, *others))
    assert not done(groups), "in the middle of it"
    others.append(start("run", "flown_app:app"))
    await until(lambda: shared(redis, *others))
    frozen.send_signal(signal.SIGCONT)
    await until(lambda: shared(redis, *others, frozen))
    await until(lambda: done(groups))
    assert check(log, expected) <= 2 * 8 * MAX_UNACKED, "what two of them can have left unacknowledged"


async def test_a_rolling_restart_under_load_loses_and_repeats_nothing(
    feed: Any, log: Path, expected: dict[str, Any], redis: Redis, start: Any, until: Any, groups: Any
) -> None:
    total = sum(plane["flights"] for plane in expected.values())
    workers: list[Worker] = [start("run", "flown_app:app", FLOWN_PAUSE="0.02") for _ in range(4)]
    await until(lambda: shared(redis, *workers))
    async with trio.open_nursery() as nursery:
        replaced = trio.Event()
        nursery.start_soon(feed, replaced)
        for turn in range(4):
            await until(lambda turn=turn: count(log) > total * (turn + 1) // 20)
            old = workers.pop(0)
            old.terminate()
            assert await until(lambda old=old: old.poll() is not None)
            assert old.returncode == 0
            workers.append(start("run", "flown_app:app", FLOWN_PAUSE="0.02"))
            await until(lambda: shared(redis, *workers))
        assert count(log) < total, "in the middle of it"
        replaced.set()
    await until(lambda: count(log) >= total and done(groups))
    assert check(log, expected) == 0
    assert count(log) == total


async def test_a_handler_that_blocks_trio_for_longer_than_a_lease_keeps_its_partitions(
    log: Path, server: str, redis: Redis, start: Any, until: Any, tmp_path: Path
) -> None:
    first: Worker = start("run", "blocking_app:app")
    second: Worker = start("run", "blocking_app:app")
    await until(lambda: len(list(redis.scan_iter("*blocking}:members"))) == 1)
    (key,) = redis.scan_iter("*blocking}:members")
    await until(lambda: sum(field.startswith(b"m:") for field in redis.hgetall(key)) == 2)
    generation = redis.hget(key, "generation")
    for number in range(4):
        sender: Worker = start("send", "blocking_app:blows", json.dumps({"key": str(number), "seconds": 2.0}))
        assert await until(lambda sender=sender: sender.poll() is not None)
        assert sender.returncode == 0
    began = time.monotonic()
    await until(lambda: len(log.read_text().splitlines()) == 4)
    assert time.monotonic() - began > 1, "it was blocked for longer than a lease"
    assert redis.hget(key, "generation") == generation, "nobody was taken for dead"
    told = "".join((tmp_path / f"process-{n}.log").read_text() for n in range(2))
    assert "stalled" in told
    assert "time.sleep(blow.seconds)" in told, "the culprit's line"
    assert {first.poll(), second.poll()} == {None}
