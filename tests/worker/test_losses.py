"""What leaves a log unread is counted, what the server says late is not taken for a loss."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Stream, StreamFull
from runnel_trio._broker._memory._broker import MemoryBroker

Wait = Callable[[Any], Awaitable[None]]
Facts = Callable[[str], list[dict[str, Any]]]
Handle = Callable[[Any, int], Awaitable[None]]


@pytest.fixture
def lost(facts: Facts) -> Callable[[], list[int]]:
    """How many events each report calls lost."""
    return lambda: [fact["count"] for fact in facts("events-lost")]


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
    lost: Any,
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
    assert len(seen) + sum(lost()) == 1 + 100 * bursts
    assert lost()
    assert worker.counts == {("slow", "events-lost"): sum(lost())}


async def test_nothing_is_told_where_nothing_was_lost(
    app: App,
    tight: Stream[Any],
    order: Any,
    drained: Wait,
    lost: Any,
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
    assert not lost()


async def test_a_late_word_of_the_server_does_not_take_the_event_in_hand_away(
    app: App,
    orders: Stream[Any],
    order: Any,
    drained: Wait,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    examine = MemoryBroker.log_states

    async def late(self: MemoryBroker, *arguments: Any) -> Any:
        states = await examine(self, *arguments)
        await trio.sleep(0.5)
        return states

    monkeypatch.setattr(MemoryBroker, "log_states", late)
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
    examine = MemoryBroker.log_states
    examined: list[list[int]] = []

    async def watched(self: MemoryBroker, processor: Any, partitions: Any) -> Any:
        examined.append(list(partitions))
        return await examine(self, processor, partitions)

    monkeypatch.setattr(MemoryBroker, "log_states", watched)

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


@pytest.fixture
def full(app: App, order: Any) -> Stream[Any]:
    """A stream of two partitions that hold ten events each, and refuse more."""
    return app.stream("full", order, "key", partition_count=2, partition_size=10, overflow="error")


@pytest.fixture
def have_handled(full: Stream[Any], order: Any, drained: Wait) -> Handle:
    """Send events to `full`, each when a processor has handled the one before."""

    async def send(processor: Any, count: int) -> None:
        for n in range(count):
            await full.send(order(key="a", n=n))
            await drained(processor)

    return send


def register(app: App, stream: Stream[Any], name: str, seen: list[int]) -> Any:
    @app.processor(stream, name=name, lock_expiry=2)
    async def handle(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    return handle


async def test_nothing_is_trimmed_that_a_declared_processor_which_runs_nowhere_needs(
    app: App, full: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    seen: list[int] = []
    late: list[int] = []
    quick = register(app, full, "quick", seen)
    register(app, full, "late", late)
    sent = 0
    async with app.worker(processors=["quick"]):
        with pytest.raises(StreamFull):
            for sent in range(30):
                await full.send(order(key="a", n=sent))
                await drained(quick)
    assert sent == 10
    async with app.worker(processors=["late"]) as worker:
        await drained(app.processors["late"])
        assert worker.counts == {}
    assert late == seen == list(range(10))


async def test_nothing_is_trimmed_that_a_processor_needs_which_was_paused_before_it_ever_ran(
    app: App, full: Stream[Any], drained: Wait, have_handled: Handle, autojump_clock: MockClock
) -> None:
    seen: list[int] = []
    quick = register(app, full, "quick", [])
    slow = register(app, full, "slow", seen)
    await slow.pause(reason="deploying")
    async with app.worker():
        with pytest.raises(StreamFull):
            await have_handled(quick, 30)
        await slow.resume()
        await drained(slow)
    assert seen == list(range(10))


async def test_a_processor_that_is_new_on_an_old_stream_is_told_what_it_has_missed(
    app: App, full: Stream[Any], drained: Wait, have_handled: Handle, facts: Facts, autojump_clock: MockClock
) -> None:
    seen: list[int] = []
    quick = register(app, full, "quick", [])
    async with app.worker():
        await have_handled(quick, 25)
    new = register(app, full, "new", seen)
    async with app.worker() as worker:
        await drained(new)
    assert seen == list(range(20, 25))
    assert facts("events-missed") == [{"stream": "full", "processor": "new", "count": 20}]
    assert worker.counts == {("new", "events-missed"): 20}
    async with app.worker() as worker:
        await drained(new)
    assert worker.counts == {}, "it is told once"


async def test_what_is_gone_when_a_destroyed_group_is_made_anew_is_lost(
    app: App,
    full: Stream[Any],
    order: Any,
    drained: Wait,
    have_handled: Handle,
    facts: Facts,
    autojump_clock: MockClock,
) -> None:
    seen: list[int] = []
    slow = register(app, full, "slow", seen)
    async with app.session(), app._shared.used() as broker:
        async with app.worker():
            await full.send(order(key="a", n=-1))
            await drained(slow)
        assert isinstance(broker, MemoryBroker)
        for number in range(2):
            del broker.store.log(broker.log_key(full.spec, number)).groups["slow"]
        del app.processors["slow"]
        quick = register(app, full, "quick", [])
        async with app.worker():
            await have_handled(quick, 25)
        app.processors["slow"] = slow
        async with app.worker(processors=["slow"]):
            await drained(slow)
    assert seen == [-1, *range(19, 25)], "those that made room were 11 times ten, and -1 was acknowledged"
    assert sum(x["count"] for x in facts("events-lost")) == 19
