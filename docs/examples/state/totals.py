import sqlite3
from contextlib import closing

import trio

from runnel_trio import App, Event, Events, Record
from runnel_trio.sql import Progress

app = App("shop")


class Order(Record):
    customer: str
    amount: int


orders = app.stream("orders", record=Order, partition_by="customer")


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("totals.db", timeout=60, check_same_thread=False)
    db.execute("CREATE TABLE IF NOT EXISTS spent (customer TEXT PRIMARY KEY, amount INTEGER)")
    Progress(db).create_table()
    return db


def add(db: sqlite3.Connection, some: list[Event]) -> None:
    found = [event.record() for event in some]
    db.executemany(
        "INSERT INTO spent VALUES (?, ?)"
        " ON CONFLICT (customer) DO UPDATE SET amount = spent.amount + excluded.amount",
        [(order.customer, order.amount) for order in found],
    )


@app.processor(orders)
async def totals(events: Events[Order]) -> None:
    with closing(await trio.to_thread.run_sync(connect)) as db:
        progress = Progress(db)
        async for some in events.take(500, within=0.05):
            await progress.apply(add, some)
