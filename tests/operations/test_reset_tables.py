"""A reset of a processor with tables: they are emptied or kept, as somebody says, and nothing is assumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from runnel_trio import App, Misconfigured, Processor, Record, Stream, Table


class Item(Record):
    key: str
    n: int


class Sum(Record):
    n: int = 0


@pytest.fixture(params=["memory://", "embedded://"])
def app(request: pytest.FixtureRequest) -> App:
    return App("reset", redis_url=request.param, default_partition_count=2, default_lock_expiry=5)


@pytest.fixture
def items(app: App) -> Stream[Item]:
    return app.stream("items", Item, partition_by="key")


@pytest.fixture
def sums(app: App) -> Table[Sum]:
    return app.table("sums", Sum, ttl=3600)


@pytest.fixture
def add(app: App, items: Stream[Item], sums: Table[Sum]) -> Processor[Item]:
    @app.processor(items, tables=[sums])
    async def add(events: Any) -> None:
        mine = events.table(sums)
        async for item in events.records():
            mine[item.key] = Sum(n=(mine.get(item.key) or Sum()).n + item.n)

    return add


async def until(sums: Table[Sum], expected: dict[str, int]) -> None:
    with trio.fail_after(60):
        while {key: x.n async for key, x in sums.items()} != expected:
            await trio.sleep(0.01)


SENT = [Item(key=key, n=n) for n in range(1, 11) for key in "ab"]
ONCE, TWICE = {"a": 55, "b": 55}, {"a": 110, "b": 110}


@pytest.mark.parametrize(("tables", "expected"), [("empty", ONCE), ("keep", TWICE)])
async def test_tables_are_emptied_or_kept_as_it_is_said(
    app: App,
    items: Stream[Item],
    add: Processor[Item],
    sums: Table[Sum],
    tables: str,
    expected: dict[str, int],
) -> None:
    async with app.session():
        async with app.worker():
            await items.send(*SENT)
            await until(sums, ONCE)
        await add.reset(dry_run=True)
        await until(sums, ONCE)
        for wrong in ({}, {"tables": "all"}):
            with pytest.raises(Misconfigured, match="tables"):
                await add.reset(**wrong)
        async with app.operator() as op:
            with pytest.raises(Misconfigured, match="sums"):
                await op.reset("add")
        await until(sums, ONCE)
        await add.reset(tables=tables)
        await until(sums, {} if tables == "empty" else ONCE)
        async with app.worker():
            await until(sums, expected)


@pytest.mark.parametrize("start", ["0", "$"])
async def test_an_owner_follows_a_reset_that_empties_its_tables(
    app: App, items: Stream[Item], add: Processor[Item], sums: Table[Sum], start: str
) -> None:
    """Also if the cursor stays where it is."""
    async with app.worker():
        await items.send(*SENT)
        await until(sums, ONCE)
        await add.reset(start, force=True, tables="empty")
        if start == "0":
            await until(sums, ONCE)
            await items.send(*SENT)
            await until(sums, TWICE)
        else:
            await items.send(*SENT)
            await until(sums, ONCE)


async def test_only_the_partitions_that_are_reset_are_emptied(
    app: App, items: Stream[Item], add: Processor[Item], sums: Table[Sum]
) -> None:
    number: Callable[[str], int] = lambda key: items.partition_of(Item(key=key, n=0))  # noqa: E731 (short)
    other = next(x for x in "bcdefghijklm" if number(x) != number("a"))
    async with app.session():
        await sums.put("a", Sum(n=1))
        await sums.put(other, Sum(n=2))
        await add.reset("$", partitions=[number("a")], tables="empty")
        await until(sums, {other: 2})


async def test_a_processor_that_is_forgotten_has_no_entries(
    app: App, add: Processor[Item], sums: Table[Sum]
) -> None:
    async with app.session():
        await sums.put("a", Sum(n=1))
        await add.forget()
        await until(sums, {})
