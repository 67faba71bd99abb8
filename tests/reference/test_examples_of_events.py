"""The examples about events, middleware and policies of the runnel reference, with `runnel_trio` for `runnel`: they run, and do what they say.

The code between the dashed lines is the reference's, letter by letter, except where a comment tells of a slip in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any  # as in the reference

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Event, Processor, Record, Stream
from runnel_trio.constants import ExceptionPolicy
from runnel_trio.interfaces import Middleware

Handled = Callable[..., Awaitable[None]]
Printed = pytest.CaptureFixture[str]


class Order(Record):
    """The order of most examples."""

    order_id: int
    amount: int


ORDERS = (Order(order_id=1, amount=3), Order(order_id=1, amount=5))


@pytest.fixture
def app() -> App:
    return App(name="example")


@pytest.fixture
def orders(app: App) -> Stream[Order]:
    return app.stream(name="orders", record=Order, partition_by="order_id")


async def test_events_take(
    handled: Handled, app: App, orders: Stream[Order], capsys: Printed, autojump_clock: MockClock
) -> None:
    lengths: list[int] = []

    # ---- runnel.Events.take
    @app.processor(orders)
    async def printer(events):
        async for orders in events.take(10, within=1).records():  # noqa: PLR1704  # as in the reference
            # Handle orders as an atomic batch!
            assert 1 <= len(orders) <= 10
            print(orders)
            lengths.append(len(orders))

    # ----
    sent = [Order(order_id=1, amount=n) for n in range(25)]
    await handled(app, printer, *sent)
    assert lengths == [10, 10, 5]
    assert capsys.readouterr().out == f"{sent[:10]}\n{sent[10:20]}\n{sent[20:]}\n"


async def test_events_records(
    handled: Handled, app: App, orders: Stream[Order], capsys: Printed, autojump_clock: MockClock
) -> None:
    # ---- runnel.Events.records; the reference asserts of `event`, where it means `order`
    @app.processor(orders)
    async def printer(events):
        async for order in events.records():
            assert isinstance(order, Record)
            print(order.amount)

    # ----
    await handled(app, printer, *ORDERS)
    assert capsys.readouterr().out == "3\n5\n"


async def test_raw_events(
    handled: Handled, app: App, orders: Stream[Order], capsys: Printed, autojump_clock: MockClock
) -> None:
    # ---- runnel.Events.records, "if this method is omitted"
    @app.processor(orders)
    async def printer(events):
        async for event in events:
            assert isinstance(event, Event)
            print(event.data)

    # ----
    await handled(app, printer, *ORDERS)
    assert capsys.readouterr().out.splitlines() == [
        str({b"data": b'{"order_id":1,"amount":3}'}),
        str({b"data": b'{"order_id":1,"amount":5}'}),
    ]


async def test_event(
    handled: Handled, app: App, orders: Stream[Order], capsys: Printed, autojump_clock: MockClock
) -> None:
    seen: list[Event] = []

    # ---- runnel.Event; the reference writes `order` for `orders`
    @app.processor(orders)
    async def myproc(events):
        async for event in events:
            print(event.xid)
            seen.append(event)

    # ----
    await handled(app, myproc, *ORDERS)
    assert capsys.readouterr().out == "".join(f"{event.xid}\n" for event in seen)
    number = orders.partition_of(ORDERS[0])
    assert [(x.partition.number, x.group, x.recovering) for x in seen] == [(number, b"myproc", False)] * 2
    assert seen[0].xid < seen[1].xid
    assert seen[0].partition.key == f"example:{number}:orders:log"


async def test_middleware(handled: Handled, app: App, capsys: Printed, autojump_clock: MockClock) -> None:
    mystream = app.stream("orders", Order, partition_by="order_id")

    # ---- runnel.interfaces.Middleware
    class Printer(Middleware):
        async def handler(self, parent, **kwargs):
            async for x in parent:
                print(x)
                yield x

    @app.processor(mystream, middleware=[Printer()])
    async def proc(events):
        async for record in events.records():  # noqa: B007  # as in the reference
            pass

    # ----
    await handled(app, proc, *ORDERS)
    key = f"example:{mystream.partition_of(ORDERS[0])}:orders:log"
    printed = capsys.readouterr().out.splitlines()
    assert [line.rsplit(" ", 1)[0] for line in printed] == [f"<Event {key}"] * 2


@pytest.mark.parametrize("batched", [False, True])
async def test_a_handler_is_given_events_or_lists_of_them(
    batched: bool, handled: Handled, app: App, orders: Stream[Order], autojump_clock: MockClock
) -> None:
    kinds: list[type] = []

    class Link(Middleware):
        async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
            # ---- runnel.interfaces.Middleware.handler
            async for x in parent:
                assert isinstance(x, (Event, list))
                yield x
                # ----
                kinds.append(type(x))

    @app.processor(orders, middleware=[Link()])
    async def collect(events):
        async for _ in events.take(2, within=1) if batched else events:
            pass

    await handled(app, collect, *ORDERS)
    assert kinds == ([list] if batched else [Event, Event])


class Finally(Middleware):
    """Post-processing logic in a finally clause."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        async def logic() -> None:
            await trio.sleep(0.01)
            self.told.append(f"logic {x.record().amount}")

        # ---- runnel.interfaces.Middleware.handler
        async for x in parent:
            try:
                yield x
            finally:
                await logic()


class OnError(Middleware):
    """Only if an exception was raised further up the chain."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        async def cleanup() -> None:
            await trio.sleep(0.01)
            self.told.append(f"cleanup {x.record().amount}")

        # ---- runnel.interfaces.Middleware.handler
        async for x in parent:
            try:
                yield x
            except GeneratorExit:
                await cleanup()
                raise


@pytest.mark.parametrize(
    ("link", "expected"), [(Finally, ["logic 3", "logic 5", "failed"]), (OnError, ["cleanup 5", "failed"])]
)
async def test_a_handler_responds_to_errors_before_the_function_runs_again(
    link: Any, expected: list[str], app: App, orders: Stream[Order], autojump_clock: MockClock
) -> None:
    told: list[str] = []

    @app.processor(orders, middleware=[link(told)])
    async def fragile(events):
        async for order in events.records():
            if order.amount == 5:
                raise ValueError("five")

    await orders.send(*ORDERS)
    with pytest.raises(ValueError, match="five"):
        await app.run()
    told.append("failed")
    assert told == expected


async def test_exception_policy(
    handled: Handled, app: App, orders: Stream[Order], capsys: Printed, autojump_clock: MockClock
) -> None:
    # ---- runnel.constants.ExceptionPolicy
    @app.processor(orders, exception_policy=ExceptionPolicy.HALT)
    async def printer(events):
        async for order in events.records():
            print(order.amount)

    # ----
    await handled(app, printer, *ORDERS)
    assert isinstance(printer, Processor)
    assert printer.exception_policy is ExceptionPolicy.HALT
    assert capsys.readouterr().out == "3\n5\n"
