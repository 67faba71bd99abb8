"""Contenders that use runnel-trio, with default settings."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

import trio

from benchmarks.workload import APP, PARTITIONS, Contender, Result, chunks, orders, percentiles, rate
from runnel_trio import App, FastJSONSerializer, JSONSerializer, Middleware, Record, Stream


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


class Ping(Record):
    """When it was sent, in nanoseconds of the machine's monotonic clock."""

    sent: int


class PassThrough(Middleware):
    """A link that does nothing."""

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        async for item in parent:
            yield item


def app_at(url: str) -> App:
    return App(APP, redis_url=url, default_partition_count=PARTITIONS)


def order_stream(app: App, *, fast: bool) -> Stream[Order]:
    serializer = FastJSONSerializer() if fast else JSONSerializer()
    return app.stream("orders", Order, partition_by="order_id", serializer=serializer)


def reading_stream(app: App) -> Stream[Reading]:
    return app.stream("readings", Reading, partition_by="order_id")


def fill(url: str, count: int) -> None:
    """A backlog for the consumers, and one of primitive records."""
    app = app_at(url)
    stream, readings = order_stream(app, fast=False), reading_stream(app)

    async def send() -> None:
        for chunk in chunks(orders(Order, count)):
            await stream.send(*chunk)
        for chunk in chunks([Reading(order_id=n % 1000, amount=n, place="here") for n in range(count)]):
            await readings.send(*chunk)

    trio.run(send)


def bulk_send(url: str, count: int, _: int, *, fast: bool) -> Result:
    app = app_at(url)
    stream = order_stream(app, fast=fast)
    records = orders(Order, count)

    async def send() -> Result:
        async with app.session():
            began = time.perf_counter()
            for chunk in chunks(records):
                await stream.send(*chunk)
            return rate(count, began)

    return trio.run(send)


def big_send(url: str, count: int, _: int) -> Result:
    """All of it in one call."""
    app = app_at(url)
    stream = order_stream(app, fast=True)
    records = orders(Order, count)

    async def send() -> Result:
        async with app.session():
            began = time.perf_counter()
            await stream.send(*records)
            return rate(count, began)

    return trio.run(send)


def send_from_many_tasks(url: str, count: int, _: int) -> Result:
    """A thousand tasks, one record at a time each."""
    app = app_at(url)
    stream = order_stream(app, fast=True)
    records = iter(orders(Order, count))

    async def sender() -> None:
        for record in records:
            await stream.send(record)

    async def send() -> Result:
        async with app.session():
            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for _ in range(1000):
                    nursery.start_soon(sender)
            return rate(count, began)

    return trio.run(send)


def send_one_at_a_time(url: str, count: int, _: int) -> Result:
    app = app_at(url)
    stream = order_stream(app, fast=True)
    records = orders(Order, count // 20)

    async def send() -> Result:
        async with app.session():
            began = time.perf_counter()
            for record in records:
                await stream.send(record)
            return rate(len(records), began)

    return trio.run(send)


def consumed(
    app: App,
    stream: Stream[Any],
    count: int,
    body: Callable[[Any, Callable[[int], None]], Awaitable[None]],
    **options: Any,
) -> Result:
    """Run a processor until it has handled so many; the worker's end, which commits them, is timed too."""
    left = count
    done = trio.Event()

    def seen(more: int) -> None:
        nonlocal left
        left -= more
        if left <= 0:
            done.set()

    @app.processor(stream, **options)
    async def processor(events: Any) -> None:
        await body(events, seen)

    async def run() -> Result:
        async with app.session():
            began = time.perf_counter()
            async with app.worker():
                await done.wait()
            return rate(count, began)

    return trio.run(run)


async def each_record(events: Any, seen: Callable[[int], None]) -> None:
    async for _ in events.records():
        seen(1)


async def each_event(events: Any, seen: Callable[[int], None]) -> None:
    async for _ in events:
        seen(1)


async def each_hundred(events: Any, seen: Callable[[int], None]) -> None:
    async for records in events.take(100, within=0.01).records():
        seen(len(records))


def consume(
    url: str, count: int, unique: int, *, body: Any = each_record, fast: bool = True, links: int = 0
) -> Result:
    app = app_at(url)
    stream = order_stream(app, fast=fast)
    options = {"name": f"ours-{unique}", "middleware": [PassThrough() for _ in range(links)]}
    return consumed(app, stream, count, body, **options)


def consume_primitive(url: str, count: int, unique: int) -> Result:
    app = app_at(url)
    return consumed(app, reading_stream(app), count, each_record, name=f"ours-{unique}")


def latency(url: str, count: int, unique: int) -> Result:
    """From before `send` in one process until the handler in another, at 200 events/s."""
    app = app_at(url)
    pings = app.stream(f"pings-{unique}", Ping, partition_by="sent")
    found: list[float] = []
    wanted = count // 60

    @app.processor(pings)
    async def pong(events: Any) -> None:
        async for ping in events.records():
            found.append((time.monotonic_ns() - ping.sent) / 1e9)
            if len(found) == wanted:
                done.set()

    async def run() -> None:
        async with app.worker():
            command = [sys.executable, "-m", "benchmarks.child", "sender-ours", url, str(wanted), str(unique)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL):  # noqa: ASYNC220 (it is waited for below)
                await done.wait()

    done = trio.Event()
    trio.run(run)
    return percentiles(found)


def sender(url: str, count: int, unique: int) -> Result:
    """The other end of `latency`."""
    app = app_at(url)
    pings = app.stream(f"pings-{unique}", Ping, partition_by="sent")

    async def run() -> None:
        async with app.session():
            start = trio.current_time()
            for number in range(count):
                await trio.sleep_until(start + number / 200)
                await pings.send(Ping(sent=time.monotonic_ns()))

    trio.run(run)
    return {}


def idle(url: str, count: int, unique: int) -> Result:
    """The share of a core that a worker takes with nothing to do."""
    app = app_at(url)
    stream = app.stream(f"nothing-{unique}", Ping, partition_by="sent")

    @app.processor(stream)
    async def nothing(events: Any) -> None:
        async for _ in events:
            raise AssertionError("there are no events")

    async def run() -> Result:
        async with app.worker():
            before, began = time.process_time(), trio.current_time()
            await trio.sleep(max(2.0, count / 10_000))
            spent = time.process_time() - before
            return {"core": spent / (trio.current_time() - began)}

    return trio.run(run)


CONTENDERS: dict[str, Contender] = {
    "send-bulk-json": partial(bulk_send, fast=False),
    "send-bulk": partial(bulk_send, fast=True),
    "send-all-at-once": big_send,
    "send-from-1000-tasks": send_from_many_tasks,
    "send-one-by-one": send_one_at_a_time,
    "consume-json": partial(consume, fast=False),
    "consume": consume,
    "consume-take-100": partial(consume, body=each_hundred),
    "consume-raw": partial(consume, body=each_event),
    "consume-2-middlewares": partial(consume, links=2),
    "consume-primitive": consume_primitive,
    "latency": latency,
    "sender-ours": sender,
    "idle": idle,
}
