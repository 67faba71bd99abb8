"""What type checkers see of the public API. Not run: mypy and pyright read it (`nox -s types`)."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, Unpack, assert_type

import psycopg

from runnel_trio import (
    App,
    Event,
    Events,
    Middleware,
    Operator,
    Parked,
    Processor,
    Quarantined,
    Record,
    Stream,
    Worker,
)
from runnel_trio.operating import Overview, Trouble, troubles
from runnel_trio.settings import GivenSettings, Settings
from runnel_trio.sql import Progress
from runnel_trio.testing import Outcome, Result


class Order(Record):
    order_id: int
    note: str = ""


class Key(Record, primitive=True):
    name: str


def made(name: str, **settings: Unpack[GivenSettings]) -> App:
    return App(name, **settings)


app = made(
    "types", redis_url="memory://", timezone="Europe/Berlin", default_overflow="trim", default_timeout=5
)
assert_type(Settings(log_level=None).changed(testing=True), Settings)
orders = app.stream("orders", Order, partition_by="order_id")
keys = app.stream("keys", record=Key, partition_by=lambda key: key.name)
assert_type(orders, Stream[Order])
assert_type(keys, Stream[Key])


@app.processor(orders)
async def one_by_one(events: Events[Order]) -> None:
    async for order in events.records():
        assert_type(order, Order)


@app.processor(orders)
async def in_lists(events: Events[Order]) -> None:
    async for some in events.take(10, within=1).records():
        assert_type(some, list[Order])


@app.processor(orders)
async def raw(events: Events[Order]) -> None:
    async for event in events:
        assert_type(event, Event)
        assert_type(event.xid, bytes)
    async for batch in events.take(10, within=1):
        assert_type(batch, list[Event])


assert_type(one_by_one, Processor[Order])


async def tested() -> None:
    async with one_by_one.test() as t:
        assert_type(await t.send(Order(order_id=1)), list[Result[Order]])
        assert_type(t.acked, list[Order])
        assert_type(t.results[0].record, Order | None)
        assert_type(t.results[0].outcome, Outcome)


class Link(Middleware):
    async def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for item in parent:
            yield item


@app.task
async def once() -> None: ...


@app.timer(interval=1)
async def now_and_then() -> None: ...


async def use() -> None:
    await orders.send(Order(order_id=1), Order(order_id=2, note="x"), stream_ids=["*", "*"])
    async with app.worker() as worker:
        assert_type(worker, Worker)
        worker.stop()
    await once()


async def operate() -> None:
    async with app.operator() as op:
        assert_type(op, Operator)
        assert_type(await op.overview(), Overview)
        assert_type(troubles(await op.overview()), list[Trouble])
        assert_type(await op.pause("one_by_one"), list[int])
        assert_type(await op.resume("one_by_one"), list[Quarantined])
        assert_type(await op.parked("one_by_one"), list[Parked])
        assert_type(await op.park("one_by_one", 7), Parked)
        async with op.events("orders") as events:
            assert_type([event async for event in events], list[Event])


def add(db: sqlite3.Connection, event: Event) -> None: ...


def add_all(db: sqlite3.Connection, some: list[Event]) -> None: ...


def add_on_postgresql(db: psycopg.Connection, event: Event) -> int:
    return event.partition.number


@app.processor(orders)
async def applied(events: Events[Order]) -> None:
    progress = Progress(sqlite3.connect("db"))
    assert_type(progress, Progress[sqlite3.Connection])
    lent = Progress(partial(psycopg.connect, "dbname=shop"), table="mine.progress")
    async for event in events:
        assert_type(await progress.apply(add, event), int)
        await lent.apply(add_on_postgresql, event)
    async for some in events.take(10, within=1):
        await progress.apply(add_all, some)
