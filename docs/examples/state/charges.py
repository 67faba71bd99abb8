import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import trio

from runnel_trio import App, Events, Partition, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

LIMIT = 1000
TABLES = """
CREATE TABLE IF NOT EXISTS owed (partition INTEGER, customer TEXT PRIMARY KEY, amount INTEGER);
CREATE TABLE IF NOT EXISTS progress (partition INTEGER PRIMARY KEY, epoch INTEGER, ms INTEGER, seq INTEGER);
"""

app = App("shop")


class Order(Record):
    customer: str
    amount: int


orders = app.stream("orders", record=Order, partition_by="customer")
refused = DeadLetterMiddleware(app.stream("refused-orders", record=Dead, partition_by="xid"))


class Ledger:
    """What each customer owes, and how far that was counted. Its methods block: call them in a thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db, self._lock = db, threading.Lock()
        db.executescript(TABLES)

    def load(self, partition: int) -> tuple[tuple[int, int], dict[str, int]]:
        with self._lock:
            at = self._db.execute("SELECT ms, seq FROM progress WHERE partition = ?", (partition,)).fetchone()
            rows = self._db.execute("SELECT customer, amount FROM owed WHERE partition = ?", (partition,))
            return at or (0, 0), dict(rows.fetchall())

    def store(self, owner: Partition, at: tuple[int, int], customer: str, amount: int) -> None:
        with self._lock, self._db:  # one transaction: both or neither
            mine = self._db.execute(
                "INSERT INTO progress VALUES (?, ?, ?, ?) ON CONFLICT (partition) DO UPDATE"
                " SET epoch = excluded.epoch, ms = excluded.ms, seq = excluded.seq"
                " WHERE excluded.epoch >= epoch",
                (owner.number, owner.epoch, *at),
            )
            if mine.rowcount:  # else the partition has a later owner, who handles this event too
                self._db.execute(
                    "INSERT OR REPLACE INTO owed VALUES (?, ?, ?)", (owner.number, customer, amount)
                )


#: The ledger of this worker: each run of Trio has its own.
LEDGER: trio.lowlevel.RunVar[Ledger] = trio.lowlevel.RunVar("ledger")


@asynccontextmanager
async def ledger_at(path: Path) -> AsyncIterator[Ledger]:
    with closing(sqlite3.connect(path, check_same_thread=False)) as db:
        LEDGER.set(Ledger(db))
        yield LEDGER.get()


@app.processor(orders, middleware=[RetryMiddleware(attempts=3, on=(sqlite3.OperationalError,)), refused])
async def charge(events: Events[Order]) -> None:
    ledger, owner = LEDGER.get(), events.partition
    counted, owed = await trio.to_thread.run_sync(ledger.load, owner.number)  # rebuilt at each call
    async for event in events:
        ms, seq = map(int, event.xid.split(b"-"))
        if (ms, seq) <= counted:
            continue  # counted already; its worker ended before it was acknowledged
        order = event.record()
        amount = owed.get(order.customer, 0) + order.amount
        if amount > LIMIT:
            raise ValueError(f"{order.customer} would owe {amount}")
        await trio.to_thread.run_sync(ledger.store, owner, (ms, seq), order.customer, amount)
        owed[order.customer] = amount  # now that it is stored
