"""`Processor.test`: what became of each event, in virtual time, without a server."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trio
import trio.testing

from runnel_trio import App, DeserializationError, Events, Misconfigured, Processor, Record, Stream
from runnel_trio.interfaces import Middleware
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware
from runnel_trio.testing import Outcome


class Order(Record):
    key: str
    n: int


class Refused(Exception):
    pass


Made = tuple[Processor[Order], Stream[Order]]


@pytest.fixture
def made() -> Callable[..., Made]:
    """A processor that doubles numbers, refuses negative ones, and sends what it makes."""

    def make(policy: str = "halt", **options: Any) -> Made:
        app = App("shop", default_partition_count=4)
        orders = app.stream("orders", Order, "key")
        doubled = app.stream("doubled", Order, "key")
        if "dead" in options:
            sink = app.stream("dead", Dead, "xid")
            options["middleware"] = [DeadLetterMiddleware(sink), *options.get("middleware", ())]
            del options["dead"]

        @app.processor(orders, exception_policy=policy, **options)
        async def double(events: Events[Order]) -> None:
            async for order in events.records():
                if order.n < 0:
                    raise Refused(order.n)
                await doubled.send(Order(key=order.key, n=2 * order.n))

        return double, doubled

    return make


def numbers(*ns: int) -> list[Order]:
    return [Order(key="a", n=n) for n in ns]


def outcomes(results: list[Any]) -> list[str]:
    return [x.outcome.value for x in results]


async def test_what_is_sent_is_handled_and_what_it_sends_is_seen(
    made: Callable[..., Made], autojump_clock: Any
) -> None:
    double, doubled = made()
    async with double.test() as t:
        results = await t.send(*numbers(1, 2))
        assert outcomes(results) == ["acked", "acked"]
        assert [x.record for x in results] == t.acked == numbers(1, 2)
        assert t.sent[doubled] == numbers(2, 4)
        await t.send(*numbers(3))
        assert t.sent[doubled] == numbers(2, 4, 6)
        assert t.acked == numbers(1, 2, 3)
        assert len(t.results) == 3
        assert repr(t) == "<Trial of double: 3 events, 3 acked>"


async def test_results_have_the_order_of_the_records_whatever_their_partitions(
    made: Callable[..., Made], autojump_clock: Any
) -> None:
    double, doubled = made("ignore")
    records = [Order(key=str(n), n=n if n % 5 else -1) for n in range(40)]
    async with double.test() as t:
        results = await t.send(*records)
        assert [x.record for x in results] == records
        assert outcomes(results) == ["acked" if n % 5 else "ignored" for n in range(40)]
        assert [x.partition for x in results] == list(map(double.stream.partition_of, records))
        in_turn = [doubled.partition_of(x) for x in t.sent[doubled]]
        assert in_turn == sorted(in_turn)


@pytest.mark.parametrize(
    ("policy", "expected", "acked"),
    [("ignore", ["acked", "ignored", "acked"], 2), ("quarantine", ["acked", "quarantined", "waiting"], 1)],
)
async def test_the_policy_is_the_real_one(
    policy: str, expected: list[str], acked: int, made: Callable[..., Made], autojump_clock: Any
) -> None:
    double, _ = made(policy)
    async with double.test() as t:
        results = await t.send(*numbers(1, -2, 3))
        assert outcomes(results) == expected
        assert repr(results[1].error) == "Refused(-2)"
        assert len(t.acked) == acked


async def test_what_is_halted_raises_where_it_was_sent(
    made: Callable[..., Made], autojump_clock: Any
) -> None:
    double, _ = made()
    async with double.test() as t:
        with pytest.raises(Refused, match="-2"):
            await t.send(*numbers(1, -2, 3))
        assert outcomes(t.results) == ["acked", "halted", "waiting"]
        with pytest.raises(Misconfigured, match="handles nothing more"):
            await t.send(*numbers(4))


async def test_what_is_halted_without_send_raises_at_the_end(
    made: Callable[..., Made], autojump_clock: Any
) -> None:
    double, _ = made()
    with pytest.raises(Refused):
        async with double.test():
            await double.stream.send(*numbers(-1))
            await trio.sleep(1)


async def test_a_quarantine_is_lifted_as_in_earnest(made: Callable[..., Made], autojump_clock: Any) -> None:
    double, doubled = made("quarantine")
    async with double.test() as t:
        await t.send(*numbers(1, -2, 3))
        (standing,) = await double.quarantined()
        assert "Refused" in standing.error
        await double.resume(skip=True)
        await t.settled()
        assert t.sent[doubled] == numbers(2, 6)


async def test_retries_pause_in_virtual_time_and_are_counted(autojump_clock: Any) -> None:
    app = App("shop", default_partition_count=1)
    orders = app.stream("orders", Order, "key")
    failed = []

    @app.processor(orders, middleware=[RetryMiddleware(attempts=10, delay=60, jitter=False)])
    async def stubborn(events: Events[Order]) -> None:
        async for order in events.records():
            if events.attempt < 3:
                failed.append(trio.current_time())
                raise Refused(order.n)

    began = time.monotonic()
    async with stubborn.test() as t:
        (result,) = await t.send(Order(key="a", n=1))
        assert result.outcome is Outcome.ACKED
        assert result.attempts == 3
        assert repr(result.error) == "Refused(1)"
    assert failed[1] - failed[0] == pytest.approx(60, abs=1)
    assert time.monotonic() - began < 50


async def test_what_is_in_hand_and_what_is_done_ahead_can_be_seen_while_a_key_waits(
    mock_clock: trio.testing.MockClock,
) -> None:
    app = App("shop")
    orders = app.stream("orders", Order, "key", partition_count=1)
    seen: list[tuple[list[str], list[str]]] = []

    @app.processor(orders, concurrency=3)
    async def handle(events: Any) -> None:
        async for order in events.records():
            if order.n:
                await trio.sleep(order.n)

    async with handle.test() as t:

        def look() -> None:
            acked = [x.record.key for x in t.results if x.outcome is Outcome.ACKED and x.record]
            seen.append(([order.key for order in t.in_hand], acked))

        await t.send(*(Order(key=f"k{n}", n=n % 3) for n in range(6)))
        look()
        for _ in range(4):
            mock_clock.jump(1)
            await t.settled()
            look()
    assert [in_hand for in_hand, _ in seen] == [["k1", "k2", "k4"], ["k2", "k5"], ["k5"], [], []]
    assert "k3" in seen[1][1], "acknowledged ahead of k2, which is in hand"
    assert seen[-1][1] == [f"k{n}" for n in range(6)]


@pytest.mark.parametrize("concurrency", [1, 8])
async def test_what_hangs_is_told_with_its_place(concurrency: int, autojump_clock: Any) -> None:
    app = App("hangs")
    orders = app.stream("orders", Order, "key", partition_count=1)

    async def asks_the_bank() -> None:
        await trio.sleep_forever()

    @app.processor(orders, concurrency=concurrency)
    async def hangs(events: Any) -> None:
        async for _ in events:
            await asks_the_bank()

    async with hangs.test() as t:
        with pytest.raises(trio.TooSlowError) as told:
            await t.send(Order(key="a", n=1))
    said = str(told.value)
    assert "is not through within 3600 s: 1 event in partition 0\nhangs[0] is at\n" in said
    assert said.count("test_trial.py") == 2
    assert "in asks_the_bank" in said
    assert "runnel_trio/_" not in said


async def test_dead_letters_are_kept(made: Callable[..., Made], autojump_clock: Any) -> None:
    double, doubled = made(dead=True, middleware=[RetryMiddleware(attempts=2)])
    async with double.test() as t:
        results = await t.send(*numbers(1, -2, 3))
        assert outcomes(results) == ["acked", "dead-lettered", "acked"]
        assert results[1].attempts == 2
        (letter,) = t.dead_letters
        assert letter.record.error == "Refused: -2"
        assert t.sent == {double.stream: [], doubled: numbers(2, 6)}


async def test_what_it_sends_to_its_own_stream_is_handled_and_seen(autojump_clock: Any) -> None:
    app = App("shop", default_partition_count=2)
    orders = app.stream("orders", Order, "key")

    @app.processor(orders)
    async def countdown(events: Events[Order]) -> None:
        async for order in events.records():
            if order.n:
                await orders.send(Order(key=order.key, n=order.n - 1))

    async with countdown.test() as t:
        await t.send(Order(key="a", n=3))
        assert t.sent[orders] == numbers(2, 1, 0)
        assert t.acked == numbers(3)


async def test_an_entry_that_is_no_record_meets_the_policy(
    made: Callable[..., Made], autojump_clock: Any
) -> None:
    double, _ = made("ignore")
    async with double.test() as t:
        result = await t.send_entry({"data": b"{"}, partition=2)
        assert (result.outcome, result.partition, result.record) == (Outcome.IGNORED, 2, None)
        assert isinstance(result.error, DeserializationError)


async def test_middleware_runs_and_may_read_ahead(autojump_clock: Any) -> None:
    seen = []

    class Pairs(Middleware):
        async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
            held = None
            async for item in parent:
                if held is not None:
                    seen.append("pair")
                    yield held
                    yield item
                    held = None
                else:
                    held = item

    app = App("shop", default_partition_count=1)
    orders = app.stream("orders", Order, "key")

    @app.processor(orders, middleware=[Pairs()])
    async def sees(events: Events[Order]) -> None:
        async for order in events.records():
            seen.append(order.n)

    async with sees.test() as t:
        await t.send(*numbers(1, 2))
        assert seen == ["pair", 1, 2]
        with pytest.raises(trio.TooSlowError, match="1 event in partition 0"):
            await t.send(*numbers(3), within=5)


async def test_under_a_clock_that_stands_what_waits_for_time_is_seen_to_wait(mock_clock: Any) -> None:
    app = App("shop", default_partition_count=1)
    orders = app.stream("orders", Order, "key")

    @app.processor(orders)
    async def batches(events: Events[Order]) -> None:
        async for _ in events.take(10, within=5).records():
            pass

    async with batches.test() as t:
        assert outcomes(await t.send(*numbers(1, 2))) == ["waiting", "waiting"]
        mock_clock.jump(5)
        await t.settled()
        assert outcomes(t.results) == ["acked", "acked"]


async def test_it_works_in_real_time_too(made: Callable[..., Made]) -> None:
    double, doubled = made()
    async with double.test() as t:
        await t.send(*numbers(1, 2))
        assert t.sent[doubled] == numbers(2, 4)


async def test_tests_in_one_run_know_nothing_of_each_other(
    made: Callable[..., Made], autojump_clock: Any
) -> None:
    double, doubled = made()
    for _ in range(2):
        async with double.test() as t:
            await t.send(*numbers(1))
            assert t.sent[doubled] == numbers(2)


async def test_an_app_that_is_connected_is_refused(made: Callable[..., Made], autojump_clock: Any) -> None:
    double, _ = made()
    async with double.test():
        with pytest.raises(Misconfigured, match="connected to its server"):
            async with double.test():
                pass


async def test_a_function_that_blocks_trio_is_warned_of() -> None:
    app = App("shop", default_partition_count=1)
    orders = app.stream("orders", Order, "key")

    @app.processor(orders)
    async def blocks(events: Events[Order]) -> None:
        async for _ in events.records():
            time.sleep(0.6)  # noqa: ASYNC251 (the mistake that is warned of)

    with pytest.warns(RuntimeWarning, match=r"processor 'blocks' blocked Trio for 0\.[6-9] s"):
        async with blocks.test() as t:
            await t.send(*numbers(1))


async def test_threads_are_refused_under_a_clock_that_jumps(autojump_clock: Any) -> None:
    app = App("shop", default_partition_count=1)
    orders = app.stream("orders", Order, "key")
    done = threading.Event()

    @app.processor(orders)
    async def works(events: Events[Order]) -> None:
        async for _ in events.records():
            await trio.to_thread.run_sync(done.wait, 10)

    async with works.test() as t:
        try:
            with pytest.raises(Misconfigured, match="works in a thread"):
                await t.send(*numbers(1))
        finally:
            done.set()


async def test_threads_work_in_real_time() -> None:
    app = App("shop", default_partition_count=1)
    orders = app.stream("orders", Order, "key")

    @app.processor(orders)
    async def works(events: Events[Order]) -> None:
        async for _ in events.records():
            await trio.to_thread.run_sync(sum, [1, 2])

    async with works.test() as t:
        assert outcomes(await t.send(*numbers(1))) == ["acked"]


@pytest.mark.parametrize("policy", ["halt", "quarantine"])
async def test_what_fails_before_the_loop_is_raised_by_the_first_send(
    policy: str, autojump_clock: Any
) -> None:
    app = App("shop", default_partition_count=2)
    orders = app.stream("orders", Order, "key")

    @app.processor(orders, exception_policy=policy)
    async def hasty(events: Events[Order]) -> None:
        limit = int("ten")
        async for order in events.records():
            assert order.n < limit

    async with hasty.test() as t:
        with pytest.raises(ValueError, match="ten") as caught:
            await t.send(*numbers(1))
        assert caught.traceback[-1].name == "hasty"
        with pytest.raises(Misconfigured, match="handles nothing more") as again:
            await t.send(*numbers(1))
        assert isinstance(again.value.__cause__, ValueError)
