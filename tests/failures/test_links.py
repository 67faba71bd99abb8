"""What middleware is promised about the end of a call: GeneratorExit at its yield, the cause, order, and a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Middleware, Stream
from runnel_trio.middleware import Dead, DeadLetterMiddleware

pytestmark = pytest.mark.usefixtures("lanes")

Drained = Callable[[Any], Awaitable[None]]


class Told(Middleware):
    """Writes down what happens at its yield, and awaits in each branch, as cleanup does."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    async def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for item in parent:
            size = len(item) if isinstance(item, list) else 1
            try:
                yield item
            except GeneratorExit:
                await trio.sleep(0.01)
                cause = type(events.exception).__name__
                self.log.append(f"{self.name} {size} {cause} {len(events.failed())}")
                raise
            else:
                self.log.append(f"{self.name} {size} next")
            finally:
                await trio.sleep(0.01)
                self.log.append(f"{self.name} finally")


async def test_each_link_has_its_exit_from_the_functions_end_on_with_the_cause_at_hand(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    log: list[str] = []
    links = [Told("outer", log), Told("inner", log)]

    @app.processor(orders, middleware=links, exception_policy=ExceptionPolicy.IGNORE)
    async def handle(events: Any) -> None:
        async for records in events.take(2, within=0.1).records():
            if records[0].n == 2:
                raise KeyError(records[0].n)

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(4)))
        await drained(handle)
        assert log == [
            "inner 2 next", "inner finally", "outer 2 next", "outer finally",
            "inner 2 KeyError 2", "inner finally", "outer 2 KeyError 2", "outer finally",
        ]  # fmt: skip


@pytest.mark.parametrize("leave", ["break", "return"])
async def test_a_plain_end_of_the_loop_has_no_cause(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock, leave: str
) -> None:
    log: list[str] = []

    @app.processor(orders, middleware=[Told("link", log)])
    async def handle(events: Any) -> None:
        async for _ in events.records():
            if leave == "return":
                return
            break

    async with app.worker():
        await orders.send(order(key="a", n=1))
        await drained(handle)
    assert log == ["link 1 NoneType 1", "link finally"]


async def test_the_function_is_not_called_again_before_every_link_has_ended(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    log: list[str] = []

    @app.processor(orders, middleware=[Told("a", log), Told("b", log)])
    async def handle(events: Any) -> None:
        log.append("called")
        async for _ in events.records():
            break

    async with app.worker():
        await orders.send(order(key="a", n=1), order(key="a", n=2))
        await drained(handle)
    number = log.index("a finally")
    assert log.index("called", log.index("b 1 NoneType 1")) > number


async def test_a_link_that_fails_on_its_way_out_is_a_failure_of_the_event(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    box = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))
    flushed: list[bool] = []

    class Flushes(Middleware):
        async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
            async for item in parent:
                try:
                    yield item
                finally:
                    flushed.append(bool(flushed))
                    if not flushed[-1]:
                        raise OSError("disk")

    @app.processor(orders, middleware=[box, Flushes()])
    async def handle(events: Any) -> None:
        async for _ in events.records():
            break

    async with app.worker():
        await orders.send(order(key="a", n=1), order(key="a", n=2))
        await drained(handle)
        (letter,) = await box.letters()
    assert isinstance(letter.record, Dead)
    assert letter.record.error == "OSError: disk"


async def test_a_second_word_to_stop_bounds_links_that_do_not_end(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    class Hangs(Middleware):
        async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
            async for item in parent:
                try:
                    yield item
                finally:
                    await trio.sleep(10_000)

    @app.processor(orders, middleware=[Hangs()], grace_period=100)
    async def handle(events: Any) -> None:
        async for _ in events.records():
            await trio.sleep(10_000)

    async with app.worker() as worker:
        await orders.send(order(key="a", n=1))
        await trio.sleep(1)
        worker.stop()
        await trio.sleep(1)
        began = trio.current_time()
        worker.abort()
    assert trio.current_time() - began < 3
