"""A program as users write it, which says when it has its first event, and ends: for `owning.started`."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Any

import trio

from runnel_trio import App, Record


class Order(Record):
    order_id: int
    created_at: datetime
    amount: int
    item_ids: list[int]


url, name = sys.argv[1:]
app = App("bench", redis_url=url)
orders = app.stream(name, Order, partition_by="order_id")


@app.processor(orders, join_delay=0)
async def printer(events: Any) -> None:
    async for order in events.records():
        print(order.order_id, flush=True)
        os._exit(0)


if __name__ == "__main__":
    trio.run(app.run)
