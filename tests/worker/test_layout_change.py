"""Processors go over to other partitions of their stream: each by itself, when it is through with the former."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Misconfigured, Stream, testing
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._operate._repartition import Repartition
from runnel_trio.middleware import Dead, DeadLetterMiddleware
from runnel_trio.testing import drained

Facts = Callable[[str], list[dict[str, Any]]]
Seen = list[tuple[str, int, int]]


@pytest.fixture
def seen() -> Seen:
    """What `remembered` has handled."""
    return []


def remembered(
    app: App, orders: Stream[Any], seen: Seen, name: str = "book", bad: tuple[int, ...] = (), **options: Any
) -> Any:
    """A processor that remembers key, number and layout, and fails with some numbers each time."""

    @app.processor(orders, name=name, lock_expiry=2, **options)
    async def handle(events: Any) -> None:
        async for item in events.records():
            if item.n in bad:
                raise ValueError(f"cannot book {item.n}")
            seen.append((item.key, item.n, events.partition.layout))
            await trio.sleep(0.01)

    return handle


async def until(condition: Callable[[], Any], within: float = 60) -> None:
    with trio.fail_after(within):
        while not condition():
            await trio.sleep(0.05)


async def finished(broker: Broker, stream: Stream[Any]) -> None:
    change = Repartition(broker, stream.declared_spec)
    with trio.fail_after(60):
        while not await change.finish(await change.look()):
            await trio.sleep(0.1)


async def moved(app: App, orders: Stream[Any], count: int = 7) -> Broker:
    async with app._shared.used() as broker:
        await Repartition(broker, orders.declared_spec).begin(count)
        return broker


def ordered(seen: Seen, *keys: str, count: int) -> bool:
    return all([n for key, n, _ in seen if key == mine] == list(range(count)) for mine in keys)


async def test_a_processor_goes_over_when_everything_former_is_acknowledged(
    app: App,
    orders: Stream[Any],
    seen: Seen,
    order: Any,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
    facts: Facts,
) -> None:
    caplog.set_level(logging.INFO)
    handle = remembered(app, orders, seen)
    async with app.worker() as worker:
        await orders.send(*(order(key=key, n=n) for n in range(20) for key in "abcdef"))
        broker = await moved(app, orders)
        await orders.send(*(order(key=key, n=n) for n in range(20, 30) for key in "abcdef"))
        await drained(handle, within=60)
        assert worker.ready
        assert ordered(seen, *"abcdef", count=30)
        layouts = [layout for _, _, layout in seen]
        assert layouts == sorted(layouts)
        assert layouts.count(1) == 120
        await finished(broker, orders)
        assert await broker.layouts(orders.spec) == await broker.declare(orders.declared_spec)
    assert facts("partitions-changed") == [{"stream": "orders", "processor": "book", "was": 4, "is_now": 7}]


async def test_it_is_heard_of_at_once_and_otherwise_looked_for(
    app: App, orders: Stream[Any], seen: Seen, order: Any, autojump_clock: MockClock
) -> None:
    remembered(app, orders, seen)
    async with app.worker(), app._shared.used() as broker:
        before = trio.current_time()
        await moved(app, orders)
        await orders.send(order(key="a", n=0))
        await until(lambda: seen)
        assert trio.current_time() - before < 0.3
        before = trio.current_time()
        await finished(broker, orders)
        await broker.repartition(orders.spec, 3)  # and nobody tells
        await orders.send(order(key="a", n=1))
        await until(lambda: len(seen) == 2)
        assert trio.current_time() - before < 1


async def test_each_processor_goes_over_by_itself(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    fast: Seen = []
    slow: Seen = []
    remembered(app, orders, fast, "fast")
    last = remembered(app, orders, slow, "slow")
    await orders.send(*(order(key="a", n=n) for n in range(5)))
    await last.pause()
    async with app.worker():
        broker = await moved(app, orders)
        await orders.send(order(key="a", n=5))
        await until(lambda: len(fast) == 6)
        assert slow == []
        (found,) = (await Repartition(broker, orders.declared_spec).look()).waiting
        assert (found.name, found.lag, len(found.standing), found.members) == ("slow", 5, 4, 1)
        await last.resume()
        await until(lambda: len(slow) == 6)
        assert [layout for _, _, layout in slow] == [1, 1, 1, 1, 1, 2]


async def test_a_quarantine_holds_the_processor_and_is_lifted_where_it_stands(
    app: App, orders: Stream[Any], seen: Seen, order: Any, autojump_clock: MockClock
) -> None:
    handle = remembered(app, orders, seen, bad=(2,), exception_policy="quarantine")
    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(4)))
        await until(lambda: len(seen) == 2)
        await moved(app, orders)
        await orders.send(order(key="a", n=4), order(key="b", n=0))
        await trio.sleep(30)
        assert len(seen) == 2
        (why,) = await handle.quarantined()
        assert await handle.resume([why], skip=True) == [why]
        await drained(handle, within=60)
        assert [n for key, n, _ in seen if key == "a"] == [0, 1, 3, 4]


async def test_a_pause_without_anything_to_handle_holds_it_too(
    app: App, orders: Stream[Any], seen: Seen, order: Any, autojump_clock: MockClock
) -> None:
    handle = remembered(app, orders, seen)
    async with app.worker():
        assert await handle.pause([1]) == [1]
        await moved(app, orders)
        await orders.send(order(key="a", n=0))
        await trio.sleep(30)
        assert seen == []
        with pytest.raises(testing.NotDrained, match=r"orders\[\d\] of processor 'book': 1 event"):
            await drained(handle, within=1)
        with pytest.raises(Misconfigured, match="has no partition 5: they are 0 to 3"):
            await handle.pause([5])
        await handle.resume()
        await until(lambda: seen == [("a", 0, 2)])


async def test_who_starts_later_begins_with_the_former_partitions(
    app: App, orders: Stream[Any], seen: Seen, order: Any, autojump_clock: MockClock
) -> None:
    handle = remembered(app, orders, seen)
    async with app.session():
        await orders.send(*(order(key=key, n=n) for n in range(5) for key in "abc"))
        await moved(app, orders)
        await orders.send(*(order(key=key, n=5) for key in "abc"))
        async with app.worker():
            await until(lambda: len(seen) > 4)
        async with app.worker():
            await drained(handle, within=60)
    assert [x for x in seen if x[0] == "a"] == [*(("a", n, 1) for n in range(5)), ("a", 5, 2)]
    assert ordered(seen, *"abc", count=6)


async def test_a_reset_counts_for_both_as_long_as_there_are_both(
    app: App, orders: Stream[Any], seen: Seen, order: Any, autojump_clock: MockClock
) -> None:
    handle = remembered(app, orders, seen)
    async with app.session():
        await orders.send(*(order(key="a", n=n) for n in range(5)))
        await moved(app, orders)
        await orders.send(*(order(key="a", n=n) for n in range(5, 8)))
        found = await handle.reset("$")
        assert [x.layout for x in found] == [1] * 4 + [2] * 7
        assert sum(x.lag_after for x in found) == 0
        await orders.send(order(key="a", n=8))
        async with app.worker():
            await until(lambda: seen == [("a", 8, 2)])
        await handle.reset("0")
        async with app.worker():
            await until(lambda: len(seen) == 5)  # what the former ones had is handled: it is not gone back to
    assert [n for _, n, _ in seen] == [8, 5, 6, 7, 8]
    assert await forgotten(app, handle) == 7


async def forgotten(app: App, handle: Any) -> int:
    async with app.session():
        return int(await handle.forget())


async def test_letters_go_to_the_new_partitions_of_their_stream_and_are_found_in_both(
    app: App, orders: Stream[Any], seen: Seen, order: Any, autojump_clock: MockClock
) -> None:
    sink = app.stream("dead", Dead, partition_by="xid", partition_count=4)
    letters = DeadLetterMiddleware(sink)
    bad = [1, 2]
    handle = remembered(app, orders, seen, bad=bad, middleware=[letters])  # type: ignore[arg-type]  # it is read later
    async with app.worker():
        await orders.send(order(key="a", n=0), order(key="a", n=1))
        await drained(handle, within=60)
        broker = await moved(app, sink, 8)
        await orders.send(order(key="a", n=2))
        await drained(handle, within=60)
        found = await letters.letters()
        assert [(x.layout, x.record.error) for x in found if isinstance(x.record, Dead)] == [
            (1, "ValueError: cannot book 1"), (2, "ValueError: cannot book 2"),
        ]  # fmt: skip
        progress = await Repartition(broker, sink.declared_spec).look()
        assert (progress.unread, progress.waiting) == (1, [])
        await moved(app, orders, 13)
        bad.clear()
        assert await letters.replay(found) == 2
        await finished(broker, sink)
        assert await letters.replay(found) == 0
        await drained(handle, within=60)
        assert [n for _, n, _ in seen] == [0, 1, 2]
        at = orders.partition_of(order(key="a", n=1))
        assert len(await broker.entries(orders.spec, at)) == 2
        again = await letters.letters()
        assert (again, await letters.drop(found)) == ([], 0)


async def test_what_is_made_a_letter_by_hand_goes_to_the_new_partitions_too(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    sink = app.stream("dead", Dead, partition_by="xid", partition_count=4)
    letters = DeadLetterMiddleware(sink, by_hand=True)
    handle = remembered(app, orders, [], bad=(0,), middleware=[letters], exception_policy="quarantine")
    async with app.worker():
        await orders.send(order(key="a", n=0))
        await trio.sleep(1)
        async with sink.connect(sink) as broker:
            await broker.repartition(sink.spec, 3)
        assert len(await handle.resume(dead_letter=True)) == 1
        assert [x.layout for x in await letters.letters()] == [2]


async def test_a_worker_stops_while_it_goes_over(
    app: App, orders: Stream[Any], seen: Seen, order: Any, autojump_clock: MockClock
) -> None:
    remembered(app, orders, seen)
    for pause in (0.0, 0.005, 0.05, 0.3):
        async with app.worker() as worker, app._shared.used() as broker:
            await finished(broker, orders)
            count = 1 + (orders.partition_count % 5)
            await moved(app, orders, count)
            await trio.sleep(pause)
            worker.stop()
            with trio.fail_after(60):
                await worker.ended.wait()


async def test_a_server_that_has_forgotten_the_layout_is_told_by_workers(
    app: App, orders: Stream[Any], seen: Seen, order: Any, autojump_clock: MockClock
) -> None:
    handle = remembered(app, orders, seen)
    async with app.worker():
        broker: Any = await moved(app, orders)
        await orders.send(order(key="a", n=0))
        await until(lambda: seen)
        assert isinstance(broker, MemoryBroker)
        for kept in (broker.store.metas, broker.store.switched, broker.store.logs):
            kept.clear()  # FLUSHALL
        await trio.sleep(3)
        layouts = await broker.layouts(orders.declared_spec)
        assert layouts is not None
        assert layouts.current == orders.spec
        await orders.send(order(key="a", n=1))
        await drained(handle, within=60)
        assert seen == [("a", 0, 2), ("a", 1, 2)]


async def test_a_server_that_cannot_be_asked_about_layouts_ends_the_worker_with_the_reason(
    app: App, orders: Stream[Any], autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: Any) -> Any:
        raise Misconfigured("no")

    remembered(app, orders, [])
    with pytest.raises(Misconfigured, match="no"):
        async with app.worker():
            monkeypatch.setattr(MemoryBroker, "layouts", refused)
            await trio.sleep(60)
    with pytest.raises(Misconfigured, match="no"):
        async with app.worker():
            await trio.sleep(60)


async def test_code_with_a_count_that_the_stream_never_had_is_refused(
    app: App, orders: Stream[Any], autojump_clock: MockClock
) -> None:
    async with app.session():
        await moved_first(app, orders)
        other = App("test", redis_url="memory://")
        wrong = other.stream("orders", orders.record, partition_by="key", partition_count=9)

        @other.processor(wrong)
        async def handle(events: Any) -> None: ...

        with pytest.raises(Misconfigured, match="stream repartition MODULE:orders --to 9"):
            async with other.worker():
                pass
        assert await present(app, orders) == 7


async def moved_first(app: App, orders: Stream[Any]) -> None:
    async with orders.connect(orders):
        await moved(app, orders)


async def present(app: App, orders: Stream[Any]) -> int:
    async with app._shared.used() as broker:
        layouts = await broker.layouts(orders.declared_spec)
        assert layouts is not None
        assert not await broker.undrained(ProcessorSpec(stream=layouts.current, name="handle"))
        return layouts.current.partition_count
