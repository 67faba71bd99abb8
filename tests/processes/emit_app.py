"""An app that emits two invoices for each order, with as many lanes as the environment says."""

from __future__ import annotations

import os

import trio

from runnel_trio import App, Events, Record

MAX_UNACKED = 60

app = App("emits", default_lock_expiry=1, default_partition_count=4, default_max_attempts=100)


class Order(Record):
    """The ``n``-th of a key."""

    key: str
    n: int


class Invoice(Record):
    """One of two for an order, and the process that made it."""

    key: str
    n: int
    part: int
    pid: int


orders = app.stream("orders", Order, partition_by="key")
invoices = app.stream("invoices", Invoice, partition_by="key", partition_count=3)


@app.processor(
    orders, outputs=[invoices], max_unacked=MAX_UNACKED, concurrency=int(os.environ.get("LANES", "1"))
)
async def bill(events: Events[Order]) -> None:
    async for order in events.records():
        for part in range(2):
            events.emit(invoices, Invoice(key=order.key, n=order.n, part=part, pid=os.getpid()))
        await trio.sleep(0.001)
