"""Between two tries only the key waits: its lane, and with one lane the partition, goes on with others."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Misconfigured, Record
from runnel_trio.middleware import RetryMiddleware
from runnel_trio.testing import Outcome


class Task(Record):
    key: str
    n: int


def retrying(**options: Any) -> RetryMiddleware:
    return RetryMiddleware(
        **{"delay": 60, "factor": 1, "jitter": False, "attempts": 10, "hold": "key", **options}
    )


@pytest.fixture
def app() -> App:
    return App("test", default_partition_count=1)


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_others_go_on_and_the_keys_own_events_wait_in_order(
    app: App, autojump_clock: MockClock, concurrency: int
) -> None:
    tasks = app.stream("tasks", Task, "key")
    seen: list[tuple[str, int, int, float]] = []

    @app.processor(tasks, concurrency=concurrency, middleware=[retrying()])
    async def handle(events: Any) -> None:
        async for task in events.records():
            seen.append((task.key, task.n, events.attempt, trio.current_time()))
            if task.key == "bad" and task.n == 0 and events.attempt < 4:
                raise ConnectionError

    async with handle.test() as t:
        began = trio.current_time()
        results = await t.send(
            Task(key="bad", n=0), *(Task(key=f"k{n % 3}", n=n) for n in range(30)), Task(key="bad", n=1)
        )
    assert {result.outcome for result in results} == {Outcome.ACKED}
    assert results[0].attempts == 4
    bad = [(n, attempt, round((when - began) / 60)) for key, n, attempt, when in seen if key == "bad"]
    assert bad == [(0, 1, 0), (0, 2, 1), (0, 3, 2), (0, 4, 3), (1, 1, 3)]
    others = [(n, when) for key, n, _, when in seen if key != "bad"]
    assert [n for n, _ in others if n % 3 == 0] == list(range(0, 30, 3))
    assert max(when for _, when in others) - began < 30


async def test_of_a_list_all_keys_wait_and_come_again(app: App, autojump_clock: MockClock) -> None:
    tasks = app.stream("tasks", Task, "key")
    lists: list[list[tuple[str, int]]] = []

    @app.processor(tasks, middleware=[retrying()])
    async def handle(events: Any) -> None:
        async for found in events.take(4, within=1).records():
            lists.append([(task.key, task.n) for task in found])
            if events.attempt == 1 and ("a", 0) in lists[-1]:
                raise ConnectionError

    async with handle.test() as t:
        await t.send(*(Task(key=key, n=n) for n in range(3) for key in "abcd"))
        assert all(result.outcome is Outcome.ACKED for result in t.results)
    for key in "abcd":
        mine = [n for found in lists for name, n in found if name == key]
        assert sorted(set(mine)) == [0, 1, 2]
        assert mine[-3:] == [0, 1, 2] or mine == [0, 1, 2]


async def test_a_drain_cuts_it_short_and_the_next_owner_has_the_event(
    app: App, autojump_clock: MockClock
) -> None:
    app = App("test", redis_url="memory://", default_partition_count=1)
    tasks = app.stream("tasks", Task, "key")
    seen: list[tuple[str, int, int]] = []
    broken = True

    @app.processor(tasks, middleware=[retrying(delay=1000)], grace_period=5)
    async def handle(events: Any) -> None:
        async for task in events.records():
            seen.append((task.key, task.n, events.attempt))
            if task.key == "bad" and broken:
                raise ConnectionError

    async with app.session():
        await tasks.send(Task(key="bad", n=0), Task(key="k", n=0), Task(key="bad", n=1))
        async with app.worker():
            await trio.sleep(10)
        assert trio.current_time() < 20
        assert sorted(seen) == [("bad", 0, 1), ("k", 0, 1)]
        broken = False
        seen.clear()
        async with app.worker():
            await trio.sleep(10)
    assert seen == [("bad", 0, 1), ("bad", 1, 1)]


async def test_the_last_try_ends_as_the_policy_says(app: App, autojump_clock: MockClock) -> None:
    tasks = app.stream("tasks", Task, "key")

    @app.processor(tasks, middleware=[retrying(attempts=2)], exception_policy="ignore")
    async def handle(events: Any) -> None:
        async for task in events.records():
            if task.key == "bad":
                raise ConnectionError

    async with handle.test() as t:
        results = await t.send(Task(key="bad", n=0), Task(key="k", n=0), Task(key="bad", n=1))
    assert [(x.outcome, x.attempts) for x in results] == [
        (Outcome.IGNORED, 2), (Outcome.ACKED, 1), (Outcome.IGNORED, 2),
    ]  # fmt: skip


def test_another_word_is_refused() -> None:
    with pytest.raises(Misconfigured, match='hold must be "lane" or "key"'):
        retrying(hold="partition")
