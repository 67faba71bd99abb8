"""Partitions that are paused stand still, through restarts, until they are resumed; a processor is forgotten."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from runnel_trio import App, Events, Misconfigured, Processor, Stream, WorkersAlive
from runnel_trio._worker._processor_runner import ProcessorRunner
from runnel_trio.testing import NotDrained, drained


@pytest.fixture(params=["memory://", "embedded://"])
def app(request: pytest.FixtureRequest, tmp_path: Any) -> App:
    url = request.param if request.param == "memory://" else f"embedded://{tmp_path / 'data'}"
    return App("test", redis_url=url, default_partition_count=4, default_lock_expiry=2)


def counting(orders: Stream[Any], seen: list[tuple[int, int]]) -> Processor[Any]:
    @orders_app(orders).processor(orders)
    async def count(events: Events[Any]) -> None:
        async for order in events.records():
            seen.append((events.partition.number, order.n))

    return count


_apps: dict[int, App] = {}


def orders_app(orders: Stream[Any]) -> App:
    return _apps[id(orders)]


@pytest.fixture
def orders(app: App, order: Any) -> Stream[Any]:
    found = app.stream("orders", order, partition_by="key")
    _apps[id(found)] = app
    return found


async def send(orders: Stream[Any], order: Any, first: int, count: int = 20) -> None:
    await orders.send(*(order(key=str(n % 10), n=n) for n in range(first, first + count)))


async def test_a_paused_partition_stands_still_and_the_others_go_on(
    app: App, orders: Stream[Any], order: Any
) -> None:
    seen: list[tuple[int, int]] = []
    count = counting(orders, seen)
    async with app.worker():
        await send(orders, order, 0)
        await drained(count, within=60)
        assert await count.pause([1, 2], reason="moving house", by="ops") == [1, 2]
        await until_given_up(count, {1, 2})
        await send(orders, order, 20)
        with pytest.raises(NotDrained, match="stands in quarantine at 0-0: moving house"):
            await drained(count, within=0.5)
        assert {number for number, n in seen if n >= 20} == {0, 3}
        standing = await count.quarantined()
        assert [(x.partition, x.is_pause, x.error, x.member) for x in standing] == [
            (1, True, "moving house", "ops"), (2, True, "moving house", "ops"),
        ]  # fmt: skip
        assert [x.partition for x in await count.resume()] == [1, 2]
        await drained(count, within=60)
    for number in range(4):
        mine = [n for there, n in seen if there == number]
        assert mine == sorted(set(mine))
    assert len(seen) == 40


async def until_given_up(processor: Processor[Any], numbers: set[int]) -> None:
    with trio.fail_after(60):
        while True:
            async with processor.stream.connect(processor.stream) as broker:
                surveyed = await broker.survey(processor.stream.spec)
            owners = {x.number: x.processors[processor.name].owner for x in surveyed}
            if not any(owners[number] for number in numbers):
                return
            await trio.sleep(0.02)


async def test_a_pause_survives_a_restart_and_may_come_before_the_first_start(
    app: App, orders: Stream[Any], order: Any
) -> None:
    seen: list[tuple[int, int]] = []
    count = counting(orders, seen)
    async with app.session():
        await send(orders, order, 0)
        assert await count.pause() == [0, 1, 2, 3]
        for _ in range(2):
            async with app.worker():
                await trio.sleep(0.3)
        assert seen == []
        await count.resume()
        async with app.worker():
            await drained(count, within=60)
    assert len(seen) == 20


async def test_the_event_in_hand_ends_first(app: App, orders: Stream[Any], order: Any) -> None:
    began, finish = trio.Event(), trio.Event()
    ended: list[int] = []

    @app.processor(orders)
    async def slow(events: Events[Any]) -> None:
        async for record in events.records():
            began.set()
            await finish.wait()
            ended.append(record.n)

    async with app.worker():
        await orders.send(order(key="a", n=1), order(key="a", n=2))
        await began.wait()
        await slow.pause()
        await until_given_up(slow, {0, 1, 2, 3} - {orders.partition_of(order(key="a", n=1))})
        finish.set()
        await until_given_up(slow, {0, 1, 2, 3})
    assert ended == [1]


async def test_what_is_in_quarantine_is_not_paused_and_a_pause_is_not_skipped(
    app: App, orders: Stream[Any], order: Any
) -> None:
    @app.processor(orders, exception_policy="quarantine")
    async def fails(events: Events[Any]) -> None:
        async for record in events.records():
            raise ValueError(record.n)

    number = orders.partition_of(order(key="a", n=0))
    async with app.worker():
        await orders.send(order(key="a", n=0))
        with trio.fail_after(60):
            while not await fails.quarantined():
                await trio.sleep(0.02)
        assert number not in await fails.pause()
        (standing,) = [x for x in await fails.quarantined() if not x.is_pause]
        assert standing.partition == number
        with pytest.raises(Misconfigured, match="is paused: nothing failed there"):
            await fails.resume(skip=True)


async def test_a_processor_is_forgotten_and_begins_anew(app: App, orders: Stream[Any], order: Any) -> None:
    seen: list[tuple[int, int]] = []
    count = counting(orders, seen)
    async with app.session():
        async with app.worker():
            await send(orders, order, 0)
            await drained(count, within=60)
            with pytest.raises(WorkersAlive):
                await count.forget()
        assert await count.forget() == 4
        assert await count.forget() == 0
        async with app.worker():
            await drained(count, within=60)
    assert sorted(n for _, n in seen) == sorted([*range(20)] * 2)


async def test_a_pause_is_not_forgotten_over_other_news_while_a_lease_is_on_its_way(
    app: App, orders: Stream[Any], order: Any
) -> None:
    counting(orders, [])
    async with app.worker() as worker:
        (member,) = [x.member for x in worker._members if isinstance(x, ProcessorRunner)]
        assert member is not None
        # As `_take` hears them between the grant on the server and its answer.
        await member._hear([(b"1-0", (b"paused", b"90"))])
        await member._hear([(b"2-0", (b"released", b"91"))])
        assert member._assignment._paused == {90}
