"""Records are sent."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio

from benchmarks.contenders.ours import Order, app_at, order_stream, store
from benchmarks.workload import Contender, Result, orders, rate
from runnel_trio import Stream

#: A way to send records.
Way = Callable[[Stream[Order], list[Order]], Awaitable[None]]


def sent(url: str, count: int, _: int, *, way: Way, fast: bool = True, share: int = 1) -> Result:
    """Send them, or one in ``share``, and say how fast."""
    app = app_at(url)
    stream = order_stream(app, fast=fast)
    records = orders(Order, count // share)

    async def run() -> Result:
        async with app.session():
            began = time.perf_counter()
            await way(stream, records)
            return rate(len(records), began)

    return trio.run(run)


async def all_at_once(stream: Stream[Order], records: list[Order]) -> None:
    await stream.send(*records)


async def one_at_a_time(stream: Stream[Order], records: list[Order]) -> None:
    for record in records:
        await stream.send(record)


async def from_two_tasks(stream: Stream[Order], records: list[Order]) -> None:
    """Calls of a thousand from each."""
    half = len(records) // 2
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store, stream, records[:half])
        nursery.start_soon(store, stream, records[half:])


async def from_many_tasks(stream: Stream[Order], records: list[Order]) -> None:
    """A thousand tasks, one record at a time each."""
    left = iter(records)

    async def sender() -> None:
        for record in left:
            await stream.send(record)

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(sender)


def _sent(way: Way, **options: Any) -> Contender:
    return partial(sent, way=way, **options)


CONTENDERS: dict[str, Contender] = {
    "send-bulk": _sent(store),
    "send-bulk-json": _sent(store, fast=False),
    "send-all": _sent(all_at_once),
    "send-all-json": _sent(all_at_once, fast=False),
    "send-two-tasks": _sent(from_two_tasks),
    "send-1000-tasks": _sent(from_many_tasks),
    "send-one-by-one": _sent(one_at_a_time, share=20),
}
