import os
from functools import partial

import psycopg
import trio

from runnel_trio import App, Event, Events, Record
from runnel_trio.sql import Progress

app = App("shop")


class Order(Record):
    customer: str
    amount: int


orders = app.stream("orders", record=Order, partition_by="customer")
connect = partial(psycopg.connect, os.environ["DATABASE"])  # or a pool's method `connection`
progress = Progress(connect)


def add(db: psycopg.Connection, event: Event) -> None:
    order = event.record()
    db.execute(
        "INSERT INTO billed VALUES (%s, %s)"
        " ON CONFLICT (customer) DO UPDATE SET amount = billed.amount + excluded.amount",
        (order.customer, order.amount),
    )


@app.processor(orders, concurrency=20)
async def bill(events: Events[Order]) -> None:
    async for event in events:
        await trio.sleep(0.01)  # a request to another service
        await progress.apply(add, event)


if __name__ == "__main__":
    progress.create_table()
    with connect() as db:
        db.execute("CREATE TABLE IF NOT EXISTS billed (customer TEXT PRIMARY KEY, amount BIGINT)")
