"""Wrong uses of the public API, each of which type checkers must refuse. Not run: `nox -s types` reads it.

A line that is no error any more makes its ``ignore`` a needless one, which mypy and pyright both report.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=error
from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator

from runnel_trio import App, Event, Events, Middleware, Processor, Record, Stream
from runnel_trio.middleware import DeadLetterMiddleware, RetryMiddleware
from runnel_trio.settings import Settings
from runnel_trio.sql import Progress
from runnel_trio.testing import Result


class Order(Record):
    order_id: int
    note: str = ""


class Payment(Record):
    amount: int


app = App("types")
orders = app.stream("orders", Order, partition_by="order_id")
payments = app.stream("payments", Payment, partition_by="amount")


@app.processor(orders)
async def bill(events: Events[Order]) -> None: ...


async def records() -> None:
    Order(1)  # type: ignore[call-arg]
    Order(order_id="1")  # type: ignore[arg-type]
    Order(order_id=1, other=2)  # type: ignore[call-arg]
    print(Order(order_id=1).other)  # type: ignore[attr-defined]


async def streams() -> None:
    app.stream("dicts", dict, partition_by="x")  # type: ignore[type-var]
    app.stream("orders", Order, partition_by=7)  # type: ignore[arg-type]
    app.stream("orders", Order, partition_by=lambda order: order.other)  # type: ignore[attr-defined]
    app.stream("orders", Order, "note", partition_count="many")  # type: ignore[arg-type]
    wrong: Stream[Payment] = orders  # type: ignore[assignment]
    print(wrong)


async def sends() -> None:
    await orders.send(Payment(amount=1))  # type: ignore[arg-type]
    await orders.send({"order_id": 1})  # type: ignore[arg-type]
    await orders.send([Order(order_id=1)])  # type: ignore[arg-type]
    await orders.send(Order(order_id=1), stream_ids=[1])  # type: ignore[list-item]
    await orders.send(Order(order_id=1), wait_replicas="1")  # type: ignore[arg-type]
    orders.send_sync(Payment(amount=1))  # type: ignore[arg-type]
    orders.partition_of(Payment(amount=1))  # type: ignore[arg-type]


async def processors() -> None:
    app.processor("orders")  # type: ignore[arg-type]
    app.processor(orders, lock_expiry="1s")  # type: ignore[arg-type]
    app.processor(orders, patience=3)  # type: ignore[call-arg]
    app.processor(orders, middleware=[RetryMiddleware])  # type: ignore[list-item]

    @app.processor(orders)  # type: ignore[arg-type]
    async def of_another(events: Events[Payment]) -> None: ...

    @app.processor(orders)  # type: ignore[arg-type]
    def not_async(events: Events[Order]) -> None: ...

    @app.processor(orders)  # type: ignore[arg-type]
    async def of_nothing() -> None: ...

    wrong: Processor[Payment] = bill  # type: ignore[assignment]
    await bill(1)  # type: ignore[operator]
    print(wrong, of_another, not_async, of_nothing)


async def events(events: Events[Order]) -> None:
    async for order in events.records():
        payment: Payment = order  # type: ignore[assignment]
        print(payment)
    async for some in events.take(10, within=1).records():
        print(some.order_id)  # type: ignore[attr-defined]
    async for _ in events.take(10).records():  # type: ignore[call-arg]
        pass
    async for event in events:
        number: int = event.xid  # type: ignore[assignment]
        print(number)
    for _ in events.records():  # type: ignore[attr-defined]
        pass


async def databases(events: Events[Order]) -> None:
    def add(db: sqlite3.Connection, event: Event) -> None: ...

    def add_record(db: sqlite3.Connection, order: Order) -> None: ...

    progress = Progress(sqlite3.connect("db"))
    Progress("db.sqlite3")  # type: ignore[arg-type]
    async for event in events:
        await progress.apply(add_record, event)  # type: ignore[arg-type]
    async for order in events.records():
        await progress.apply(add, order)  # type: ignore[call-overload]
    async for some in events.take(10, within=1):
        await progress.apply(add, some)  # type: ignore[arg-type]


async def tests() -> None:
    async with bill.test() as t:
        await t.send(Payment(amount=1))  # type: ignore[arg-type]
        wrong: list[Result[Payment]] = t.results  # type: ignore[assignment]
        print(wrong)


async def operations() -> None:
    await bill.reset(1)  # type: ignore[arg-type]
    await bill.pause(partitions=1)  # type: ignore[arg-type]
    await bill.resume(["1"])  # type: ignore[list-item]


async def settings() -> None:
    App(7)  # type: ignore[arg-type]
    App("types", metrics="prometheus")  # type: ignore[arg-type]
    App("types", log_levle="debug")  # type: ignore[call-arg]
    App("types", default_partition_count="16")  # type: ignore[arg-type]
    Settings(lock_expiry=10)  # type: ignore[call-arg]
    Settings().changed(testing="true")  # type: ignore[arg-type]


async def links() -> None:
    DeadLetterMiddleware("dead")  # type: ignore[arg-type]
    RetryMiddleware(attempts="3")  # type: ignore[arg-type]
    RetryMiddleware(3)  # type: ignore[call-arg]


class Link(Middleware):
    async def handler(self, parent: AsyncIterator[Event]) -> AsyncIterator[Event]:  # type: ignore[override]
        async for event in parent:
            yield event


@app.task  # type: ignore[type-var]
def not_async() -> None: ...


app.timer()  # type: ignore[call-arg]
app.timer(interval="1")  # type: ignore[arg-type]
app.crontab()  # type: ignore[call-arg]
