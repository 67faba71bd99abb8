"""What our contenders have in common: the app, its records and streams, and a processor that counts."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import trio

from benchmarks.workload import APP, PARTITIONS, Result, chunks, orders, rate
from runnel_trio import App, FastJSONSerializer, JSONSerializer, Record, Stream


class Order(Record):
    """As `workload.Plain`."""

    order_id: int
    created_at: datetime
    amount: int
    item_ids: list[int]


class Reading(Record, primitive=True):
    """A record whose fields are stored as they are."""

    order_id: int
    amount: int
    place: str


def app_at(url: str) -> App:
    return App(APP, redis_url=url)


def order_stream(app: App, name: str = "orders", *, fast: bool = True, **options: Any) -> Stream[Order]:
    serializer = FastJSONSerializer() if fast else JSONSerializer()
    options = {"partition_count": PARTITIONS, **options}
    return app.stream(name, Order, partition_by="order_id", serializer=serializer, **options)


def reading_stream(app: App) -> Stream[Reading]:
    return app.stream("readings", Reading, partition_by="order_id", partition_count=PARTITIONS)


async def store(stream: Stream[Any], records: list[Any]) -> None:
    """In calls of a thousand."""
    for chunk in chunks(records):
        await stream.send(*chunk)


def fill(url: str, count: int) -> None:
    """A backlog for the consumers, and one of primitive records."""
    app = app_at(url)
    readings = [Reading(order_id=number % 1000, amount=number, place="here") for number in range(count)]

    async def send() -> None:
        await store(order_stream(app, fast=False), orders(Order, count))
        await store(reading_stream(app), readings)

    trio.run(send)


#: What a processor runs: over its events, telling how many it has seen.
Body = Callable[[Any, Callable[[int], None]], Awaitable[None]]


async def each_record(events: Any, seen: Callable[[int], None]) -> None:
    async for _ in events.records():
        seen(1)


async def each_event(events: Any, seen: Callable[[int], None]) -> None:
    async for _ in events:
        seen(1)


async def each_hundred(events: Any, seen: Callable[[int], None]) -> None:
    async for records in events.take(100, within=0.01).records():
        seen(len(records))


@dataclasses.dataclass
class Counter:
    """How many are left, and an event for the end."""

    left: int
    done: trio.Event = dataclasses.field(default_factory=trio.Event)

    def seen(self, more: int) -> None:
        self.left -= more
        if self.left <= 0:
            self.done.set()


def counting(app: App, stream: Stream[Any], count: int, body: Body = each_record, **options: Any) -> Counter:
    """Declare a processor that is to handle so many."""
    counter = Counter(count)

    @app.processor(stream, **options)
    async def processor(events: Any) -> None:
        await body(events, counter.seen)

    return counter


def consumed(app: App, stream: Stream[Any], count: int, body: Body = each_record, **options: Any) -> Result:
    """Run a processor until it has handled so many; the worker's end, which commits them, is timed too.

    "steady" is the rate from when the worker has its partitions until all is handled.
    """
    counter = counting(app, stream, count, body, **options)

    async def run() -> Result:
        async with app.session():
            began = time.perf_counter()
            async with app.worker():
                left, joined = counter.left, time.perf_counter()
                await counter.done.wait()
                handled = time.perf_counter()
            found = rate(count, began)
            found["steady"] = left / (handled - joined) if left > 0 else found["rate"]
            return found

    return trio.run(run)
