"""Four workers under a supervisor, over the flights: one is killed, all are replaced under load."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from flown_log import MAX_UNACKED, check, count, done, members
from redis import Redis
from warm import Forked

Supervisor = Forked

#: Seconds of a lease. Handing over takes one commit, one release, one message to the other and one acquire: some
#: 20 ms, and much more on a machine that is busy with other things. A partition that is left to expire, as after a
#: crash, has no owner for at least so long.
EXPIRY = 20.0


def settled(redis: Redis, *gone: int) -> set[int]:
    """The processes of four members, others than these, that own everything evenly; empty before that."""
    found = members(redis)
    owners = [redis.hget(key, "owner") for key in redis.scan_iter("*:lease:written_down")]
    if list(found.values()) != [4] * 4 or found.keys() & set(gone) or len(list(filter(None, owners))) != 16:
        return set()
    return set(found)


async def stopped(supervisor: Supervisor, until: Any) -> None:
    supervisor.terminate()
    assert await until(lambda: supervisor.poll() is not None)
    assert supervisor.returncode == 0


async def test_a_worker_that_is_killed_is_back_and_every_event_is_handled_in_order(
    total: int, log: Path, expected: dict[str, Any], redis: Redis, start: Any, until: Any, groups: Any
) -> None:
    supervisor: Supervisor = start("run", "flown_app:app", "--workers=4", FLOWN_PAUSE="0.02")
    before = await until(lambda: settled(redis))
    await until(lambda: count(log) > total // 10)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    assert not done(groups), "in the middle of it"
    after = await until(lambda: settled(redis, killed))
    assert len(after & before) == 3
    await until(lambda: done(groups))
    await stopped(supervisor, until)
    assert check(log, expected) <= 4 * MAX_UNACKED, "what one of them can have left unacknowledged"


class Watch:
    """Looks at all leases again and again."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.longest: dict[bytes, float] = {}
        self._owned: dict[bytes, float] = {}
        self._keys: list[bytes] = []

    async def run(self) -> None:
        self._keys = sorted(self.redis.scan_iter("*:lease:written_down"))
        while True:
            began = trio.current_time()
            await trio.to_thread.run_sync(self.look, began)
            await trio.sleep(0.005)

    def look(self, began: float) -> None:
        with self.redis.pipeline(transaction=False) as pipeline:
            for key in self._keys:
                pipeline.hget(key, "owner")
            owners = pipeline.execute()
        for key, owner in zip(self._keys, owners, strict=True):
            if owner or key not in self._owned:
                # From a look at which it was owned to the next such: no shorter than it was without an owner.
                gap = began - self._owned.get(key, began)
                self.longest[key] = max(gap, self.longest.get(key, 0.0))
                self._owned[key] = began


@asynccontextmanager
async def watched(redis: Redis) -> AsyncIterator[Watch]:
    watch = Watch(redis)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        yield watch
        nursery.cancel_scope.cancel()
    watch.look(trio.current_time())


async def test_all_are_replaced_under_load_and_nothing_is_lost_repeated_or_left_alone(
    feed: Any, log: Path, expected: dict[str, Any], redis: Redis, start: Any, until: Any, groups: Any
) -> None:
    total = sum(plane["flights"] for plane in expected.values())
    pace = {"FLOWN_PAUSE": "0.02", "FLOWN_EXPIRY": str(EXPIRY)}
    supervisor: Supervisor = start("run", "flown_app:app", "--workers=4", **pace)
    before = await until(lambda: settled(redis))
    async with trio.open_nursery() as nursery:
        rolled = trio.Event()
        nursery.start_soon(feed, rolled)
        await until(lambda: count(log) > total // 20)
        async with watched(redis) as watch:
            supervisor.send_signal(signal.SIGHUP)
            after = await until(lambda: settled(redis, *before))
        assert count(log) < total, "in the middle of it"
        rolled.set()
    assert len(watch.longest) == 16
    print("longest without an owner:", f"{max(watch.longest.values()):.3f} s")
    assert max(watch.longest.values()) < EXPIRY
    await until(lambda: count(log) >= total and done(groups))
    assert settled(redis) == after
    await stopped(supervisor, until)
    assert check(log, expected) == 0
    assert count(log) == total


async def test_a_supervisor_that_is_killed_ends_its_workers_and_they_give_up_what_they_own(
    total: int, log: Path, expected: dict[str, Any], redis: Redis, start: Any, until: Any, groups: Any
) -> None:
    supervisor: Supervisor = start("run", "flown_app:app", "--workers=4")
    first = await until(lambda: settled(redis))
    await until(lambda: count(log) > total // 10)
    supervisor.kill()
    supervisor.wait()
    await until(lambda: not any(redis.hgetall(key).get(b"owner") for key in redis.scan_iter("*:lease:*")))
    other: Supervisor = start("run", "flown_app:app", "--workers=4")
    assert await until(lambda: settled(redis, *first))
    await until(lambda: done(groups))
    await stopped(other, until)
    assert check(log, expected) == 0, "they ended gracefully"
