"""On a cluster, what is emitted crosses nodes once and in order, while slots move and nodes freeze."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import trio
from rig_cluster import Cluster

from runnel_trio import App, Processor, Record, Stream
from runnel_trio.testing import drained


class Order(Record):
    key: str
    n: int


KEYS = [f"k{n}" for n in range(12)]


class Shop:
    """Orders in four partitions, invoices in three: most cross from one node to another."""

    def __init__(self, url: str, name: str) -> None:
        self.app = App(name, redis_url=url, default_partition_count=4, default_lock_expiry=30)
        self.orders: Stream[Order] = self.app.stream("orders", Order, "key")
        self.invoices: Stream[Order] = self.app.stream("invoices", Order, "key", partition_count=3)

    def processor(self, concurrency: int) -> Processor[Order]:
        @self.app.processor(self.orders, outputs=[self.invoices], concurrency=concurrency)
        async def bill(events: Any) -> None:
            async for order in events.records():
                await trio.sleep(0.001)
                events.emit(self.invoices, order)

        return bill

    async def stored(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = defaultdict(list)
        async with self.app._shared.used() as broker:
            for number in range(self.invoices.partition_count):
                for _, fields in await broker.entries(self.invoices.spec, number, count=100_000):
                    record = self.invoices.codec.decode(fields)
                    found[record.key].append(record.n)
        return found

    async def until_stored(self, count: int) -> None:
        with trio.fail_after(60):
            while sum(map(len, (await self.stored()).values())) < count:
                await trio.sleep(0.05)


@pytest.mark.parametrize("concurrency", [1, 20])
async def test_each_record_arrives_once_and_in_order_while_slots_move(
    cluster: Cluster, concurrency: int
) -> None:
    shop = Shop(cluster.url, f"emits-{concurrency}")
    bill = shop.processor(concurrency)
    logs = [f"runnel:{{{shop.app.name}:{n}}}:invoices:log" for n in range(3)]
    async with shop.app.worker(), trio.open_nursery() as nursery:
        await shop.orders.send(*(Order(key=key, n=n) for n in range(40) for key in KEYS))
        nursery.start_soon(cluster.move, logs[0], cluster.others(cluster.owner(logs[0]))[0])
        await shop.orders.send(*(Order(key=key, n=n) for n in range(40, 80) for key in KEYS))
        await drained(bill, within=60)
        await shop.until_stored(80 * len(KEYS))
    assert await shop.stored() == {key: list(range(80)) for key in KEYS}
    assert len({cluster.owner(log) for log in logs}) > 1, "on several nodes"
