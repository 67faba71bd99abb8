"""Apps inside of larger Trio programs: several of them, again and again, with signals that are not theirs."""

from __future__ import annotations

import os
import signal
import traceback
from typing import Any

import pytest
import trio

from runnel_trio import App, Misconfigured, Record, Worker
from runnel_trio._report._traceback import users_frames


class Order(Record):
    """The record of this file."""

    key: str
    n: int


def declared(name: str, seen: list[int], url: str = "memory://") -> tuple[App, Any]:
    """An app with one processor that keeps what it is given."""
    app = App(name, redis_url=url, default_partition_count=2)
    orders = app.stream("orders", Order, partition_by="key")

    @app.processor(orders)
    async def keep(events: Any) -> None:
        async for order in events.records():
            seen.append(order.n)

    return app, orders


async def until(seen: list[int], count: int) -> None:
    with trio.fail_after(60):
        while len(seen) < count:
            await trio.sleep(0.005)


@pytest.mark.parametrize("url", ["memory://", "embedded://"])
def test_an_app_can_be_run_in_one_trio_run_after_the_other(url: str) -> None:
    seen: list[int] = []
    app, orders = declared("again", seen, url)

    async def main(turn: int) -> None:
        async with trio.open_nursery() as nursery:
            worker: Worker = await nursery.start(app.run)
            await orders.send(Order(key="a", n=turn))
            await until(seen, turn + 1)
            worker.stop()

    for turn in range(3):
        trio.run(main, turn)
    assert seen == [0, 1, 2]


async def test_a_worker_that_is_stopped_can_be_followed_by_another_of_the_same_app() -> None:
    seen: list[int] = []
    app, orders = declared("again", seen)
    async with app.session():
        for turn in range(3):
            async with app.worker(processors=["keep"]) as worker:
                await orders.send(Order(key="a", n=turn))
                await until(seen, turn + 1)
                worker.stop()
    assert seen == [0, 1, 2]


async def test_two_apps_run_in_one_program_and_end_one_by_one() -> None:
    first_seen: list[int] = []
    second_seen: list[int] = []
    first_app, first = declared("first", first_seen)
    second_app, second = declared("second", second_seen)
    async with trio.open_nursery() as nursery:
        one: Worker = await nursery.start(first_app.run)
        two: Worker = await nursery.start(second_app.run)
        await first.send(Order(key="a", n=1))
        await second.send(Order(key="a", n=2))
        await until(first_seen, 1)
        one.stop()
        await second.send(Order(key="a", n=3))
        await until(second_seen, 2)
        two.stop()
    assert (first_seen, second_seen) == ([1], [2, 3])


async def test_signals_belong_to_the_program_around_it() -> None:
    app, _ = declared("quiet", [])
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    async with app.worker():
        assert [signal.getsignal(number) for number in numbers] == before


def test_a_processor_that_is_no_async_function_is_refused_with_a_hint() -> None:
    app, orders = declared("sync", [])
    told = r"'book' must be an async function: `async def book\(events\):` \((\S+test_embedding.py:\d+)\)"
    with pytest.raises(Misconfigured, match=told) as caught:

        @app.processor(orders)
        def book(events: Any) -> None:  # type: ignore[arg-type]  # that is what is refused
            """Not async."""

    (frame,) = [x for x in users_frames(traceback.extract_tb(caught.tb)) if x.name != "<module>"]
    assert f"{os.path.basename(frame.filename)}:{frame.lineno})" in str(caught.value)
    assert list(app.processors) == ["keep"]
