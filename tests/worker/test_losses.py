"""What leaves a log unread is counted, what the server says late is not taken for a loss."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Stream
from runnel_trio._broker._memory import MemoryBroker

Wait = Callable[[Any], Awaitable[None]]


def lost(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [x.facts["count"] for x in caplog.records if getattr(x, "fact", "") == "events-lost"]  # type: ignore[attr-defined]


@pytest.fixture
def tight(app: App, order: Any) -> Stream[Any]:
    """A stream of one partition that holds 20 events and lets the oldest go."""
    return app.stream("tight", order, "key", partition_count=1, partition_size=20, overflow="trim")


@pytest.mark.parametrize("bursts", [1, 3])
async def test_what_a_slow_processor_lost_to_trimming_is_told_exactly(
    bursts: int,
    app: App,
    tight: Stream[Any],
    order: Any,
    drained: Wait,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    seen: list[int] = []

    @app.processor(tight, prefetch_count=10, lock_expiry=4)
    async def slow(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(0.5)
            seen.append(record.n)

    async with app.worker() as worker:
        await tight.send(order(key="a", n=0))
        for burst in range(bursts):
            await trio.sleep(2.3)
            await tight.send(*(order(key="a", n=1 + n + 100 * burst) for n in range(100)))
        await drained(slow)
        await trio.sleep(5)
    assert seen == sorted(set(seen))
    assert len(seen) + sum(lost(caplog)) == 1 + 100 * bursts
    assert lost(caplog)
    assert worker.counts == {("slow", "events-lost"): sum(lost(caplog))}


async def test_nothing_is_told_where_nothing_was_lost(
    app: App,
    tight: Stream[Any],
    order: Any,
    drained: Wait,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    seen: list[int] = []

    @app.processor(tight, prefetch_count=4, lock_expiry=0.4)
    async def quick(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(0.01)
            seen.append(record.n)

    async with app.worker():
        for n in range(200):
            await tight.send(order(key="a", n=n))
            await trio.sleep(0.02)
        await drained(quick)
    assert seen == list(range(200))
    assert not lost(caplog)


async def test_a_late_word_of_the_server_does_not_take_the_event_in_hand_away(
    app: App,
    orders: Stream[Any],
    order: Any,
    drained: Wait,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    examine = MemoryBroker.examine

    async def late(self: MemoryBroker, *arguments: Any) -> Any:
        states = await examine(self, *arguments)
        await trio.sleep(0.5)
        return states

    monkeypatch.setattr(MemoryBroker, "examine", late)
    begun: list[int] = []

    @app.processor(orders, lock_expiry=4)
    async def slow(events: Any) -> None:
        async for record in events.records():
            begun.append(record.n)
            await trio.sleep(3)

    async with app.worker():
        await trio.sleep(1.2)  # the server answers at 1, and is heard at 1.5
        await orders.send(order(key="a", n=1))
        await drained(slow)
    assert begun == [1]
    assert "cursor-moved" not in caplog.text


async def test_of_many_partitions_some_are_examined_with_each_heartbeat_and_all_in_turn(
    app: App, order: Any, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    examine = MemoryBroker.examine
    examined: list[list[int]] = []

    async def watched(self: MemoryBroker, processor: Any, partitions: Any) -> Any:
        examined.append(list(partitions))
        return await examine(self, processor, partitions)

    monkeypatch.setattr(MemoryBroker, "examine", watched)

    @app.processor(app.stream("wide", order, "key", partition_count=600), lock_expiry=4)
    async def handle(events: Any) -> None:
        async for _ in events:
            pass

    async with app.worker():
        await trio.sleep(10)
    assert max(map(len, examined)) == 256
    turns = [number for numbers in examined for number in numbers]
    assert turns == [n % 600 for n in range(len(turns))]
    assert len(turns) > 1200
