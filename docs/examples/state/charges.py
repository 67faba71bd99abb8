import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TypeVar

import trio
from progress import TABLE, advance, claim, place_of

from runnel_trio import App, Events, Partition, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

LIMIT = 1000
OWED = "CREATE TABLE IF NOT EXISTS owed (customer TEXT PRIMARY KEY, amount INTEGER);"
T = TypeVar("T")

app = App("shop")


class Order(Record):
    customer: str
    amount: int


orders = app.stream("orders", record=Order, partition_by="customer")
refused = DeadLetterMiddleware(app.stream("refused-orders", record=Dead, partition_by="xid"))


class Ledger:
    """What each customer owes, and how far that was counted, over one connection for all partitions."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._turn = trio.CapacityLimiter(1)  # one transaction at a time: no other one gets into it

    async def _alone(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._turn)

    async def claim(self, owner: Partition) -> tuple[int, int]:
        return await self._alone(lambda: claim(self._db, "charge", owner))

    async def owed(self, customer: str) -> int:
        def look() -> int:
            row = self._db.execute("SELECT amount FROM owed WHERE customer = ?", (customer,)).fetchone()
            return row[0] if row else 0

        return await self._alone(look)

    async def store(self, owner: Partition, xid: bytes, customer: str, amount: int) -> bool:
        def write() -> bool:
            with self._db:  # one transaction: both or neither
                is_mine = advance(self._db, "charge", owner, xid)
                if is_mine:
                    self._db.execute("INSERT OR REPLACE INTO owed VALUES (?, ?)", (customer, amount))
            return is_mine

        return await self._alone(write)


#: The ledger of this worker: each run of Trio has its own.
LEDGER: trio.lowlevel.RunVar[Ledger] = trio.lowlevel.RunVar("ledger")


@asynccontextmanager
async def ledger_at(path: Path) -> AsyncIterator[Ledger]:
    with closing(sqlite3.connect(path, timeout=60, check_same_thread=False)) as db:
        await trio.to_thread.run_sync(db.executescript, OWED + TABLE)
        LEDGER.set(Ledger(db))
        yield LEDGER.get()


@app.processor(orders, middleware=[RetryMiddleware(attempts=3, on=(sqlite3.OperationalError,)), refused])
async def charge(events: Events[Order]) -> None:
    ledger, owner = LEDGER.get(), events.partition
    counted = await ledger.claim(owner)
    owed: dict[str, int] = {}  # of this call: what another call knew is loaded again
    async for event in events:
        if place_of(event.xid) <= counted:
            continue  # counted already; its worker ended before it was acknowledged
        order = event.record()
        if order.customer not in owed:
            owed[order.customer] = await ledger.owed(order.customer)
        amount = owed[order.customer] + order.amount
        if amount > LIMIT:
            raise ValueError(f"{order.customer} would owe {amount}")
        if not await ledger.store(owner, event.xid, order.customer, amount):
            await trio.sleep_forever()  # another worker has the partition, and this call is cancelled
        owed[order.customer] = amount  # now that it is stored
