import sqlite3
from contextlib import closing

import trio
from progress import TABLE, advance, claim, place_of

from runnel_trio import App, Events, Partition, Record

app = App("shop")


class Order(Record):
    customer: str
    amount: int


orders = app.stream("orders", record=Order, partition_by="customer")
SPENT = "CREATE TABLE IF NOT EXISTS spent (customer TEXT PRIMARY KEY, amount INTEGER);"
#: SQLite has one writer at a time. The partitions of a worker wait for each other here, in their order.
WRITING = trio.CapacityLimiter(1)


def connect() -> sqlite3.Connection:
    db = sqlite3.connect("totals.db", timeout=60, check_same_thread=False)
    db.executescript(SPENT + TABLE)
    return db


def add(db: sqlite3.Connection, owner: Partition, some: list[tuple[bytes, Order]]) -> bool:
    with db:  # one transaction: all of it or nothing
        is_mine = advance(db, "totals", owner, some[-1][0])
        if is_mine:
            db.executemany(
                "INSERT INTO spent VALUES (?, ?) ON CONFLICT (customer)"
                " DO UPDATE SET amount = spent.amount + excluded.amount",
                [(order.customer, order.amount) for _, order in some],
            )
    return is_mine


@app.processor(orders)
async def totals(events: Events[Order]) -> None:
    owner = events.partition
    db = await trio.to_thread.run_sync(connect)
    with closing(db):  # the connection of this call, which uses it from one thread at a time
        applied = await trio.to_thread.run_sync(claim, db, "totals", owner, limiter=WRITING)
        async for some in events.take(500, within=0.05):
            new = [(event.xid, event.record()) for event in some if place_of(event.xid) > applied]
            if new and not await trio.to_thread.run_sync(add, db, owner, new, limiter=WRITING):
                await trio.sleep_forever()  # another worker has the partition, and this call is cancelled
