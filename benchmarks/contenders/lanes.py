"""Many keys of a partition at a time, by runnel-trio."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import trio

from benchmarks.contenders.latency import answered
from benchmarks.contenders.ours import app_at, store
from benchmarks.keyed import LANES, Clock, Job, jobs, long_jobs
from benchmarks.workload import PARTITIONS, Contender, Result, percentiles
from runnel_trio import App, FastJSONSerializer, Record, Stream

#: Of the keys beside one that hangs: how many, how often one of them comes in a second, and what it takes.
OTHERS, PER_SECOND, PAUSE = 50, 100, 0.005


class Work(Record):
    """As `keyed.Job`."""

    key: int
    ms: int


class Call(Record):
    """When it was sent, in nanoseconds of the machine's monotonic clock; key 0 hangs if it is to."""

    key: int
    sent: int
    hangs: bool = False


def handled(url: str, those: Sequence[Job], unique: int, partitions: int, concurrency: int = LANES) -> Result:
    """From the first job in hand until the last one is done."""
    app = app_at(url)
    stream = app.stream(
        f"jobs-{unique}", Work, "key", partition_count=partitions, hasher=int, serializer=FastJSONSerializer()
    )
    clock, done = Clock(len(those)), trio.Event()

    @app.processor(stream, concurrency=concurrency)
    async def work(events: Any) -> None:
        async for job in events.records():
            clock.begin()
            await trio.sleep(job.ms / 1000)
            if clock.end():
                done.set()

    async def run() -> Result:
        async with app.session():
            await store(stream, [Work(key=job.key, ms=job.ms) for job in those])
            async with app.worker():
                await done.wait()
            return clock.found()

    return trio.run(run)


def short(url: str, count: int, unique: int, *, keys: int, share: int = 6) -> Result:
    """In one partition."""
    return handled(url, jobs(count // share, keys), unique, partitions=1)


def long(url: str, count: int, unique: int, *, concurrency: int = LANES) -> Result:
    """In many."""
    return handled(url, long_jobs(count // 30), unique, PARTITIONS, concurrency)


def calls_of(app: App, unique: int) -> Stream[Call]:
    return app.stream(f"calls-{unique}", Call, "key", partition_count=1)


def beside(url: str, count: int, unique: int, *, hangs: bool) -> Result:
    """Of all keys but the first, whose event hangs from the beginning to the end: for a minute."""
    app = app_at(url)
    calls = calls_of(app, unique)
    latencies, done, wanted = list[float](), trio.Event(), count // 10

    @app.processor(calls, concurrency=LANES, grace_period=0.1)
    async def answer(events: Any) -> None:
        async for call in events.records():
            if call.hangs:
                await trio.sleep(math.inf)
            latencies.append((time.monotonic_ns() - call.sent) / 1e9)
            await trio.sleep(PAUSE)
            if len(latencies) == wanted:
                done.set()

    trio.run(answered, app, f"ours/caller{'-that-hangs' if hangs else ''}", (url, wanted, unique), done)
    return percentiles(latencies)


def call(url: str, count: int, unique: int, *, hangs: bool) -> Result:
    """The other end."""
    app = app_at(url)
    calls = calls_of(app, unique)

    async def run() -> None:
        async with app.session():
            if hangs:
                await calls.send(Call(key=0, sent=0, hangs=True))
            start = trio.current_time()
            for number in range(count):
                await trio.sleep_until(start + number / PER_SECOND)
                await calls.send(Call(key=1 + number % OTHERS, sent=time.monotonic_ns()))

    trio.run(run)
    return {}


CONTENDERS: dict[str, Contender] = {
    "lanes-1-key": partial(short, keys=1, share=24),
    "lanes-2-keys": partial(short, keys=2, share=12),
    **{f"lanes-{keys}-keys": partial(short, keys=keys) for keys in (5, 10, 20, 50, 100, 1000, 10_000)},
    "lanes-partitions": long,
    "lanes-off": partial(long, concurrency=1),
    "lanes-beside-none": partial(beside, hangs=False),
    "lanes-beside-one-that-hangs": partial(beside, hangs=True),
    "caller": partial(call, hangs=False),
    "caller-that-hangs": partial(call, hangs=True),
}
