import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import trio

from runnel_trio import App, Event, Events, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware
from runnel_trio.sql import Progress

LIMIT = 1000

app = App("shop")


class Order(Record):
    customer: str
    amount: int


orders = app.stream("orders", record=Order, partition_by="customer")
refused = DeadLetterMiddleware(app.stream("refused-orders", record=Dead, partition_by="xid"))
#: That of this worker: each run of Trio has its own.
PROGRESS: trio.lowlevel.RunVar[Progress[sqlite3.Connection]] = trio.lowlevel.RunVar("progress")


def owed(db: sqlite3.Connection, customer: str) -> int:
    row = db.execute("SELECT amount FROM owed WHERE customer = ?", (customer,)).fetchone()
    return row[0] if row else 0


def add(db: sqlite3.Connection, event: Event) -> None:
    order = event.record()
    amount = owed(db, order.customer) + order.amount
    if amount > LIMIT:
        raise ValueError(f"{order.customer} would owe {amount}")
    db.execute("INSERT OR REPLACE INTO owed VALUES (?, ?)", (order.customer, amount))


def connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=60, check_same_thread=False)
    db.execute("CREATE TABLE IF NOT EXISTS owed (customer TEXT PRIMARY KEY, amount INTEGER)")
    Progress(db).create_table()
    return db


@asynccontextmanager
async def ledger_at(path: Path) -> AsyncIterator[sqlite3.Connection]:
    with closing(await trio.to_thread.run_sync(connect, path)) as db:
        PROGRESS.set(Progress(db))  # all partitions of the worker share the connection
        yield db


@app.processor(orders, middleware=[RetryMiddleware(attempts=3, on=(sqlite3.OperationalError,)), refused])
async def charge(events: Events[Order]) -> None:
    async for event in events:
        await PROGRESS.get().apply(add, event)
