"""Cursors set from outside: what is processed next, what is refused, and what workers that run make of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
import trio

from runnel_trio import App, Processor, Record, Stream
from runnel_trio._operate._cursors import predecessor, start_of
from runnel_trio.exceptions import Misconfigured, WorkersAlive


class Item(Record):
    key: str
    n: int


@pytest.fixture(params=["memory://", "embedded://"])
def app(request: pytest.FixtureRequest) -> App:
    return App("reset", redis_url=request.param, default_partition_count=2, default_lock_expiry=5)


@pytest.fixture
def items(app: App) -> Stream[Item]:
    return app.stream("items", Item, partition_by="key")


@pytest.fixture
def seen() -> list[int]:
    return []


@pytest.fixture
def count(app: App, items: Stream[Item], seen: list[int]) -> Processor:
    @app.processor(items, exception_policy="quarantine")
    async def count(events: Any) -> None:
        async for item in events.records():
            if item.n < 0 and item.n not in seen:
                seen.append(item.n)
                raise ValueError("less than nothing")
            seen.append(item.n)

    return count


@pytest.fixture
async def sent(app: App, items: Stream[Item]) -> AsyncIterator[None]:
    """Ten events in one partition, of a session that lasts as long as the test."""
    async with app.session():
        await items.send(*[Item(key="a", n=n) for n in range(10)])
        yield


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.005)


async def handled(app: App, seen: list[int], number: int) -> list[int]:
    """What a worker handles, until it is so many."""
    seen.clear()
    async with app.worker():
        await until(lambda: len(seen) >= number)
    return list(seen)


async def test_from_the_beginning_all_is_processed_again(
    sent: None, app: App, count: Processor, seen: list[int]
) -> None:
    assert await handled(app, seen, 10) == list(range(10))
    found = await count.reset()
    assert sum(x.lag_after for x in found) == 10
    assert sum(x.lag_before or 0 for x in found) == 0
    assert {x.after for x in found} == {"0-0"}
    assert await handled(app, seen, 10) == list(range(10))


async def test_at_the_end_only_what_is_sent_from_now_on_is_processed(
    sent: None, app: App, items: Stream[Item], count: Processor, seen: list[int]
) -> None:
    assert sum(x.lag_after for x in await count.reset("$")) == 0
    await items.send(Item(key="a", n=10))
    assert await handled(app, seen, 1) == [10]


async def test_an_id_is_the_first_that_is_processed(
    sent: None, app: App, items: Stream[Item], count: Processor, seen: list[int]
) -> None:
    ids = await stored(app, items)
    found = await count.reset(ids[7])
    assert sum(x.lag_after for x in found) == 3
    assert await handled(app, seen, 3) == [7, 8, 9]


async def test_a_time_is_when_the_first_was_stored(
    sent: None, app: App, items: Stream[Item], count: Processor, seen: list[int]
) -> None:
    ids = await stored(app, items)
    when = datetime.fromtimestamp(int(ids[0].split("-")[0]) / 1000, timezone(timedelta(hours=3)))
    assert sum(x.lag_after for x in await count.reset(when, dry_run=True)) == 10
    later = when + timedelta(days=300)
    assert sum(x.lag_after for x in await count.reset(later.isoformat())) == 0
    await items.send(Item(key="a", n=10))
    assert await handled(app, seen, 1) == [10], "what lies behind the end means the end"


async def test_a_dry_run_changes_nothing(sent: None, app: App, count: Processor, seen: list[int]) -> None:
    await count.reset("$", dry_run=True)
    assert await handled(app, seen, 10) == list(range(10))


async def test_only_the_partitions_that_are_named_are_set(
    sent: None, app: App, items: Stream[Item], count: Processor
) -> None:
    number = items.partition_of(Item(key="a", n=0))
    (found,) = await count.reset("$", partitions=[1 - number])
    assert found.partition == 1 - number
    assert sum(x.lag_after for x in await count.reset(dry_run=True)) == 10


async def test_under_workers_it_is_refused_unless_it_is_forced(
    sent: None, app: App, count: Processor, seen: list[int]
) -> None:
    async with app.worker():
        await until(lambda: len(seen) == 10)
        with pytest.raises(WorkersAlive, match=r"reset.items/count has workers: pid \d+ on .*force"):
            await count.reset()
        assert len(await count.reset(dry_run=True)) == 2
        await count.reset(force=True)
        await until(lambda: len(seen) == 20)
    assert seen == [*range(10), *range(10)]


async def test_a_reset_lifts_quarantines(
    sent: None, app: App, items: Stream[Item], count: Processor, seen: list[int]
) -> None:
    await items.send(Item(key="a", n=-1))
    async with app.worker():
        await until(lambda: -1 in seen)
        with trio.fail_after(60):
            while not await count.quarantined():
                await trio.sleep(0.01)
    await count.reset("0")
    assert await count.quarantined() == []
    async with app.worker():
        await until(lambda: seen.count(9) == 2)


async def stored(app: App, items: Stream[Item]) -> list[str]:
    number = items.partition_of(Item(key="a", n=0))
    async with items.connect(items) as broker:
        return [xid.decode() for xid, _ in await broker.entries(items.spec, number)]


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("yesterday", "neither 0 nor \\$"),
        ("1-2-3", "neither 0 nor"),
        ("99999999999999999999", "64 bits"),
        (datetime(2026, 5, 4), "has no time zone"),
        ("2026-05-04", "has no time zone"),
        (5, "must be text or a datetime"),
    ],
)
def test_a_start_that_cannot_be_meant_is_refused(start: Any, said: str) -> None:
    with pytest.raises(Misconfigured, match=said):
        start_of(start)


def test_a_start_is_the_first_event_not_the_one_before() -> None:
    assert start_of("0") == start_of("0-0") == b"0-0"
    assert start_of("5-3") == b"5-2"
    assert start_of("5") == start_of("5-0") == b"4-18446744073709551615"
    assert start_of(datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)) == b"4999-18446744073709551615"
    assert predecessor(b"0-1") == b"0-0"


async def test_a_partition_that_does_not_exist_is_refused(count: Processor) -> None:
    with pytest.raises(Misconfigured, match="has no partition 2: they are 0 to 1"):
        await count.reset(partitions=[2])
