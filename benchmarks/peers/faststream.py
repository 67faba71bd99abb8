"""FastStream: a consumer group on each of 16 streams, with its default acknowledgement policy."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial

from faststream.redis import RedisBroker, StreamSub
from pydantic import BaseModel

from benchmarks.keyed import Clock, long_jobs
from benchmarks.keyed import partition_of as partition_of_job
from benchmarks.workload import PARTITIONS, Contender, Result, chunks, orders, partition_of, rate


class Order(BaseModel):
    """As `workload.Plain`."""

    order_id: int
    created_at: datetime
    amount: int
    item_ids: list[int]


def broker_at(url: str) -> RedisBroker:
    return RedisBroker(url, logger=None)


def name(partition: int, unique: int) -> str:
    return f"faststream-{unique}-{partition}"


async def send(broker: RedisBroker, records: list[Order], unique: int) -> None:
    """In pipelines of a thousand: it has no call that publishes many messages to a stream."""
    for chunk in chunks(records):
        async with (await broker.connect()).pipeline(transaction=False) as pipeline:
            for order in chunk:
                await broker.publish(order, stream=name(partition_of(order), unique), pipeline=pipeline)
            await pipeline.execute()


async def send_each(broker: RedisBroker, records: list[Order], unique: int) -> None:
    for order in records:
        await broker.publish(order, stream=name(partition_of(order), unique))


def sent(url: str, count: int, unique: int, *, way: Callable[..., Awaitable[None]], share: int = 1) -> Result:
    records = orders(Order, count // share)

    async def run() -> Result:
        broker = broker_at(url)
        await broker.connect()
        began = time.perf_counter()
        await way(broker, records, unique)
        found = rate(len(records), began)
        await broker.stop()
        return found

    return asyncio.run(run())


class Counting:
    """Handlers, and an event for the end."""

    def __init__(self, broker: RedisBroker, count: int, unique: int, *, batch: bool) -> None:
        self.left, self.done = count, asyncio.Event()
        for partition in range(PARTITIONS):
            stream = StreamSub(
                name(partition, unique), group="bench", consumer="me", batch=batch, max_records=100
            )
            broker.subscriber(stream=stream)(self.many if batch else self.one)

    async def one(self, order: Order) -> None:
        self.seen(1)

    async def many(self, orders: list[Order]) -> None:
        self.seen(len(orders))

    def seen(self, more: int) -> None:
        self.left -= more
        if self.left <= 0:
            self.done.set()


async def grouped(broker: RedisBroker, unique: int) -> None:
    """Groups that begin at the beginning; a subscriber of a group that is there reads what is new to it."""
    redis = await broker.connect()
    for partition in range(PARTITIONS):
        await redis.xgroup_create(name(partition, unique), "bench", id="0", mkstream=True)


def work(url: str, count: int, unique: int) -> Result:
    """Jobs that wait; one subscriber for each partition, which has one in hand."""
    those = long_jobs(count // 30)
    clock = Clock(len(those))

    async def run() -> Result:
        broker, done = broker_at(url), asyncio.Event()
        redis = await broker.connect()
        for job in those:
            await broker.publish(dataclasses.asdict(job), stream=name(partition_of_job(job), unique))

        async def handle(key: int, ms: int) -> None:
            clock.begin()
            await asyncio.sleep(ms / 1000)
            if clock.end():
                done.set()

        for partition in range(PARTITIONS):
            await redis.xgroup_create(name(partition, unique), "bench", id="0", mkstream=True)
            stream = StreamSub(name(partition, unique), group="bench", consumer="me", max_records=100)
            broker.subscriber(stream=stream)(handle)
        await broker.start()
        await done.wait()
        await broker.stop()
        return clock.found()

    return asyncio.run(run())


def consume(url: str, count: int, unique: int, *, batch: bool = False, share: int = 10) -> Result:
    """From before the broker starts until the last event is handled."""
    records = orders(Order, count // share)

    async def run() -> Result:
        broker = broker_at(url)
        await broker.connect()
        await send(broker, records, unique)
        await grouped(broker, unique)
        counting = Counting(broker, len(records), unique, batch=batch)
        began = time.perf_counter()
        await broker.start()
        await counting.done.wait()
        found = rate(len(records), began)
        await broker.stop()
        return found

    return asyncio.run(run())


CONTENDERS: dict[str, Contender] = {
    "send-bulk": partial(sent, way=send),
    "send-one-by-one": partial(sent, way=send_each, share=20),
    "jobs": work,
    "consume": consume,
    "consume-batches": partial(consume, batch=True, share=1),
}
