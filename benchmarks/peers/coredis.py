"""coredis on Trio: its group consumer over 16 streams, which buffers a hundred entries of each."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from coredis import Redis
from coredis.patterns.streams import GroupConsumer

from benchmarks.peers import with_user
from benchmarks.workload import (
    PARTITIONS,
    Contender,
    Plain,
    Result,
    chunks,
    orders,
    partition_of,
    rate,
    written,
)


def name(partition: int, unique: int) -> str:
    return f"coredis-{unique}-{partition}"


async def send(redis: Any, records: list[Plain], unique: int) -> None:
    """In pipelines of a thousand."""
    for chunk in chunks(records):
        async with redis.pipeline(transaction=False) as pipeline:
            for order in chunk:
                pipeline.xadd(name(partition_of(order), unique), {"data": written(order)})


async def send_each(redis: Any, records: list[Plain], unique: int) -> None:
    for order in records:
        await redis.xadd(name(partition_of(order), unique), {"data": written(order)})


def sent(url: str, count: int, unique: int, *, way: Callable[..., Awaitable[None]], share: int = 1) -> Result:
    records = orders(Plain, count // share)

    async def run() -> Result:
        async with Redis.from_url(with_user(url)) as redis:
            await redis.ping()
            began = time.perf_counter()
            await way(redis, records, unique)
            return rate(len(records), began)

    return trio.run(run)


async def acknowledge(redis: Any, waiting: dict[str, list[Any]]) -> None:
    for stream, xids in waiting.items():
        await redis.xack(stream, "bench", xids)
    waiting.clear()


async def handle(redis: Any, consumer: Any, count: int, each: int) -> None:
    """So many entries, with acknowledgements after ``each`` of them."""
    waiting: dict[str, list[Any]] = {}
    for number in range(1, count + 1):
        stream, entry = await anext(consumer)
        json.loads(entry.field_values[b"data"])
        waiting.setdefault(stream, []).append(entry.identifier)
        if number % each == 0 or number == count:
            await acknowledge(redis, waiting)


def consume(url: str, count: int, unique: int, *, each: int = 1, share: int = 10) -> Result:
    records = orders(Plain, count // share)
    streams = [name(partition, unique) for partition in range(PARTITIONS)]

    async def run() -> Result:
        async with Redis.from_url(with_user(url)) as redis:
            await send(redis, records, unique)
            for stream in streams:
                await redis.xgroup_create(stream, "bench", "0", mkstream=True)
            began = time.perf_counter()
            consumer: Any = GroupConsumer(redis, streams, "bench", "me", buffer_size=100, timeout=1000)
            async with consumer:
                await handle(redis, consumer, len(records), each)
                return rate(len(records), began)

    return trio.run(run)


CONTENDERS: dict[str, Contender] = {
    "send-bulk": partial(sent, way=send),
    "send-one-by-one": partial(sent, way=send_each, share=20),
    "consume": consume,
    "consume-per-100": partial(consume, each=100, share=1),
}
