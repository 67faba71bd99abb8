import sqlite3
from contextlib import closing

import trio

from runnel_trio import App, Events, Record

app = App("shop")


class Order(Record):
    customer: str
    amount: int


class Invoice(Record):
    customer: str
    amount: int
    source: str  # the partition of the order, and
    xid: str  # its id in there: the same when the invoice is sent again


orders = app.stream("orders", record=Order, partition_by="customer")
invoices = app.stream("invoices", record=Invoice, partition_by="customer")
BOOKED = """
CREATE TABLE IF NOT EXISTS booked (
    source TEXT, xid TEXT, customer TEXT, amount INTEGER, PRIMARY KEY (source, xid)
);
"""
WRITING = trio.CapacityLimiter(1)


@app.processor(orders)
async def write(events: Events[Order]) -> None:
    async for some in events.take(100, within=0.05):
        found = [(event, event.record()) for event in some]
        await invoices.send(
            *(
                Invoice(
                    customer=order.customer,
                    amount=order.amount,
                    source=event.partition.key,
                    xid=event.xid.decode(),
                )
                for event, order in found
            )
        )


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("invoices.db", timeout=60, check_same_thread=False)
    db.executescript(BOOKED)
    return db


def insert(db: sqlite3.Connection, some: list[Invoice]) -> None:
    rows = [(x.source, x.xid, x.customer, x.amount) for x in some]
    with db:
        db.executemany("INSERT INTO booked VALUES (?, ?, ?, ?) ON CONFLICT (source, xid) DO NOTHING", rows)


@app.processor(invoices)
async def book(events: Events[Invoice]) -> None:
    db = await trio.to_thread.run_sync(connect)
    with closing(db):
        async for some in events.take(500, within=0.05).records():
            await trio.to_thread.run_sync(insert, db, some, limiter=WRITING)
