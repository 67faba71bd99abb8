"""runnel, the library of 2020 whose interface runnel-trio has, with its default settings.

Its client passes ``loop`` to asyncio, which knows no such argument since Python 3.10: it is left out here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Any

from runnel import App, Record
from runnel.worker import Worker

from benchmarks.peers import with_user
from benchmarks.workload import Contender, Result, chunks, orders, rate


class Order(Record):
    """As `workload.Plain`."""

    order_id: int
    created_at: datetime
    amount: int
    item_ids: list[int]


def without_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of asyncio, as it was."""

    def called(*args: Any, loop: Any = None, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return called


for place in ("open_unix_connection", "wait_for", "sleep"):
    setattr(asyncio, place, without_loop(getattr(asyncio, place)))


def app_at(url: str) -> Any:
    return App("runnel", redis_url=with_user(url), log_level="critical")


async def send(stream: Any, records: list[Order]) -> None:
    """In calls of a thousand."""
    for chunk in chunks(records):
        await stream.send(*chunk)


async def send_each(stream: Any, records: list[Order]) -> None:
    for order in records:
        await stream.send(order)


def sent(url: str, count: int, unique: int, *, way: Callable[..., Awaitable[None]], share: int) -> Result:
    records = orders(Order, count // share)

    async def run() -> Result:
        stream = app_at(url).stream(f"orders-{unique}", record=Order, partition_by="order_id")
        began = time.perf_counter()
        await way(stream, records)
        return rate(len(records), began)

    return asyncio.run(run())


def consume(url: str, count: int, unique: int) -> Result:
    """From its first event on: before that it waits for two seconds whether others join."""
    records = orders(Order, count // 20)

    async def run() -> Result:
        app = app_at(url)
        stream = app.stream(f"orders-{unique}", record=Order, partition_by="order_id")
        await send(stream, records)
        left, began, done = len(records), 0.0, asyncio.Event()

        @app.processor(stream)
        async def printer(events: Any) -> None:
            nonlocal left, began
            async for _ in events.records():
                began = began or time.perf_counter()
                left -= 1
                if left <= 0:
                    done.set()

        working = asyncio.create_task(Worker(app)._start())  # noqa: SLF001 (`start` makes a loop of its own)
        await done.wait()
        found = rate(len(records), began)
        working.cancel()
        return found

    return asyncio.run(run())


CONTENDERS: dict[str, Contender] = {
    "send-bulk": partial(sent, way=send, share=1),
    "send-one-by-one": partial(sent, way=send_each, share=20),
    "consume": consume,
}
