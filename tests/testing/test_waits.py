"""`drained` and `advance_to`: they wait, and say what did not happen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
import trio

from runnel_trio import App, Events, Misconfigured, Record
from runnel_trio.testing import NotDrained, advance_to, drained


class Order(Record):
    key: str
    n: int


@pytest.fixture
def app() -> App:
    return App("shop", redis_url="memory://", default_partition_count=4)


async def test_drained_waits_until_every_processor_is_through(app: App, autojump_clock: Any) -> None:
    orders = app.stream("orders", Order, "key")
    seen: dict[str, list[int]] = {"quick": [], "slow": []}

    def add(name: str, seconds: float) -> None:
        @app.processor(orders, name=name)
        async def handle(events: Events[Order]) -> None:
            async for order in events.records():
                await trio.sleep(seconds)
                seen[name].append(order.n)

    add("quick", 0)
    add("slow", 0.2)
    async with app.worker():
        await orders.send(*(Order(key="a", n=n) for n in range(10)))
        await drained(app)
        assert seen == {"quick": list(range(10)), "slow": list(range(10))}


async def test_drained_says_who_is_behind_and_why(app: App, autojump_clock: Any) -> None:
    orders = app.stream("orders", Order, "key")

    @app.processor(orders, exception_policy="quarantine")
    async def picky(events: Events[Order]) -> None:
        async for order in events.records():
            assert order.n > 0, "not positive"

    @app.processor(orders)
    async def stuck(events: Events[Order]) -> None:
        async for _ in events:
            await trio.sleep_forever()

    async with app.worker():
        await orders.send(*(Order(key="a", n=n) for n in range(3)))
        with pytest.raises(NotDrained) as caught:
            await drained(app, within=2)
    number = orders.partition_of(Order(key="a", n=0))
    told = str(caught.value)
    assert "not drained within 2 s" in told
    assert f"orders[{number}] of processor 'picky': 3 events behind, stands in quarantine at" in told
    assert "not positive" in told
    assert f"orders[{number}] of processor 'stuck': 3 events behind" in told


async def test_drained_counts_what_no_worker_has_taken(app: App, autojump_clock: Any) -> None:
    orders = app.stream("orders", Order, "key", partition_count=40)

    @app.processor(orders)
    async def idle(events: Events[Order]) -> None:
        async for _ in events:
            pass

    async with app.session():
        await drained(app)
        await orders.send(*(Order(key=str(n), n=n) for n in range(200)))
        with pytest.raises(
            NotDrained, match=r"which no worker has taken(.|\n)*and \d+ more partition"
        ) as caught:
            await drained(app, within=0)
    assert len(str(caught.value).splitlines()) == 10


@pytest.mark.parametrize("jumps", [True, False])
async def test_advance_to_runs_a_crontab_once(jumps: bool, app: App, mock_clock: Any) -> None:
    mock_clock.autojump_threshold = 0 if jumps else float("inf")
    runs = []

    @app.crontab("45 17 * * *")
    async def report() -> None:
        runs.append(trio.current_time())

    async with app.worker():
        first = await advance_to(app, report)
        second = await advance_to(app, report)
    assert len(runs) == 2
    assert (first.hour, first.minute) == (17, 45)
    assert second - first == timedelta(days=1)
    assert isinstance(first, datetime)
    assert first.tzinfo is not None


async def test_advance_to_wants_a_crontab_and_virtual_time(app: App, mock_clock: Any) -> None:
    @app.timer(interval=5)
    async def tick() -> None:
        pass

    @app.crontab("@hourly")
    async def hourly() -> None:
        pass

    with pytest.raises(Misconfigured, match=r"tick is no crontab of app 'shop', which has: hourly"):
        await advance_to(app, tick)


async def test_advance_to_refuses_real_time(app: App) -> None:
    @app.crontab("@hourly")
    async def hourly() -> None:
        pass

    with pytest.raises(Misconfigured, match="autojump_clock"):
        await advance_to(app, hourly)
