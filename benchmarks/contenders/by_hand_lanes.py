"""Many keys at a time as one writes it with Trio alone; and what the jobs take when nothing else does."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import trio
from redis import Redis

from benchmarks.keyed import LANES, Clock, Job, ideal, jobs, long_jobs, partition_of, written
from benchmarks.workload import PARTITIONS, Contender, Result


class Keys:
    """A task with a channel for each key; a hundred of them work at a time."""

    def __init__(self, count: int) -> None:
        self.clock, self.done = Clock(count), trio.Event()
        self.limit = trio.CapacityLimiter(LANES)
        self.channels: dict[int, trio.MemorySendChannel[Job]] = {}

    def hand(self, job: Job, nursery: trio.Nursery) -> None:
        if job.key not in self.channels:
            self.channels[job.key], receive = trio.open_memory_channel[Job](math.inf)
            nursery.start_soon(self.work, receive)
        self.channels[job.key].send_nowait(job)

    async def work(self, receive: trio.MemoryReceiveChannel[Job]) -> None:
        async for job in receive:
            async with self.limit:
                self.clock.begin()
                await trio.sleep(job.ms / 1000)
                if self.clock.end():
                    self.done.set()


def in_turn(url: str, count: int, unique: int, *, keys: int) -> Result:
    """XREAD in a thread, json, nothing acknowledged."""
    redis: Any = Redis.from_url(url)
    log, those = f"by-hand-jobs-{unique}", jobs(count // 6, keys)
    batch = redis.pipeline(transaction=False)
    for job in those:
        batch.xadd(log, {"data": written(job)})
    batch.execute()
    working: Keys

    async def read(nursery: trio.Nursery) -> None:
        cursor: Any = "0"
        while True:
            found = await trio.to_thread.run_sync(partial(redis.xread, {log: cursor}, count=1000, block=100))
            for _, entries in found:
                for _, fields in entries:
                    working.hand(Job(**json.loads(fields[b"data"])), nursery)
                cursor = entries[-1][0]

    async def run() -> Result:
        nonlocal working
        working = Keys(len(those))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, nursery)
            await working.done.wait()
            nursery.cancel_scope.cancel()
        return working.clock.found()

    return trio.run(run)


def least(_: str, count: int, unique: int, *, keys: int, share: int = 6) -> Result:
    return {"seconds": ideal(jobs(count // share, keys))}


def least_of_partitions(_: str, count: int, unique: int) -> Result:
    those = long_jobs(count // 30)
    parts = [[job for job in those if partition_of(job) == number] for number in range(PARTITIONS)]
    return {"seconds": max(map(ideal, filter(None, parts)))}


CONTENDERS: dict[str, Contender] = {
    "ideal-1-key": partial(least, keys=1, share=24),
    "ideal-2-keys": partial(least, keys=2, share=12),
    **{f"ideal-{keys}-keys": partial(least, keys=keys) for keys in (5, 10, 20, 50, 100, 1000, 10_000)},
    "ideal-partitions": least_of_partitions,
    "channels-10-keys": partial(in_turn, keys=10),
    "channels-1000-keys": partial(in_turn, keys=1000),
}
