"""Tables go along when a stream gets other partitions: nothing is lost, and nothing counts twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Processor, Record, Stream, Table
from runnel_trio._operate._repartition import Repartition
from runnel_trio._rules._tables import TableValue
from runnel_trio._worker._member._partition import _table_mover
from runnel_trio.testing import drained


class Order(Record):
    customer: str
    amount: int


class Account(Record):
    spent: int = 0


def odd(key: str) -> int:
    return -(10**30) - sum(key.encode())


@asynccontextmanager
async def repartitioned(app: App, stream: Stream[Any], count: int) -> AsyncIterator[Repartition]:
    async with app._shared.used() as broker:
        change = Repartition(broker, stream.declared_spec)
        await change.begin(count)
        yield change


async def finished(change: Repartition) -> None:
    with trio.fail_after(120):
        while not await change.finish(await change.look()):
            await trio.sleep(0.1)


async def until(condition: Callable[[], Any]) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.05)


class Shop:
    def __init__(self, hasher: Any = None, **options: Any) -> None:
        self.app = App("test", redis_url="memory://", default_partition_count=3)
        self.orders: Stream[Order] = self.app.stream("orders", Order, "customer", hasher=hasher)
        self.accounts: Table[Account] = self.app.table("accounts", Account, **options)
        self.broken: set[str] = set()
        self.layouts: set[int] = set()

    def processor(self, **options: Any) -> Processor[Order]:
        @self.app.processor(self.orders, **{"tables": [self.accounts], "lock_expiry": 2, **options})
        async def total(events: Any) -> None:
            mine = events.table(self.accounts)
            async for order in events.records():
                account = mine.get(order.customer) or Account()
                mine[order.customer] = Account(spent=account.spent + order.amount)
                mine[order.customer, order.amount] = Account(spent=1)
                await trio.sleep(0.01)
                self.layouts.add(events.partition.layout)
                if order.customer in self.broken:
                    raise ValueError

        return total

    async def spent(self) -> dict[str, int]:
        return {key: x.spent async for key, x in self.accounts.items() if isinstance(key, str)}


CUSTOMERS = [f"c{n}" for n in range(20)]


def some(first: int, last: int) -> list[Order]:
    return [Order(customer=key, amount=n) for n in range(first, last) for key in CUSTOMERS]


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("count", [7, 1])
@pytest.mark.parametrize("hasher", [None, odd])
async def test_sums_are_exact_through_a_change_of_partitions(
    autojump_clock: MockClock, concurrency: int, count: int, hasher: Any
) -> None:
    shop = Shop(hasher, ttl=3600)
    total = shop.processor(concurrency=concurrency)
    async with shop.app.worker():
        await shop.orders.send(*some(1, 6))
        await trio.sleep(0.2)
        async with repartitioned(shop.app, shop.orders, count) as change:
            await shop.orders.send(*some(6, 11))
            await drained(total, within=120)
            await finished(change)
        assert await shop.spent() == dict.fromkeys(CUSTOMERS, 55)
        assert await shop.accounts.get(("c3", 4)) == Account(spent=1)
        assert await shop.accounts.count() == 20 * 11
    assert shop.layouts == {1, 2}


async def test_parked_events_and_tables_move_one_after_the_other(autojump_clock: MockClock) -> None:
    shop = Shop()
    total = shop.processor(exception_policy="park")
    shop.broken = {"c1", "c2"}
    async with shop.app.worker():
        await shop.orders.send(*some(1, 6))
        async with repartitioned(shop.app, shop.orders, 5) as change:
            await shop.orders.send(*some(6, 11))
            await finished(change)
        await drained(total, within=60)
        shop.broken = set()
        await total.unpark()
        with trio.fail_after(60):
            while await shop.spent() != dict.fromkeys(CUSTOMERS, 55):
                await trio.sleep(0.1)


async def test_a_processor_that_is_stopped_moves_its_tables_when_it_runs_again(
    autojump_clock: MockClock,
) -> None:
    shop = Shop()
    total = shop.processor()
    async with shop.app.worker():
        await shop.orders.send(*some(1, 3))
        await drained(total, within=60)
    async with repartitioned(shop.app, shop.orders, 5) as change:
        await shop.orders.send(*some(3, 5))
        assert not await change.finish(await change.look())
        assert await shop.accounts.get("c1") == Account(spent=3), "it is where it was"
        with trio.move_on_after(5) as waits:
            await shop.accounts.put("c1", Account(spent=1000))
        assert waits.cancelled_caught, "who writes waits until the entries have moved"
        async with shop.app.worker():
            with trio.fail_after(60):
                await shop.accounts.put("c1", Account(spent=1000))
            await drained(total, within=60)
            await finished(change)
    found = await shop.spent()
    assert found.pop("c1") in {1000 + sum(range(n, 5)) for n in range(3, 6)}
    assert set(found.values()) == {10}


@pytest.mark.parametrize("when", ["before", "half", "copied"])
async def test_what_was_copied_before_its_owner_ended_is_copied_anew(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    shop, ended = Shop(), list[str]()
    total = shop.processor()
    real, copy = _table_mover.TableMover._move, _table_mover.TableMover._copy

    async def half(self: Any, stage: Any, name: str, page: dict[bytes, bytes]) -> bool:
        if ended:
            return await copy(self, stage, name, page)
        some = dict(list(page.items())[: len(page) // 2])
        if when != "before":
            await copy(self, stage, name, page if when == "copied" else some)
        ended.append(when)
        return False

    monkeypatch.setattr(_table_mover.TableMover, "_copy", half)
    assert real is _table_mover.TableMover._move
    async with shop.app.worker():
        await shop.orders.send(*some(1, 4))
        async with repartitioned(shop.app, shop.orders, 5) as change:
            await shop.orders.send(*some(4, 6))
            await until(lambda: ended)
            await finished(change)
        await drained(total, within=60)
    assert await shop.spent() == dict.fromkeys(CUSTOMERS, 15)


async def test_a_hash_of_a_users_hasher_is_kept_with_the_entry() -> None:
    shop = Shop(odd)
    shop.processor()
    packed = shop.accounts.pack("c1", Account(), 0)
    assert TableValue.parse(packed).hash == odd("c1")
    shop = Shop()
    shop.processor()
    assert TableValue.parse(shop.accounts.pack("c1", Account(), 0)).hash is None


async def test_who_reads_all_entries_while_they_move_misses_none(autojump_clock: MockClock) -> None:
    shop = Shop()
    total = shop.processor()
    async with shop.app.worker():
        await shop.orders.send(*some(1, 3))
        await drained(total, within=60)
        items = shop.accounts.items()
        found = {(await anext(items))[0]}
        async with repartitioned(shop.app, shop.orders, 5) as change:
            await finished(change)
        found |= {key async for key, _ in items}
        assert len(found) == 20 * 3
        async for _ in shop.accounts.items():
            break  # leaves nothing behind
