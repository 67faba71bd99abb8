"""`sys.exit()` and the like in user code: told with the event, which is kept; whatever the policy."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Middleware, Stream
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

Count = Callable[[Any], Awaitable[int]]


class Own(BaseException):
    """A base exception of the user's."""


LEAVING = [
    SystemExit(),
    SystemExit(3),
    KeyboardInterrupt(),
    GeneratorExit(),
    Own("x"),
    asyncio.CancelledError(),
]


@pytest.fixture
def halted(facts: Callable[[str], list[dict[str, Any]]]) -> Callable[[], list[dict[str, Any]]]:
    """The reports of that."""
    return lambda: facts("halted")


@pytest.fixture
def apart(orders: Stream[Any], order: Any) -> tuple[Any, Any]:
    """Two orders, 1 and 2, in different partitions."""
    first = order(key="a", n=1)
    others = (order(key=f"k{n}", n=2) for n in range(100))
    return first, next(x for x in others if orders.partition_of(x) != orders.partition_of(first))


@pytest.mark.parametrize("policy", list(ExceptionPolicy))
@pytest.mark.parametrize("error", LEAVING, ids=repr)
async def test_what_is_no_exception_is_told_with_the_event_which_is_kept(
    error: BaseException,
    policy: ExceptionPolicy,
    app: App,
    orders: Stream[Any],
    order: Any,
    lag: Count,
    halted: Any,
    autojump_clock: MockClock,
) -> None:
    dead = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))

    @app.processor(orders, exception_policy=policy, middleware=[dead, RetryMiddleware()])
    async def leaver(events: Any) -> None:
        async for record in events.records():
            if record.n == 2:
                raise error

    async with app.session():
        ids = [f"{5 + n}-0" for n in range(5)]
        await orders.send(*(order(key="a", n=n) for n in range(5)), stream_ids=ids)
        with pytest.raises(type(error)) as caught:
            await app.run()
        assert caught.value is error
        assert await lag(leaver) == 3
        assert not await dead.letters()
        assert not await leaver.quarantined()
    (fact,) = halted()
    assert fact["place"] == f"orders[{orders.partition_of(order(key='a', n=2))}]"
    assert (fact["xid"], fact["count"], fact["error"]) == ("7-0", 1, repr(error))
    if policy is ExceptionPolicy.PARK:  # by key, a cursor behind it would leave out others, too
        assert "leave_out" not in fact
    else:
        assert "processor seek" in fact["leave_out"]


async def test_in_a_task_of_the_functions_and_in_a_thread_too(
    app: App, orders: Stream[Any], order: Any, lag: Count, halted: Any, autojump_clock: MockClock
) -> None:
    async def child() -> None:
        sys.exit(3)

    @app.processor(orders, exception_policy=ExceptionPolicy.IGNORE)
    async def leaver(events: Any) -> None:
        async for _ in events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                nursery.start_soon(child)

    async with app.session():
        await orders.send(order(key="a", n=1))
        with pytest.raises(SystemExit) as caught:
            await app.run()
        assert caught.value.code == 3
        assert await lag(leaver) == 1
    assert halted()[0]["error"] == "SystemExit(3)"


class Leaves(Middleware):
    """Leaves when it is given an event, or when it is closed."""

    def __init__(self, at_the_end: bool) -> None:
        self.at_the_end = at_the_end

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        async for event in parent:
            if not self.at_the_end:
                sys.exit(3)
            try:
                yield event
            finally:
                sys.exit(3)


@pytest.mark.parametrize("at_the_end", [False, True])
async def test_in_a_link_too(
    at_the_end: bool,
    app: App,
    orders: Stream[Any],
    order: Any,
    lag: Count,
    halted: Any,
    autojump_clock: MockClock,
) -> None:
    link = Leaves(at_the_end)

    @app.processor(orders, exception_policy=ExceptionPolicy.IGNORE, middleware=[link])
    async def leaver(events: Any) -> None:
        async for _ in events:
            break

    async with app.session():
        await orders.send(order(key="a", n=1))
        with pytest.raises(SystemExit):
            await app.run()
        assert await lag(leaver) == 1
    assert halted()[0]["count"] == 1


async def test_before_the_first_event_it_is_told_without_one(
    app: App, orders: Stream[Any], halted: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def leaver(events: Any) -> None:
        sys.exit()

    with pytest.raises(SystemExit):
        await app.run()
    assert {(x["count"], x["error"]) for x in halted()} == {(0, "SystemExit()")}


@pytest.mark.parametrize("kind", ["task", "timer", "crontab"])
@pytest.mark.parametrize("error", LEAVING, ids=repr)
async def test_in_background_functions_too_whatever_their_policy(
    error: BaseException, kind: str, app: App, halted: Any, autojump_clock: MockClock
) -> None:
    how: Any = {"task": app.task, "timer": app.timer(interval=1), "crontab": app.crontab("* * * * * *")}[kind]
    if kind == "task":
        how = app.task(exception_policy="ignore")

    @how
    async def leaver() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await app.run()
    assert caught.value is error
    assert halted() == [{"function": "leaver", "error": repr(error)}]


async def test_other_partitions_may_end_what_they_have_in_hand(
    app: App, orders: Stream[Any], apart: Any, lag: Count, autojump_clock: MockClock
) -> None:
    @app.processor(orders, grace_period=2)
    async def mixed(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(1)
            if record.n == 1:
                sys.exit()
            await trio.sleep(1)

    async with app.session():
        await orders.send(*apart)
        with pytest.raises(SystemExit):
            await app.run()
        assert await lag(mixed) == 1


async def test_an_interrupt_does_not_wait_for_them_and_nothing_of_theirs_is_acknowledged(
    app: App, orders: Stream[Any], apart: Any, lag: Count, autojump_clock: MockClock
) -> None:
    @app.processor(orders, grace_period=60)
    async def mixed(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(1)
            if record.n == 1:
                raise KeyboardInterrupt
            with suppress(BaseException):
                await trio.sleep(50)

    async with app.session():
        await orders.send(*apart)
        began = trio.current_time()
        with pytest.raises(KeyboardInterrupt):
            await app.run()
        assert trio.current_time() - began < 10
        assert await lag(mixed) == 2


async def test_ctrl_c_is_no_failure_of_the_event_in_whose_handling_it_strikes(
    app: App, orders: Stream[Any], order: Any, lag: Count, halted: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def struck(events: Any) -> None:
        async for _ in events:
            signal.raise_signal(signal.SIGINT)

    async with app.session():
        await orders.send(order(key="a", n=1))
        with pytest.raises(KeyboardInterrupt):
            await app.run()
        assert await lag(struck) == 1
    assert not halted()
