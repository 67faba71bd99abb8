"""What a processor function sees, and what its ways to end do to the event in hand."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from runnel_trio import (
    App,
    BrokerUnavailable,
    DeserializationError,
    Event,
    Events,
    ExceptionPolicy,
    Middleware,
    Misconfigured,
    Stream,
)
from runnel_trio._broker._memory import _store
from runnel_trio._broker._values import Batch

pytestmark = pytest.mark.usefixtures("lanes")

Wait = Callable[[Any], Awaitable[None]]
Count = Callable[[Any], Awaitable[int]]


async def test_each_keys_records_come_in_order(
    app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    seen: dict[str, list[int]] = {}

    @app.processor(orders)
    async def collect(events: Any) -> None:
        async for record in events.records():
            seen.setdefault(record.key, []).append(record.n)

    await orders.send(*(order(key=str(n % 7), n=n) for n in range(100)))
    async with app.worker():
        await orders.send(*(order(key=str(n % 7), n=n) for n in range(100, 200)))
        await drained(collect)
    assert seen == {str(k): [n for n in range(200) if n % 7 == k] for k in range(7)}


async def test_events_show_where_they_come_from(
    app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    seen: list[Event] = []

    @app.processor(orders)
    async def collect(events: Any) -> None:
        async for event in events:
            seen.append(event)

    async with app.worker():
        await orders.send(order(key="a", n=1))
        await drained(collect)
    (event,) = seen
    assert event.partition.number == orders.partition_of(order(key="a", n=1))
    assert event.partition.epoch > 0
    assert event.group == b"collect"
    assert event.data == {b"data": b'{"key":"a","n":1}'}
    assert event.record() == order(key="a", n=1)
    assert event.recovering is False


async def test_take_yields_full_lists_and_then_what_there_is(
    app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    lists: list[list[int]] = []

    @app.processor(orders, prefetch_count=2)
    async def collect(events: Any) -> None:
        async for records in events.take(3, within=1).records():
            lists.append([record.n for record in records])

    await orders.send(*(order(key="a", n=n) for n in range(5)))
    async with app.worker():
        await drained(collect)
        await orders.send(order(key="a", n=5))
        begun = trio.current_time()
        await drained(collect)
        assert 1 <= trio.current_time() - begun < 1.2
    assert lists == [[0, 1, 2], [3, 4], [5]]


@pytest.mark.parametrize("how", ["break", "return", "aclose"])
async def test_leaving_the_loop_acknowledges_the_event_in_hand_and_goes_on(
    app: App, orders: Stream[Any], order: Any, drained: Wait, how: str, autojump_clock: MockClock
) -> None:
    seen: list[int] = []

    @app.processor(orders)
    async def leaver(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)
            if how == "break":
                break
            if how == "aclose":
                await events.aclose()
            if how == "return":
                return

    await orders.send(*(order(key="a", n=n) for n in range(5)))
    async with app.worker():
        await drained(leaver)
    assert seen == [0, 1, 2, 3, 4]


async def test_halt_raises_the_very_exception_after_committing_what_came_before(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    error = ValueError("three")
    seen: list[int] = []

    @app.processor(orders)
    async def fragile(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)
            if record.n == 3:
                raise error

    await orders.send(*(order(key="a", n=n) for n in range(6)))
    with pytest.raises(ValueError, match="three") as caught:
        await app.run()
    assert caught.value is error
    assert await lag(fragile) == 3
    with pytest.raises(ValueError, match="three"):
        await app.run()
    assert seen == [0, 1, 2, 3, 3]


async def test_halt_reaches_the_body_of_a_worker(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def fragile(events: Any) -> None:
        async for _ in events:
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        async with app.worker():
            await orders.send(order(key="a", n=1))
            await trio.sleep_forever()


async def test_a_bodys_own_error_leaves_a_worker_as_it_is(
    app: App, orders: Stream[Any], autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def quiet(events: Any) -> None:
        async for _ in events:
            pass

    with pytest.raises(KeyError, match="mine"):
        async with app.worker():
            raise KeyError("mine")


async def test_ignore_acknowledges_and_goes_on(
    app: App,
    orders: Stream[Any],
    order: Any,
    drained: Wait,
    caplog: pytest.LogCaptureFixture,
    autojump_clock: MockClock,
) -> None:
    seen: list[int] = []

    @app.processor(orders, exception_policy=ExceptionPolicy.IGNORE)
    async def fragile(events: Any) -> None:
        async for record in events.records():
            if record.n == 2:
                raise ValueError("two")
            seen.append(record.n)

    await orders.send(*(order(key="a", n=n) for n in range(5)))
    async with app.worker() as worker:
        await drained(fragile)
    assert seen == [0, 1, 3, 4]
    assert "ignored" in caplog.text
    assert worker.counts == {("fragile", "ignored"): 1}


async def test_a_batch_fails_as_one(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def fragile(events: Any) -> None:
        async for records in events.take(3, within=0.1).records():
            if any(record.n == 4 for record in records):
                raise ValueError("four")

    await orders.send(*(order(key="a", n=n) for n in range(6)))
    with pytest.raises(ValueError, match="four"):
        await app.run()
    assert await lag(fragile) == 3


async def test_an_entry_that_cannot_be_read_halts_even_if_the_function_catches_it(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def careless(events: Any) -> None:
        try:
            async for _ in events.records():
                pass
        except Exception:
            return

    await orders.send(order(key="a", n=1))
    async with app._shared.used() as broker:
        number = orders.partition_of(order(key="a", n=1))
        await broker.append(
            orders.spec, {number: Batch((b"data",), [b'{"key":"a","n":"x"}'], ids=[b"9999999999999-1"])}
        )
        with pytest.raises(DeserializationError) as caught:
            await app.run()
        assert await lag(careless) == 1
    assert (caught.value.stream, caught.value.partition) == ("orders", number)
    assert (caught.value.xid, caught.value.field) == ("9999999999999-1", "n")


async def test_a_cancelled_handler_has_its_event_again(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    seen: list[tuple[int, bool]] = []

    @app.processor(orders, grace_period=0.5)
    async def slow(events: Any) -> None:
        async for event in events:
            seen.append((event.record().n, event.recovering))
            if event.record().n == 1 and len(seen) == 2:
                await trio.sleep_forever()

    await orders.send(*(order(key="a", n=n) for n in range(3)))
    async with app.worker():
        await trio.sleep(1)
        begun = trio.current_time()
    assert trio.current_time() - begun == pytest.approx(0.5, abs=0.1)
    assert await lag(slow) == 2
    async with app.worker():
        await trio.sleep(1)
    assert seen == [(0, False), (1, False), (1, True), (2, True)]
    assert await lag(slow) == 0


async def test_a_timeout_of_the_users_loses_nothing(
    app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    seen: list[int] = []

    @app.processor(orders)
    async def impatient(events: Any) -> None:
        while True:
            with trio.move_on_after(0.01):
                async for record in events.records():
                    await trio.lowlevel.checkpoint()
                    seen.append(record.n)
            return

    async with app.worker():
        for n in range(20):
            await orders.send(order(key="a", n=n))
            await trio.sleep(0.007)
        await drained(impatient)
    assert seen == list(range(20))


@pytest.mark.parametrize("lanes", [1], indirect=True)
async def test_with_max_unacked_one_each_event_is_committed_before_the_next(
    app: App, orders: Stream[Any], order: Any, lag: Count, drained: Wait, autojump_clock: MockClock
) -> None:
    lags: list[int] = []

    @app.processor(orders, max_unacked=1)
    async def careful(events: Any) -> None:
        async for _ in events:
            lags.append(await lag(careful))

    await orders.send(*(order(key="a", n=n) for n in range(5)))
    async with app.worker():
        await drained(careful)
    assert lags == [5, 4, 3, 2, 1]


async def test_a_function_that_takes_nothing_is_refused(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def idle(events: Any) -> None:
        return

    await orders.send(order(key="a", n=1))
    with pytest.raises(Misconfigured, match="'idle' returned without taking an event"):
        await app.run()


async def test_of_large_events_few_are_read_ahead(
    app: App, order: Any, monkeypatch: pytest.MonkeyPatch, drained: Wait, autojump_clock: MockClock
) -> None:
    reads: list[int] = []
    after = _store.Log.after

    def counted(self: Any, xid: bytes, most: int) -> Any:
        found = after(self, xid, most)
        if found and len(found[0][1][1]) > 50_000:
            reads.append(len(found))
        return found

    large = app.stream("large", order, "key", partition_count=1)
    seen: list[int] = []

    @app.processor(large, prefetch_bytes=500_000)
    async def handle(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(0.01)
            seen.append(record.n)

    await large.send(*(order(key="x" * 50_000, n=n) for n in range(60)))
    monkeypatch.setattr(_store.Log, "after", counted)
    async with app.worker():
        await drained(handle)
    assert seen == list(range(60))
    assert reads[0] <= 8, "before anything is known of them"
    assert max(reads[1:]) <= 5


async def test_a_sibling_task_gets_its_turn_while_events_wait(
    app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    turns = 0

    @app.processor(orders)
    async def busy(events: Any) -> None:
        async for _ in events:
            pass

    async def sibling() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    await orders.send(*(order(key="a", n=n) for n in range(3000)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sibling)
        async with app.worker():
            with trio.fail_after(30):
                await trio.lowlevel.checkpoint()
                while turns < 20:
                    await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


class Recorder(Middleware):
    """Notes what happens around each item."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    async def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        try:
            async for item in parent:
                self.log.append(f"{self.name} in")
                try:
                    yield item
                except GeneratorExit:
                    self.log.append(f"{self.name} exit {events.exception!r}")
                    raise
                self.log.append(f"{self.name} out")
        finally:
            await trio.sleep(0.01)
            self.log.append(f"{self.name} closed")


async def test_middleware_surrounds_each_event_and_is_closed_from_the_users_end(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    log: list[str] = []

    @app.processor(orders, middleware=[Recorder("a", log), Recorder("b", log)])
    async def fragile(events: Any) -> None:
        async for record in events.records():
            if record.n == 1:
                raise ValueError("one")

    await orders.send(*(order(key="a", n=n) for n in range(2)))
    with pytest.raises(ValueError, match="one"):
        await app.run()
    # Three of the four partitions get no event: their links are opened and closed only.
    handled = [line for line in log if "closed" not in line]
    assert handled[:6] == ["a in", "b in", "b out", "a out", "a in", "b in"]
    assert handled[6:] == ["b exit ValueError('one')", "a exit ValueError('one')"]
    last = log[log.index("b exit ValueError('one')") :]
    assert last.index("b closed") < last.index("a exit ValueError('one')") < len(last) - 1
    assert log.count("a closed") == log.count("b closed") == 4


async def test_after_break_middleware_sees_no_exception(
    app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    log: list[str] = []

    @app.processor(orders, middleware=[Recorder("a", log)])
    async def leaver(events: Any) -> None:
        async for _ in events:
            break

    await orders.send(order(key="a", n=0))
    async with app.worker():
        await drained(leaver)
        assert [line for line in log if line != "a closed"] == ["a in", "a exit None"]


async def test_what_middleware_leaves_out_is_acknowledged_with_the_next(
    app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    seen: list[int] = []

    class OnlyEven(Middleware):
        async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
            async for event in parent:
                if event.record().n % 2 == 0:
                    yield event

    @app.processor(orders, middleware=[OnlyEven()])
    async def collect(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    await orders.send(*(order(key="a", n=n) for n in range(5)))
    async with app.worker():
        await drained(collect)
    assert seen == [0, 2, 4]


async def test_a_failing_middleware_is_a_failure_of_its_event(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    class Broken(Middleware):
        async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
            async for event in parent:
                if event.record().n == 1:
                    raise RuntimeError("link")
                yield event

    @app.processor(orders, middleware=[Broken()])
    async def collect(events: Any) -> None:
        async for _ in events:
            pass

    await orders.send(*(order(key="a", n=n) for n in range(3)))
    with pytest.raises(RuntimeError, match="link"):
        await app.run()
    assert await lag(collect) == 2


async def test_a_handler_that_is_no_generator_is_refused(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    class Plain(Middleware):
        def handler(self, parent: Any, **kwargs: Any) -> Any:
            return [parent]

    @app.processor(orders, middleware=[Plain()])
    async def collect(events: Any) -> None:
        async for _ in events:
            pass

    with pytest.raises(Misconfigured, match=r"Plain\.handler must be an async generator"):
        await app.run()


async def test_processors_of_one_stream_each_see_every_event(
    app: App, orders: Stream[Any], order: Any, drained: Wait, autojump_clock: MockClock
) -> None:
    seen: dict[str, list[int]] = {"one": [], "two": []}

    def declare(name: str) -> Any:
        @app.processor(orders, name=name)
        async def collect(events: Any) -> None:
            async for record in events.records():
                seen[name].append(record.n)

        return collect

    one, two = declare("one"), declare("two")
    await orders.send(*(order(key="a", n=n) for n in range(3)))
    async with app.worker(processors=["one"]):
        await drained(one)
    assert seen == {"one": [0, 1, 2], "two": []}
    async with app.worker():
        await drained(two)
    assert seen == {"one": [0, 1, 2], "two": [0, 1, 2]}


async def test_the_servers_url_is_known_in_the_run_and_its_threads(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    with pytest.raises(BrokerUnavailable, match="is not connected"):
        _ = app.server_url
    async with app.session():
        assert app.server_url == await trio.to_thread.run_sync(lambda: app.server_url) == "memory://"
        outside: list[str] = []

        def elsewhere() -> None:
            try:
                outside.append(app.server_url)
            except BrokerUnavailable as error:
                outside.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await trio.to_thread.run_sync(thread.join)
    assert "is not connected" in outside[0]


async def test_a_stream_of_another_app_is_refused(app: App, orders: Stream[Any], order: Any) -> None:
    other = App("other", redis_url="memory://")
    with pytest.raises(Misconfigured, match=r"<Stream test\.orders .* is a stream of another app"):
        other.processor(orders)
    with pytest.raises(Misconfigured, match="needs a stream"):
        other.processor(order)


async def test_a_list_may_not_wait_longer_than_the_grace_period(app: App, order: Any) -> None:
    orders = app.stream("orders", order, "key")

    @app.processor(orders, grace_period=2)
    async def patient(events: Events[Any]) -> None:
        async for _ in events.take(10, within=3):
            pass

    with pytest.raises(Misconfigured, match=r"take\(10, within=3\): .* grace_period=2 s"):
        async with app.worker():
            await orders.send(order(key="a", n=1))
            await trio.sleep(10)
