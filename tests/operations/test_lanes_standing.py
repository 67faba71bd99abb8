"""Partitions that are handled many keys at a time, when they stand still, and what operators are shown of them."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from runnel_trio import App, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware
from runnel_trio.testing import drained


class Task(Record):
    key: str
    n: int


@pytest.fixture(params=["memory://", "embedded://"])
def app(request: pytest.FixtureRequest, tmp_path: Any) -> App:
    url = request.param if request.param == "memory://" else f"embedded://{tmp_path / 'data'}"
    return App("test", redis_url=url, default_partition_count=1, default_lock_expiry=2)


def tasks() -> list[Task]:
    """Of each fourth key, all fail."""
    return [Task(key=f"k{n % 4}", n=n) for n in range(24)]


@pytest.mark.parametrize("how", ["skip", "dead_letter", "again"])
async def test_what_failed_is_left_out_set_aside_or_tried_again_and_nothing_else_is(
    app: App, how: str
) -> None:
    stream = app.stream("tasks", Task, "key")
    letters = DeadLetterMiddleware(app.stream("dead", Dead, "xid"), by_hand=True)
    seen: list[int] = []
    failing = {7}

    @app.processor(
        stream, concurrency=8, exception_policy="quarantine", middleware=[letters], grace_period=20
    )
    async def handle(events: Any) -> None:
        async for task in events.records():
            await trio.sleep(0.01)
            if task.n in failing:
                raise ValueError(task.n)
            seen.append(task.n)

    async with app.session():
        await stream.send(*tasks())
        async with app.worker():
            with trio.fail_after(60):
                while not (standing := await handle.quarantined()):
                    await trio.sleep(0.02)
        assert [x.count for x in standing] == [1]
        before = list(seen)
        assert 7 not in before
        assert {11, 15, 19, 23}.isdisjoint(before), "they are of the same key, and wait behind it"
        failing.clear()
        await handle.resume(skip=how == "skip", dead_letter=how == "dead_letter")
        async with app.worker():
            await drained(handle, within=60)
        if how == "dead_letter":
            async with app.operator() as op:
                assert [letter.record.xid for letter in await op.letters("handle")] == [standing[0].first]
    wanted = [n for n in range(24) if n != 7 or how == "again"]
    assert sorted(seen) == wanted, "none is lost, and none of those done ahead is repeated"
    for key in range(4):
        mine = [n for n in seen if n % 4 == key]
        assert mine == sorted(mine)


async def test_lag_does_not_count_what_is_done_ahead(app: App) -> None:
    stream = app.stream("tasks", Task, "key")
    go = trio.Event()

    @app.processor(stream, concurrency=4)
    async def handle(events: Any) -> None:
        async for task in events.records():
            if task.key == "k0":
                await go.wait()

    async with app.worker(), app.operator() as op:
        await stream.send(*tasks())

        async def lag() -> int:
            (processor,) = (await op.overview()).processors
            return processor.lag

        with trio.fail_after(60):
            while await lag() != 6:
                await trio.sleep(0.02)
        (processor,) = (await op.overview()).processors
        assert [partition.ahead for partition in processor.partitions] == [18]
        go.set()
        await drained(handle, within=60)
        assert await lag() == 0
