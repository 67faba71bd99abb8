"""An event knows its key: that of its record, which is decoded once."""

from __future__ import annotations

from typing import Any

import pytest

from runnel_trio import App, Event, Middleware, Partition, Record
from runnel_trio._codec import canonical_key
from runnel_trio._event import Origin


class Order(Record):
    customer: str
    amount: int


@pytest.fixture
def orders() -> Any:
    return App("shop", redis_url="memory://").stream("orders", Order, partition_by="customer")


def event_of(orders: Any, fields: list[bytes], decoded: list[Event] | None = None) -> Event:
    def decode(event: Event) -> Any:
        if decoded is not None:
            decoded.append(event)
        return orders.decode(event)

    partition = Partition(number=0, key="k")
    return Event(
        Origin(partition=partition, group=b"g", decode=decode, key_bytes=orders.key_bytes), b"1-0", fields
    )


def test_an_event_has_the_key_that_its_sender_hashed(orders: Any) -> None:
    record = Order(customer="Ada", amount=3)
    assert (
        event_of(orders, orders.codec.encode(record))._key()
        == canonical_key("Ada")
        == orders.key_bytes(record)
    )


def test_what_cannot_be_read_has_no_key(orders: Any) -> None:
    assert event_of(orders, [b"data", b"not a record"])._key() is None


def test_a_record_is_decoded_once_and_kept(orders: Any) -> None:
    decoded: list[Event] = []
    event = event_of(orders, orders.codec.encode(Order(customer="Ada", amount=3)), decoded)
    assert decoded == []
    event._key()
    assert event.record() is event.record()
    assert decoded == [event]


async def test_links_and_the_function_have_the_same_record(autojump_clock: Any) -> None:
    app = App("shop", redis_url="memory://")
    orders = app.stream("orders", Order, partition_by="customer")
    seen: list[Any] = []

    class Looking(Middleware):
        async def handler(self, parent: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # a plain link
            async for item in parent:
                events = item if isinstance(item, list) else [item]
                seen.extend(event.record() for event in events)
                yield item
                seen.extend(event.record() for event in events)

    @app.processor(orders, middleware=[Looking()])
    async def one_by_one(events: Any) -> None:
        async for record in events.records():
            seen.append(record)

    @app.processor(orders, middleware=[Looking()])
    async def in_lists(events: Any) -> None:
        async for records in events.take(5, within=0).records():
            seen.extend(records)

    for processor in (one_by_one, in_lists):
        seen.clear()
        async with processor.test() as t:
            await t.send(Order(customer="Ada", amount=3))
        assert len(seen) == 3
        assert len({id(record) for record in seen}) == 1
