"""The examples about App of the runnel reference, with `runnel_trio` for `runnel`: they run, and do what they say.

The code between the dashed lines is the reference's, letter by letter, except where a comment tells of a slip in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any, List  # noqa: UP035  # as in the reference
from zoneinfo import ZoneInfo

import pytest
from dateutil import tz
from trio.testing import MockClock

from runnel_trio import App, JSONSerializer, Record, Stream

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


async def test_app(handled: Handled, capsys: Printed, autojump_clock: MockClock) -> None:
    # ---- runnel.App
    app = App(
        name="example",
        log_level="info",
        redis_url="127.0.0.1:6379",
    )

    class Order(Record):
        order_id: int
        created_at: datetime
        amount: int
        item_ids: List[int]  # noqa: UP006

    orders = app.stream("orders", record=Order, partition_by="order_id")

    @app.processor(orders)
    async def printer(events):
        async for order in events.records():
            print(order.amount)

    # ----
    assert (app.name, app.settings.log_level) == ("example", "info")
    assert app.settings.redis_url == "redis://127.0.0.1:6379"
    app.use_server("memory://")
    when = datetime(2024, 5, 1, 12)
    sent = [Order(order_id=7, created_at=when, amount=n, item_ids=[1, 2]) for n in range(3)]
    await handled(app, printer, *sent)
    assert capsys.readouterr().out == "0\n1\n2\n"


async def test_app_stream(handled: Handled, autojump_clock: MockClock) -> None:
    # ---- runnel.App.stream
    app = App(name="example")

    class Order(Record):
        order_id: int
        amount: int

    orders = app.stream(
        name="orders",
        record=Order,
        partition_by="order_id",
        partition_count=16,
        serializer=JSONSerializer(),
    )
    # ----
    found: dict[int, bytes] = {}

    @app.processor(orders)
    async def collect(events):
        async for event in events:
            found[event.partition.number] = event.data[b"data"]

    await handled(app, collect, Order(order_id=1, amount=5))
    assert orders.partition_count == 16
    assert found == {orders.partition_of(Order(order_id=1, amount=9)): b'{"order_id":1,"amount":5}'}


async def test_a_callable_computes_the_key(handled: Handled, app: App, autojump_clock: MockClock) -> None:
    """As the reference says of `partition_by` and `hasher`."""
    orders = app.stream("orders", Order, lambda order: order.amount // 10, partition_count=4, hasher=int)
    found: list[tuple[int, int]] = []

    @app.processor(orders)
    async def collect(events):
        async for order in events.records():
            found.append((events.partition.number, order.amount))

    await handled(app, collect, *(Order(order_id=0, amount=n) for n in (5, 12, 31, 47)))
    assert sorted(found) == [(0, 5), (0, 47), (1, 12), (3, 31)]


async def test_app_processor(handled: Handled, capsys: Printed, autojump_clock: MockClock) -> None:
    # ---- runnel.App.processor, and runnel.Events
    app = App(name="example")

    class Order(Record):
        order_id: int
        amount: int

    orders = app.stream(name="orders", record=Order, partition_by="order_id")

    @app.processor(orders)
    async def printer(events):
        async for order in events.records():
            print(order.amount)

    # ----
    await handled(app, printer, Order(order_id=1, amount=3), Order(order_id=1, amount=5))
    assert capsys.readouterr().out == "3\n5\n"


async def test_processors_are_named_by_their_function(app: App, orders: Stream[Order]) -> None:
    @app.processor(orders)
    async def printer(events):
        """As the reference says of `name`."""

    @app.processor(orders, name="other")
    async def another(events): ...

    assert list(app.processors) == ["printer", "other"]


async def test_app_task(app: App, capsys: Printed) -> None:
    # ---- runnel.App.task
    @app.task
    async def on_startup():
        print("starting")

    # ----
    await on_startup()

    # ----
    @app.task(on_leader=True)
    async def on_startup():
        print("running once")

    # ----
    await on_startup()
    assert capsys.readouterr().out == "starting\nrunning once\n"
    assert [x.on_leader for x in app.background] == [False, True]


async def test_app_timer(app: App, capsys: Printed) -> None:
    # ---- runnel.App.timer
    @app.timer(interval=10)
    async def every_10_seconds():
        print("10 seconds passed")

    # The reference leaves the @ out.
    @app.timer(interval=5, on_leader=True)
    async def every_5_seconds():
        print("5 seconds passed on the leader")

    # ----
    await every_10_seconds()
    await every_5_seconds()
    assert capsys.readouterr().out == "10 seconds passed\n5 seconds passed on the leader\n"
    assert [(x.interval, x.on_leader) for x in app.background] == [(10, False), (5, True)]


class LikePytz(tzinfo):
    """A tzinfo made elsewhere: neither zoneinfo's nor dateutil's, with methods of its own."""

    zone = "GMT"

    def localize(self, value: datetime) -> datetime:
        return value.replace(tzinfo=self)

    def utcoffset(self, value: datetime | None) -> timedelta:
        return timedelta(0)

    def dst(self, value: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, value: datetime | None) -> str:
        return self.zone


@pytest.mark.parametrize("timezone", [ZoneInfo("GMT"), tz.gettz("GMT"), LikePytz()])
async def test_app_crontab(app: App, capsys: Printed, timezone: Any) -> None:
    # ---- runnel.App.crontab; the reference leaves the first two @ out
    @app.crontab("45 17 * * *")
    async def every_5_45_pm():
        print("It is 5:45pm UTC")

    # ----
    await every_5_45_pm()

    @app.crontab("45 17 * * *", on_leader=True)
    async def every_5_45_pm():
        print("It is 5:45pm UTC on the leader")

    await every_5_45_pm()

    # ---- there `timezone=pytz.timezone('GMT')`
    @app.crontab("45 17 * * *", timezone=timezone)
    async def every_5_45_pm():
        print("It is 5:45pm in London")

    # ----
    await every_5_45_pm()
    assert capsys.readouterr().out.splitlines() == [
        "It is 5:45pm UTC",
        "It is 5:45pm UTC on the leader",
        "It is 5:45pm in London",
    ]
    registered = [(x.spec, x.on_leader, x.timezone) for x in app.background]
    utc = app.settings.timezone
    assert registered == [
        ("45 17 * * *", False, utc),
        ("45 17 * * *", True, utc),
        ("45 17 * * *", False, timezone),
    ]
    assert utc.utcoffset(None) == timedelta(0)
