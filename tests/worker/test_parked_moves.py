"""Parked keys go along when a stream gets other partitions, and their later events find them there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Processor, Record, Stream
from runnel_trio._broker._memory._parking import MemoryParking
from runnel_trio._broker._protocol import Broker
from runnel_trio._operate._repartition import Repartition
from runnel_trio._rules._parked import Head
from runnel_trio._worker._member._partition import _parked_mover
from runnel_trio.testing import drained


class Task(Record):
    key: str
    n: int


Seen = list[tuple[str, int, int]]


@pytest.fixture
def app() -> App:
    return App("test", redis_url="memory://", default_partition_count=3)


def broken_for(
    app: App, tasks: Stream[Task], seen: Seen, broken: set[str], **options: Any
) -> Processor[Task]:
    @app.processor(tasks, **{"exception_policy": "park", "lock_expiry": 2, **options})
    async def handle(events: Any) -> None:
        async for task in events.records():
            await trio.sleep(0.001)
            if task.key in broken:
                raise ValueError(task.key)
            seen.append((task.key, task.n, events.partition.layout))

    return handle


async def until(condition: Callable[[], Any]) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.05)


async def until_parked(handle: Processor[Task], count: int) -> None:
    with trio.fail_after(60):
        while sum(x.events for x in await handle.parked()) != count:
            await trio.sleep(0.05)


@asynccontextmanager
async def repartitioned(app: App, tasks: Stream[Task], count: int) -> AsyncIterator[Repartition]:
    async with app._shared.used() as broker:
        change = Repartition(broker, tasks.declared_spec)
        await change.begin(count)
        yield change


async def finished(change: Repartition) -> None:
    with trio.fail_after(60):
        while not await change.finish(await change.look()):
            await trio.sleep(0.1)


def numbers(seen: Seen, key: str) -> list[int]:
    return [n for found, n, _ in seen if found == key]


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("count", [7, 1])
@pytest.mark.parametrize("page", [1, 500])
async def test_parked_keys_are_found_by_the_events_that_come_later(
    app: App,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
    concurrency: int,
    count: int,
    page: int,
) -> None:
    monkeypatch.setattr(_parked_mover, "_PAGE", page)
    tasks, seen, broken = app.stream("tasks", Task, "key"), Seen(), {"a", "c", "e"}
    handle = broken_for(app, tasks, seen, broken, concurrency=concurrency)
    async with app.worker():
        await tasks.send(*(Task(key=key, n=n) for n in range(5) for key in "abcdef"))
        await until_parked(handle, 15)
        await handle.park("f", reason="by hand")
        async with repartitioned(app, tasks, count) as change:
            await tasks.send(*(Task(key=key, n=n) for n in range(5, 9) for key in "abcdef"))
            await drained(handle, within=60)
            await until(lambda: len(numbers(seen, "b")) == 9)
            await until_parked(handle, 3 * 9 + 4)
            parked = await handle.parked()
            assert sorted((x.key, x.events, x.attempts) for x in parked) == [
                ("a", 9, 1), ("c", 9, 1), ("e", 9, 1), ("f", 4, 0),
            ]  # fmt: skip
            assert {x.partition for x in parked} == {tasks.partition_of(Task(key=x.key, n=0)) for x in parked}
            await finished(change)
        broken.clear()
        await handle.unpark()
        await until(lambda: len(seen) == 54)
    for key in "abcdef":
        assert numbers(seen, key) == list(range(9)), key
    assert {layout for key, _, layout in seen if key == "a"} == {2}


async def test_keys_that_a_stopped_processor_has_parked_move_when_it_runs_again(
    app: App, autojump_clock: MockClock
) -> None:
    tasks, seen, broken = app.stream("tasks", Task, "key"), Seen(), {"a"}
    handle = broken_for(app, tasks, seen, broken)
    async with app.worker():
        await tasks.send(*(Task(key="a", n=n) for n in range(4)))
        await until_parked(handle, 4)
    async with repartitioned(app, tasks, 5) as change:
        await tasks.send(Task(key="a", n=4))
        assert not await change.finish(await change.look())
        broken.clear()
        async with app.worker():
            await until_parked(handle, 5)
            await handle.unpark()
            await until(lambda: len(seen) == 5)
            await finished(change)
    assert numbers(seen, "a") == list(range(5))


@pytest.fixture(params=["copied", "half copied", "before"])
def interrupted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first owner that moves a list ends then."""
    monkeypatch.setattr(_parked_mover, "_PAGE", 2)
    real, when, ended = _parked_mover.ParkedMover.move, request.param, list[str]()
    put = _parked_mover.ParkedMover._put

    async def move(self: Any, number: int, heads: Any) -> Any:
        if ended or not heads:
            return await real(self, number, heads)
        if when == "before":
            ended.append(when)
            return []
        await real(self, number, heads)
        if not ended:
            ended.append(when)
        return []

    async def half(self: Any, target: int, change: Any) -> Any:
        if not ended and change.seen is not None:
            ended.append(when)
            return False
        return await put(self, target, change)

    monkeypatch.setattr(_parked_mover.ParkedMover, "move", move)
    if when == "half copied":
        monkeypatch.setattr(_parked_mover.ParkedMover, "_put", half)
    return ended


async def test_a_list_that_was_copied_before_its_owner_ended_is_copied_anew(
    app: App, autojump_clock: MockClock, interrupted: list[str]
) -> None:
    tasks, seen, broken = app.stream("tasks", Task, "key"), Seen(), {"a"}
    handle = broken_for(app, tasks, seen, broken)
    async with app.worker():
        await tasks.send(*(Task(key="a", n=n) for n in range(7)))
        await until_parked(handle, 7)
        async with repartitioned(app, tasks, 5) as change:
            await until(lambda: interrupted)
            (parked,) = await handle.parked()
            if parked.events == 7:
                await handle.unpark(skip_first=True)  # an operator who acts between the copy and the commit
            await finished(change)
        broken.clear()
        await handle.unpark()
        await until(lambda: numbers(seen, "a")[-1:] == [6])
        await until_parked(handle, 0)
    assert numbers(seen, "a") in (list(range(7)), list(range(1, 7)))


async def test_a_late_mover_brings_nothing_where_somebody_has_read(
    app: App, autojump_clock: MockClock
) -> None:
    tasks, seen, broken = app.stream("tasks", Task, "key"), Seen(), {"a"}
    handle = broken_for(app, tasks, seen, broken)
    late: list[Callable[[], Awaitable[Any]]] = []
    real = _parked_mover.ParkedMover.move

    async def move(self: Any, number: int, heads: Any) -> Any:
        found = dict(await self.broker.parked_values(self.processor, number))
        late.extend(
            lambda key=key, value=value: self._copy(number, key, *value) for key, value in found.items()
        )
        return await real(self, number, heads)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parked_mover.ParkedMover, "move", move)
        async with app.worker(), app._shared.used() as broker:
            await tasks.send(*(Task(key="a", n=n) for n in range(3)))
            await until_parked(handle, 3)
            async with repartitioned(app, tasks, 5) as change:
                await finished(change)
            await until(lambda: late)
            broken.clear()
            await handle.unpark()
            await until(lambda: len(seen) == 3)
            await until_parked(handle, 0)
            for again in late:
                assert not await again()
            assert await heads_of(broker, tasks, handle) == {}
    assert numbers(seen, "a") == [0, 1, 2]


async def test_a_mover_that_was_stopped_before_it_stores_a_list_is_refused_where_somebody_has_read(
    app: App, autojump_clock: MockClock
) -> None:
    tasks, seen, broken = app.stream("tasks", Task, "key"), Seen(), {"a"}
    handle = broken_for(app, tasks, seen, broken)
    late: list[Callable[[], Awaitable[Any]]] = []
    real = _parked_mover.ParkedMover._put

    async def put(self: Any, target: int, change: Any) -> Any:
        late.append(lambda: real(self, target, change))
        return await real(self, target, change)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_parked_mover.ParkedMover, "_put", put)
        async with app.worker(), app._shared.used() as broker:
            await tasks.send(*(Task(key="a", n=n) for n in range(3)))
            await until_parked(handle, 3)
            async with repartitioned(app, tasks, 5) as change:
                await finished(change)
            broken.clear()
            await handle.unpark()
            await until(lambda: len(seen) == 3)
            await until_parked(handle, 0)
            assert late
            for again in late:
                assert not await again()
            assert await heads_of(broker, tasks, handle) == {}


async def test_gate_without_nobody_has_owned_it_a_late_mover_brings_what_was_handled(
    app: App, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def move(self: Any, processor: Any, number: int, change: Any) -> bool:
        return bool(self._change(processor, number, change))

    monkeypatch.setattr(MemoryParking, "move_parked", move)
    with pytest.raises(AssertionError, match="not True"):
        await test_a_mover_that_was_stopped_before_it_stores_a_list_is_refused_where_somebody_has_read(
            app, autojump_clock
        )


async def heads_of(broker: Broker, tasks: Stream[Task], handle: Processor[Task]) -> dict[bytes, Head]:
    found: dict[bytes, Head] = {}
    for number in range(tasks.partition_count):
        found |= await broker.parked_heads(handle.spec, number)
    return found
