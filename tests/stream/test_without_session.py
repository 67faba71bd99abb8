"""Sends from anywhere in a Trio program, with nobody holding the connection for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from runnel_trio import App, BrokerUnavailable, Record
from runnel_trio._embedded import _guard


class Order(Record):
    key: str
    n: int


def declared(url: str, **options: Any) -> tuple[App, Any]:
    app = App("test", redis_url=url, default_partition_count=2)
    return app, app.stream("orders", Order, "key", **options)


def test_the_first_send_opens_and_the_end_of_the_run_closes(tmp_path: Path) -> None:
    app, orders = declared(f"embedded://{tmp_path}")
    seen: list[int] = []

    @app.processor(orders)
    async def collect(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    async def send() -> None:
        await orders.send(Order(key="a", n=1))
        assert app.server_url.startswith("unix://")
        await orders.send(Order(key="a", n=2))

    async def work() -> None:
        async with app.worker():
            with trio.fail_after(60):
                while len(seen) < 3:
                    await trio.sleep(0.01)

    trio.run(send)
    assert _guard.whereabouts(str(tmp_path)) is None, "the server has ended with the run"
    with pytest.raises(BrokerUnavailable, match="is not connected"):
        _ = app.server_url
    trio.run(orders.send, Order(key="a", n=3))
    trio.run(work)
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("url", ["memory://", "embedded://"])
async def test_many_first_sends_at_once_open_it_once(url: str) -> None:
    app, orders = declared(url)
    async with trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(orders.send, Order(key="a", n=n))
    _, broker = await app._shared.opened()
    _, again = await app._shared.opened()
    assert broker is again


@pytest.mark.parametrize("url", ["memory://", "embedded://"])
async def test_a_first_send_that_is_cancelled_leaves_the_others_alone(url: str) -> None:
    _, orders = declared(url)

    async def impatient() -> None:
        with trio.move_on_after(0.001):
            await orders.send(Order(key="a", n=1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(impatient)
        nursery.start_soon(orders.send, Order(key="a", n=2))
    await orders.send(Order(key="a", n=3))


@pytest.mark.parametrize("url", ["memory://", "embedded://"])
async def test_a_send_under_way_outlives_the_session_of_another_task(url: str) -> None:
    app, orders = declared(url, partition_size=2)
    done = trio.Event()

    async def blocked() -> None:
        await orders.send(*(Order(key="a", n=n) for n in range(3)))
        done.set()

    @app.processor(orders)
    async def collect(events: Any) -> None:
        async for _ in events:
            pass

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            async with app.session():
                nursery.start_soon(blocked)
                await wait_all_tasks_blocked(0.1)
            await trio.sleep(0.3)
            assert not done.is_set()
            async with app.worker():
                await done.wait()


async def test_sends_between_workers_of_one_run_reach_the_same_server() -> None:
    app, orders = declared("embedded://")
    await orders.send(Order(key="a", n=1))
    first = app.server_url
    async with app.session():
        await orders.send(Order(key="a", n=2))
    assert app.server_url == first


async def test_where_nobody_answers_a_send_says_so() -> None:
    _, orders = declared("unix:///runnel-nobody.sock")
    for _ in range(2):
        with pytest.raises(BrokerUnavailable, match="runnel-nobody"):
            await orders.send(Order(key="a", n=1))
