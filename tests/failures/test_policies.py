"""What becomes of an event that cannot be handled: tried again, set aside, quarantined, ignored, or the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Middleware, Misconfigured, Record, Stream
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

pytestmark = pytest.mark.usefixtures("lanes")

Facts = Callable[[str], list[dict[str, Any]]]
Drained = Callable[[Any], Awaitable[None]]
QUARANTINE = ExceptionPolicy.QUARANTINE


class Point(Record, primitive=True):
    """A primitive record."""

    key: str
    n: int


async def quarantines(app: App, processor: Any) -> list[Any]:
    async with app.operator() as op:
        return [found.stored for found in await op.quarantined(processor.name)]


# Quarantine


async def test_a_quarantined_partition_stands_still_and_the_others_go_on(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock, facts: Facts
) -> None:
    seen: list[tuple[str, int]] = []

    @app.processor(orders, exception_policy=QUARANTINE, lock_expiry=2)
    async def handle(events: Any) -> None:
        async for record in events.records():
            if record == order(key="bad", n=5):
                raise ValueError("no fives")
            seen.append((record.key, record.n))

    keys = ["bad", *"abcdefgh"]
    bad = orders.partition_of(order(key="bad", n=0))
    others = [key for key in keys if orders.partition_of(order(key=key, n=0)) != bad]
    for turn in range(2):  # also after a restart
        async with app.worker():
            await orders.send(*(order(key=key, n=n) for key in keys for n in range(10)))
            await trio.sleep(10)
        assert len(facts("quarantined")) == 1
        assert len(facts("stands-still")) == turn, "not once more by the worker that has told it"
        assert [n for key, n in seen if key == "bad"] == list(range(5))
    assert all([n for key, n in seen if key == other] == [*range(10)] * 2 for other in others)
    (why,) = await quarantines(app, handle)
    assert (why.partition, why.count, why.error) == (bad, 1, "ValueError: no fives")
    assert why.first == why.last
    assert 'raise ValueError("no fives")' in why.traceback
    assert "runnel_trio" not in why.traceback
    assert len(facts("quarantined")) == 1
    assert len(facts("stands-still")) == 1, "told by the second worker; the first one has done it"


@pytest.mark.parametrize("skip", [False, True])
async def test_a_partition_that_is_resumed_goes_on_at_once_in_order(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock, skip: bool
) -> None:
    seen: list[int] = []
    broken = True

    @app.processor(orders, exception_policy=QUARANTINE, lock_expiry=2)
    async def handle(events: Any) -> None:
        async for record in events.records():
            if record.n == 5 and broken:
                raise ValueError
            seen.append(record.n)

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(10)))
        await trio.sleep(5)
        assert seen == list(range(5))
        broken = skip
        (why,) = await quarantines(app, handle)
        async with app._shared.used() as broker:
            await broker.resume(handle.spec, why, skip=skip)
        await trio.sleep(0.01)
    assert seen == [n for n in range(10) if not (skip and n == 5)]


async def test_a_batch_is_quarantined_as_one(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders, exception_policy=QUARANTINE)
    async def handle(events: Any) -> None:
        async for records in events.take(4, within=1).records():
            assert all(record.n != 5 for record in records)

    await orders.send(*(order(key="a", n=n) for n in range(10)))
    async with app.worker():
        await trio.sleep(5)
        (why,) = await quarantines(app, handle)
        assert why.count == 4
        assert why.first < why.last
        async with app._shared.used() as broker:
            await broker.resume(handle.spec, why, skip=True)
        await trio.sleep(5)
        assert await quarantines(app, handle) == []


async def test_a_function_that_fails_without_an_event_ends_the_worker_under_any_policy(
    app: App, orders: Stream[Any], autojump_clock: MockClock
) -> None:
    @app.processor(orders, exception_policy=QUARANTINE)
    async def handle(events: Any) -> None:
        raise ValueError("at once")

    with pytest.raises(ValueError, match="at once"):
        await app.run()


# Dead letters


@pytest.fixture
def letterbox(app: App) -> DeadLetterMiddleware:
    return DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))


@pytest.mark.parametrize("policy", list(ExceptionPolicy))
async def test_what_fails_is_a_letter_and_the_rest_goes_on(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock, policy: ExceptionPolicy,
) -> None:  # fmt: skip
    seen: list[int] = []

    @app.processor(orders, middleware=[letterbox], exception_policy=policy)
    async def handle(events: Any) -> None:
        async for record in events.records():
            if record.n % 4 == 1:
                raise ValueError(f"not {record.n}")
            seen.append(record.n)

    async with app.worker() as worker:
        await orders.send(*(order(key="a", n=n) for n in range(10)))
        await drained(handle)
    assert seen == [0, 2, 3, 4, 6, 7, 8]
    assert worker.counts == {("handle", "set-aside"): 3}
    letters = await letterbox.letters()
    records: list[Any] = [letter.record for letter in letters]
    assert [record.error for record in records] == [f"ValueError: not {n}" for n in (1, 5, 9)]
    assert {(record.stream, record.partition) for record in records} == {
        ("orders", orders.partition_of(order(key="a", n=0)))
    }
    assert [orders.codec.decode([b"data", record.data["data"]]).n for record in records] == [1, 5, 9]


async def test_letters_by_hand_are_only_of_what_is_resumed_so(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    box = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"), by_hand=True)

    @app.processor(orders, middleware=[box], exception_policy=QUARANTINE)
    async def handle(events: Any) -> None:
        async for record in events.records():
            if record.n == 1:
                raise ValueError("no ones")

    async with app.worker() as worker:
        await orders.send(*(order(key="a", n=n) for n in range(3)))
        while not (found := await handle.quarantined()):
            await trio.sleep(0.1)
        assert worker.counts == {("handle", "quarantined"): 1}
        assert await box.letters() == []
        assert await handle.resume(found, dead_letter=True) == found
        await drained(handle)
    assert [letter.record.error for letter in await box.letters()] == ["ValueError: no ones"]


async def test_a_failed_batch_is_a_letter_for_each_of_its_events(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock,
) -> None:  # fmt: skip
    @app.processor(orders, middleware=[letterbox])
    async def handle(events: Any) -> None:
        async for records in events.take(4, within=0.1).records():
            assert all(record.n != 5 for record in records)

    await orders.send(*(order(key="a", n=n) for n in range(10)))
    async with app.worker():
        await drained(handle)
    assert len(await letterbox.letters()) == 4


async def test_primitive_entries_are_kept_as_they_are(
    app: App, drained: Drained, autojump_clock: MockClock
) -> None:
    points = app.stream("points", Point, partition_by="key")
    box = DeadLetterMiddleware(app.stream("dead-points", Point, partition_by="key"))

    @app.processor(points, middleware=[box])
    async def handle(events: Any) -> None:
        async for point in events.records():
            assert point.n != 1

    async with app.worker():
        await points.send(*(Point(key="a", n=n) for n in range(3)))
        await drained(handle)
    (letter,) = await box.letters()
    assert letter.record == Point(key="a", n=1)


async def test_letters_are_put_back_or_dropped(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock,
) -> None:  # fmt: skip
    seen: list[int] = []
    broken = True

    @app.processor(orders, middleware=[letterbox])
    async def handle(events: Any) -> None:
        async for record in events.records():
            if record.n in {1, 2} and broken:
                raise ValueError
            seen.append(record.n)

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(4)))
        await drained(handle)
        first, second = await letterbox.letters()
        broken = False
        assert await letterbox.replay([first]) == 1
        assert await letterbox.replay([first]) == 0
        assert await letterbox.drop([first, second]) == 1
        await drained(handle)
    assert seen == [0, 3, 1]
    assert await letterbox.letters() == []


async def test_a_letter_that_holds_no_event_can_only_be_dropped(
    app: App, orders: Stream[Any], autojump_clock: MockClock
) -> None:
    sink = app.stream("dead", Dead, partition_by="xid")
    dead = DeadLetterMiddleware(sink)

    @app.processor(orders, middleware=[dead])
    async def handle(events: Any) -> None:
        """Only its middleware is needed."""

    async with app.session():
        await sink.send(
            Dead(
                stream="orders",
                partition=0,
                xid="1-0",
                time=datetime.now(UTC),
                error="by hand",
                traceback="",
                data={},
            )
        )
        found = await dead.letters()
        with pytest.raises(Misconfigured, match="holds no event: it can only be dropped"):
            await dead.replay(found)
        assert await dead.drop(found) == 1


async def test_what_is_left_by_break_or_cancelled_is_no_letter(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock,
) -> None:  # fmt: skip
    @app.processor(orders, middleware=[letterbox], grace_period=0.5)
    async def handle(events: Any) -> None:
        async for record in events.records():
            if record.n == 5:
                await trio.sleep(100)
            break

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(6)))
        await trio.sleep(1)
    assert await letterbox.letters() == []


async def test_a_full_sink_makes_the_partition_wait_and_loses_nothing(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock,
    facts: Facts,
) -> None:  # fmt: skip
    box = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid", partition_size=2))

    @app.processor(orders, middleware=[box], grace_period=1)
    async def handle(events: Any) -> None:
        async for record in events.records():
            raise ValueError(record.n)

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(5)))
        await trio.sleep(5)
        assert len(facts("no-room")) == 1
        errors = []
        for _ in range(3):
            letters: list[Any] = await box.letters()
            errors += [letter.record.error for letter in letters]
            await box.drop(letters)
            await trio.sleep(2)
        assert errors == [f"ValueError: {n}" for n in range(5)]


async def test_what_cannot_be_read_is_a_letter_too(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock,
) -> None:  # fmt: skip
    seen: list[int] = []

    @app.processor(orders, middleware=[letterbox])
    async def handle(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    async with app.worker(), app._shared.used() as broker:
        from runnel_trio._broker._values import Batch

        await broker.append(orders.spec, {0: Batch((b"data",), [b"{}", b'{"key":"a","n":1}'])})
        await drained(handle)
    (letter,) = await letterbox.letters()
    assert isinstance(letter.record, Dead)
    assert letter.record.data == {"data": b"{}"}
    assert seen == [1]


async def test_a_sink_that_cannot_hold_the_letters_is_refused_when_it_is_declared(
    app: App, orders: Stream[Any], order: Any
) -> None:
    box = DeadLetterMiddleware(app.stream("wrong", order, partition_by="key"))
    with pytest.raises(Misconfigured, match="record=Dead"):

        @app.processor(orders, middleware=[box])
        async def handle(events: Any) -> None: ...


# Trying again


async def test_what_fails_is_tried_again_in_place_and_order_is_kept(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    tries: list[tuple[int, int, float]] = []

    @app.processor(orders, middleware=[RetryMiddleware(attempts=3, delay=1, jitter=False)])
    async def handle(events: Any) -> None:
        async for record in events.records():
            tries.append((record.n, events.attempt, trio.current_time()))
            if record.n == 1 and events.attempt < 3:
                raise ValueError

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(4)))
        await drained(handle)
    assert [n for n, _, _ in tries] == [0, 1, 1, 1, 2, 3]
    times = [at for n, _, at in tries if n == 1]
    assert [later - earlier for earlier, later in pairwise(times)] == [
        pytest.approx(1, abs=0.1),
        pytest.approx(2, abs=0.1),
    ]


async def test_after_the_last_try_the_letter_is_written_once(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock,
) -> None:  # fmt: skip
    tries: list[int] = []

    @app.processor(orders, middleware=[RetryMiddleware(attempts=3), letterbox])
    async def handle(events: Any) -> None:
        async for record in events.records():
            tries.append(record.n)
            if record.n == 1:
                raise ValueError

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(3)))
        await drained(handle)
    assert tries == [0, 1, 1, 1, 2]
    assert len(await letterbox.letters()) == 1


async def test_only_the_exceptions_named_are_tried_again(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    tries: list[int] = []

    @app.processor(orders, middleware=[RetryMiddleware(on=(OSError,))])
    async def handle(events: Any) -> None:
        async for record in events.records():
            tries.append(record.n)
            raise ValueError("not this one")

    await orders.send(order(key="a", n=1))
    with pytest.raises(ValueError, match="not this one"):
        await app.run()
    assert tries == [1]


async def test_a_stop_does_not_wait_for_the_next_try(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders, middleware=[RetryMiddleware(delay=50, jitter=False)])
    async def handle(events: Any) -> None:
        async for _ in events.records():
            raise ValueError

    async with app.worker():
        await orders.send(order(key="a", n=1))
        await trio.sleep(1)
        began = trio.current_time()
    assert trio.current_time() - began < 1


@pytest.mark.parametrize("wrong", [{"attempts": 0}, {"delay": -1}, {"factor": 0.5}, {"maximum": -1}], ids=str)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        RetryMiddleware(**wrong)


# What links see


class Spy(Middleware):
    """Writes down how each item ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[Any, str]] = []

    async def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for item in parent:
            try:
                yield item
            except GeneratorExit:
                self.ends.append(
                    (type(events.exception).__name__, "retrying" if events.retrying else "final")
                )
                raise


async def test_links_see_what_failed_and_whether_it_is_tried_again(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    outer, inner = Spy(), Spy()

    @app.processor(
        orders,
        middleware=[outer, RetryMiddleware(attempts=2), inner],
        exception_policy=ExceptionPolicy.IGNORE,
    )
    async def handle(events: Any) -> None:
        async for records in events.take(2, within=0.1).records():
            if records[0].n == 1:
                raise KeyError
            break

    async with app.worker():
        await orders.send(order(key="a", n=1))
        await trio.sleep(5)
        await orders.send(order(key="a", n=2))
        await trio.sleep(5)
    assert (
        inner.ends == outer.ends == [("KeyError", "retrying"), ("KeyError", "final"), ("NoneType", "final")]
    )


async def test_links_are_told_that_the_lease_was_lost(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    spy = Spy()

    @app.processor(orders, middleware=[spy], lock_expiry=2)
    async def handle(events: Any) -> None:
        async for _ in events.records():
            await trio.sleep(1000)

    async with app.worker() as worker, app._shared.used() as broker:
        await orders.send(order(key="a", n=1))
        await trio.sleep(1)
        await broker.leave(handle.spec, worker.member)
        await trio.sleep(3)
        assert spy.ends == [("LeaseLost", "final")]
        worker.abort()


@pytest.mark.parametrize("lanes", [1], indirect=True)
async def test_what_halts_is_named_with_the_way_around_it(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock, facts: Facts
) -> None:
    @app.processor(orders)
    async def handle(events: Any) -> None:
        async for record in events.records():
            if record.n == 2:
                raise ValueError("no twos")

    with pytest.raises(ValueError, match="no twos"):
        async with app.worker():
            await orders.send(
                *(order(key="a", n=n) for n in range(4)), stream_ids=[f"{n + 1}-0" for n in range(4)]
            )
            await trio.sleep(10)
    (fact,) = facts("halted")
    number = orders.partition_of(order(key="a", n=0))
    assert (fact["place"], fact["xid"], fact["count"]) == (f"orders[{number}]", "3-0", 1)
    assert fact["leave_out"].endswith(f":handle 3-1 --partition {number}`")
    seen = []

    @app.processor(orders, name="after")
    async def after(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    async with app.session():
        await after.reset("3-1", partitions=[number])
        async with app.worker(processors=["after"]):
            await trio.sleep(5)
    assert seen == [3]
