"""What an app tells its metrics adds up with what was sent and handled."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Event, Stream
from runnel_trio._worker._member._partition._events import Events
from runnel_trio._worker._member._partition._measured import MeasuredSource
from runnel_trio._worker._member._partition._source import Source
from runnel_trio.metrics import Metrics
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware
from runnel_trio.testing import drained


async def run(app: App, stream: Stream[Any], records: list[Any]) -> None:
    async with app.worker():
        await stream.send(*records)
        await drained(*app.processors.values(), within=100)


async def test_every_event_is_told_once_whatever_became_of_it(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    dead = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))

    @app.processor(orders, middleware=[dead])
    async def aside(events: Any) -> None:
        async for x in events.records():
            assert x.n % 10

    await run(app, orders, [order(key=str(n), n=n) for n in range(300)])
    assert told.outcomes == {"processed": 270, "set_aside": 30}
    assert told.failures == {"set_aside": 30}
    assert sum(told.commits) == 300
    assert sum(events for _, events in told.ages) == 300


async def test_ignored_events_are_told_apart_also_in_lists(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders, exception_policy="ignore")
    async def ignoring(events: Any) -> None:
        async for batch in events.take(5, within=0.1).records():
            assert all(x.n % 50 for x in batch)

    await run(app, orders, [order(key=str(n % 7), n=n) for n in range(200)])
    assert sum(told.outcomes.values()) == 200
    assert told.outcomes["ignored"] == told.failures["ignored"] > 0


async def test_an_event_at_a_time_adds_up_too(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders, max_unacked=1)
    async def some(events: Events[Any]) -> None:
        async for event in events:
            if event.record().n % 3:
                break

    await run(app, orders, [order(key=str(n), n=n) for n in range(100)])
    assert told.outcomes == {"processed": 100}
    assert max(told.commits) <= 4, "one of each partition at most"


async def test_a_retry_is_a_failure_and_no_second_outcome(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders, middleware=[RetryMiddleware(attempts=3)])
    async def third_time(events: Events[Any]) -> None:
        async for _ in events:
            assert events.attempt == 3

    await run(app, orders, [order(key="a")])
    assert told.outcomes == {"processed": 1}
    assert told.failures == {"retried": 2}


async def test_a_worker_that_halts_and_a_partition_that_stands_still_are_told(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders, exception_policy="quarantine")
    async def still(events: Events[Any]) -> None:
        async for _ in events:
            raise LookupError

    async with app.worker():
        await orders.send(order(key="a"))
        while told.last.get("quarantined") != 1:
            await trio.sleep(1)
        assert told.last["owned"] == 3
    assert told.failures == {"quarantined": 1}
    assert told.outcomes == {}


async def test_slow_handlers_are_timed_one_by_one(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def slow(events: Events[Any]) -> None:
        async for x in events.records():
            await trio.sleep(x.n)

    await run(app, orders, [order(key="a", n=n) for n in (1, 5, 2)])
    assert [(round(seconds, 6), calls) for seconds, calls in told.handled_calls] == [(1, 1), (5, 1), (2, 1)]
    assert [round(seconds) for seconds, _ in told.ages] == [0, 1, 6]


async def test_a_list_is_one_call_and_its_waiting_is_not_handling(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def lists(events: Events[Any]) -> None:
        async for _ in events.take(10, within=3):
            await trio.sleep(1)

    await run(app, orders, [order(key="a", n=n) for n in range(15)])
    assert [(round(seconds, 6), calls) for seconds, calls in told.handled_calls] == [(1, 1), (1, 1)]
    assert sum(events for _, events in told.ages) == 15


async def test_the_seconds_of_a_call_that_fails_or_is_left_are_told(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders, exception_policy="ignore")
    async def leaving(events: Events[Any]) -> None:
        async for x in events.records():
            await trio.sleep(1)
            if x.n:
                raise LookupError
            break

    await run(app, orders, [order(key="a", n=n) for n in (0, 1, 0)])
    assert [(round(seconds, 6), calls) for seconds, calls in told.handled_calls] == [(1, 1)] * 3


async def test_one_slow_event_among_quick_ones_is_seen(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def mostly_quick(events: Events[Any]) -> None:
        async for x in events.records():
            if x.n == 50:
                await trio.sleep(9)

    await run(app, orders, [order(key="a", n=n) for n in range(100)])
    slow = [(seconds, calls) for seconds, calls in told.handled_calls if seconds > 1]
    ((seconds, calls),) = slow
    assert seconds == pytest.approx(9, abs=0.01)
    assert calls == 1
    assert sum(calls for _, calls in told.handled_calls) == 100
    assert sum(seconds * calls for seconds, calls in told.handled_calls) == pytest.approx(9, abs=1e-6)


async def test_lag_and_age_are_of_what_waits(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock
) -> None:
    go_on = trio.Event()

    @app.processor(orders)
    async def waiting(events: Events[Any]) -> None:
        async for _ in events:
            await go_on.wait()

    async with app.worker():
        await orders.send(*[order(key=str(n)) for n in range(20)])
        await trio.sleep(60)
        assert told.last["owned"] == 4
        assert told.last["lag"] == 20
        assert told.last["age"] == pytest.approx(60, abs=3)
        go_on.set()
        await trio.sleep(10)
        assert told.last == {"owned": 4, "quarantined": 0, "unacked": 0, "lag": 0, "age": 0.0}
    assert told.last["owned"] == 0, "nothing is left behind of a worker that has ended"


def declared(metrics: Metrics, order: Any) -> tuple[App, Stream[Any]]:
    """An app whose function fails at n = 7, and its partition stands still."""
    app = App("test", redis_url="memory://", default_partition_count=4, metrics=metrics)
    orders = app.stream("orders", order, partition_by="key")

    @app.processor(orders, exception_policy="quarantine")
    async def still(events: Events[Any]) -> None:
        async for x in events.records():
            assert x.n != 7

    return app, orders


async def test_what_nobody_owns_is_in_the_lag_of_one_worker_and_of_the_next_one_after_it(
    told: Any, order: Any, autojump_clock: MockClock
) -> None:
    other = type(told)()
    (app, orders), (second, _) = declared(told, order), declared(other, order)
    async with second.session(), trio.open_nursery() as nursery:
        first = await nursery.start(app.run)
        async with second.worker():
            await orders.send(order(key="a", n=7), *[order(key=str(n % 30)) for n in range(100)])
            await trio.sleep(60)
            behind = told.last["lag"]
            assert behind > 0
            assert told.last["age"] == pytest.approx(60, abs=3)
            assert set(told.ownerless) == {1}
            assert (other.last["lag"], other.last["age"], other.ownerless) == (0, 0.0, [])
            first.stop()
            await first.ended.wait()
            assert (told.last["lag"], told.ownerless[-1]) == (0, 0)
            await trio.sleep(10)
            assert (other.last["lag"], other.ownerless[-1]) == (behind, 1)
            await second.processors["still"].resume(skip=True)
            await trio.sleep(10)
            assert (other.last["lag"], other.ownerless[-1]) == (0, 0)


async def test_a_change_of_members_is_told_until_this_worker_owns_its_share(
    app: App, orders: Any, told: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def idle(events: Events[Any]) -> None:
        async for _ in events:
            pass

    async with app.worker():
        assert len(told.rebalances) == 1
        async with app.worker() as other:
            await trio.sleep(1)
            assert other.ready
            assert other.alive
            joined = len(told.rebalances)
            assert joined == 3, "the first one's again, and that of the second"
        assert not other.ready
        await trio.sleep(10)
        assert len(told.rebalances) > joined


async def test_a_worker_that_stands_by_is_ready_and_one_that_stops_is_not(
    app: App, order: Any, autojump_clock: MockClock
) -> None:
    single = app.stream("single", order, partition_by="key", partition_count=1)

    @app.processor(single)
    async def slow(events: Events[Any]) -> None:
        async for _ in events:
            await trio.sleep(5)

    async with app.worker() as first, app.worker() as second:
        assert first.ready
        assert second.ready
        await single.send(order(key="a"))
        await trio.sleep(1)
        first.stop()
        assert not first.ready
        assert first.alive


async def test_a_stall_is_told_when_it_is_over(told: Any, order: Any, tmp_path: Any) -> None:
    app = App("test", redis_url="embedded://", metrics=told)
    orders = app.stream("orders", order, partition_by="key")

    @app.processor(orders)
    async def blocking(events: Events[Any]) -> None:
        async for _ in events:
            time.sleep(2.2)  # noqa: ASYNC251  # what it is about

    async with app.worker():
        await orders.send(order(key="a"))
        with trio.fail_after(30):
            while not told.stalls:
                await trio.sleep(0.01)
    assert told.stalls[0] > 1


# Off


class Links:
    """The source and the links of one call of a function."""

    def __init__(self, events: Events[Any]) -> None:
        self.source = type(events._source)
        self.links = [link.__qualname__ for _, link in events._links]


@pytest.mark.parametrize("metrics", [None, Metrics()], ids=["off", "on"])
async def test_the_way_of_an_event_has_no_step_more_with_metrics_or_without(
    metrics: Metrics | None, order: Any, autojump_clock: MockClock
) -> None:
    app = App("test", redis_url="memory://", metrics=metrics)
    orders = app.stream("orders", order, partition_by="key")
    seen: list[Links] = []

    @app.processor(orders)
    async def looking(events: Events[Any]) -> None:
        async for _ in events:
            seen.append(Links(events))

    await run(app, orders, [order(key="a")])
    assert seen[0].links == ["Deliver.handler"]
    assert seen[0].source is (Source if metrics is None else MeasuredSource)
    assert MeasuredSource.__anext__ is Source.__anext__


def test_without_metrics_a_send_takes_the_connection_itself(order: Any) -> None:
    app = App("test", redis_url="memory://")
    orders = app.stream("orders", order, partition_by="key")
    assert orders.connect == app._shared.declared


def test_metrics_are_told_nothing_for_each_event() -> None:
    assert "handler" not in vars(Metrics)
    assert not hasattr(Event, "metrics")


async def test_what_is_sent_again_to_other_partitions_is_told_once(
    app: App, orders: Any, order: Any, told: Any, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(told, "sent", lambda _, events, __: sent.append(events), raising=False)

    @app.processor(orders)
    async def handle(events: Any) -> None:
        async for _ in events.records():
            pass

    async with app.worker(), app._shared.used() as broker:
        await orders.send(*(order(key=str(n), n=n) for n in range(100)))
        await broker.repartition(orders.spec, 9)
        await orders.send(*(order(key=str(n), n=n) for n in range(100)))
        await orders.send(order(key="last"))
        await drained(handle, within=100)
    assert sum(sent) == 201
    assert told.outcomes == {"processed": 201}
    assert told.last["owned"] == told.last["lag"] == 0


async def test_what_lanes_have_in_hand_is_told_with_each_heartbeat(
    app: App, told: Any, order: Any, autojump_clock: MockClock
) -> None:
    orders = app.stream("lanes", order, partition_by="key", partition_count=1)

    @app.processor(orders, concurrency=4, lock_expiry=8)
    async def handle(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(100 if record.key == "slow" else 0)

    async with app.worker():
        await orders.send(order(key="slow", n=0), *(order(key=f"k{n}", n=n) for n in range(10)))
        await trio.sleep(10.5)
        found = told.in_hands[-1]
        assert (found["events"], found["ahead"]) == (1, 10)
        assert 8.0 <= found["oldest"] <= 10.0, "it is known from one heartbeat to the next"
        assert 1 < found["lanes"] <= 4
        await trio.sleep(100)
        assert told.in_hands[-1] | {"lanes": 0} == {"lanes": 0, "events": 0, "ahead": 0, "oldest": 0.0}
    assert told.last["lag"] == 0


async def test_what_is_parked_is_told_with_each_heartbeat(
    app: App, orders: Any, told: Any, order: Any, autojump_clock: MockClock
) -> None:
    broken = True

    @app.processor(orders, exception_policy="park", lock_expiry=8)
    async def handle(events: Any) -> None:
        async for record in events.records():
            if broken and record.key == "bad":
                raise ValueError

    async with app.worker():
        await handle.park("held")
        await orders.send(*(order(key="bad", n=n) for n in range(5)), order(key="good", n=0))
        await trio.sleep(10)
        assert told.parked_keys[-1] == (2, 5)
        assert told.failures == {"parked": 1}
        assert told.outcomes == {"processed": 1}
        assert told.last["lag"] == 0
        broken = False
        await handle.unpark()
        await orders.send(order(key="held"))
        await trio.sleep(10)
        assert told.parked_keys[-1] == (0, 0)
        await handle.park("held")
        await trio.sleep(10)
        assert told.parked_keys[-1] == (1, 0)
        assert told.outcomes == {"processed": 7}, "each event is counted once"
    assert told.parked_keys[-1] == (0, 0)


async def test_what_is_ignored_ahead_is_told_once(
    app: App, told: Any, order: Any, autojump_clock: MockClock
) -> None:
    orders = app.stream("lanes", order, partition_by="key", partition_count=1)

    @app.processor(orders, concurrency=4, exception_policy="ignore")
    async def handle(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(10 if record.key == "slow" else 0)
            if record.n == 5:
                raise ValueError

    async with app.worker():
        await orders.send(order(key="slow", n=0), *(order(key=f"k{n}", n=n) for n in range(1, 10)))
        await trio.sleep(20)
    assert told.outcomes == {"processed": 9, "ignored": 1}
