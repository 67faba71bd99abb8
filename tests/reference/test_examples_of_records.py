"""The examples about records and how they are stored of the runnel reference, with `runnel_trio` for `runnel`: they run, and do what they say.

The code between the dashed lines is the reference's, letter by letter, except where a comment tells of a slip in it.
"""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, List  # noqa: UP035  # as in the reference

import orjson
import pytest
from trio.testing import MockClock

from runnel_trio import App, JSONSerializer, Record, Stream
from runnel_trio.interfaces import Compressor, Serializer

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


async def test_record(handled: Handled, app: App, autojump_clock: MockClock) -> None:
    # ---- runnel.Record
    class Order(Record):
        order_id: int
        created_at: datetime
        amount: int
        item_ids: List[int]  # noqa: UP006

    # ----
    orders = app.stream("orders", record=Order, partition_by="order_id")
    found: list[Record] = []

    @app.processor(orders)
    async def collect(events):
        async for order in events.records():
            found.append(order)

    sent = Order(order_id=1, created_at=datetime(2024, 5, 1, 12, 30), amount=2, item_ids=[3, 4])
    await handled(app, collect, sent)
    assert found == [sent]


async def test_records_can_be_nested(handled: Handled, app: App, autojump_clock: MockClock) -> None:
    class Item(Record):
        price: int

    class Basket(Record):
        key: str
        items: List[Item]  # noqa: UP006  # "e.g. items: List[Item] where Item is another record"

    baskets = app.stream("baskets", record=Basket, partition_by="key")
    found: list[Record] = []

    @app.processor(baskets)
    async def collect(events):
        async for basket in events.records():
            found.append(basket)

    sent = Basket(key="a", items=[Item(price=1), Item(price=2)])
    await handled(app, collect, sent)
    assert found == [sent]


async def test_a_primitive_record(handled: Handled, app: App, autojump_clock: MockClock) -> None:
    # ---- runnel.Record
    class UserAction(Record, primitive=True):
        user_id: int
        type: str

    # ----
    actions = app.stream("actions", record=UserAction, partition_by="user_id")
    found: list[tuple[dict[bytes, bytes], Record]] = []

    @app.processor(actions)
    async def collect(events):
        async for event in events:
            found.append((event.data, event.record()))

    sent = UserAction(user_id=7, type="login")
    await handled(app, collect, sent)
    assert found == [({b"user_id": b"7", b"type": b"login"}, sent)]


async def test_compressor(handled: Handled, autojump_clock: MockClock) -> None:
    # ---- runnel.interfaces.Compressor
    class Gzip(Compressor):
        def compress(self, value):
            return gzip.compress(value)

        def decompress(self, value):
            return gzip.decompress(value)

    app = App(name="example")

    class Order(Record):
        order_id: int
        amount: int

    orders = app.stream(
        name="orders",
        record=Order,
        partition_by="order_id",
        serializer=JSONSerializer(compressor=Gzip()),
    )
    # ----
    found: list[tuple[bytes, Any]] = []

    @app.processor(orders)
    async def collect(events):
        async for event in events:
            found.append((event.data[b"data"], event.record()))

    sent = Order(order_id=1, amount=5)
    await handled(app, collect, sent)
    ((stored, record),) = found
    assert gzip.decompress(stored) == b'{"order_id":1,"amount":5}'
    assert record == sent


async def test_serializer(handled: Handled, autojump_clock: MockClock) -> None:
    # ---- runnel.interfaces.Serializer
    @dataclass(frozen=True)
    class FastJSONSerializer(Serializer):
        compressor = None

        def dumps(self, value):
            return orjson.dumps(value)

        def loads(self, value):
            return orjson.loads(value)

    app = App(name="example")

    class Order(Record):
        order_id: int
        amount: int

    orders = app.stream(
        name="orders",
        record=Order,
        partition_by="order_id",
        serializer=FastJSONSerializer(),
    )
    # ----
    found: list[Any] = []

    @app.processor(orders)
    async def collect(events):
        async for order in events.records():
            found.append(order)

    sent = Order(order_id=1, amount=5)
    await handled(app, collect, sent)
    assert found == [sent]
