"""What `Stream.send` stores, where, and in which order."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import assert_checkpoints

from runnel_trio import App, Misconfigured, Record, RecordInvalid, Stream


def numbers(entries: dict[int, list[tuple[bytes, Any]]], key: str) -> list[int]:
    return [record.n for found in entries.values() for _, record in found if record.key == key]


async def test_each_record_is_stored_once_in_the_partition_of_its_key_and_in_order(
    orders: Stream[Any], order: Any, stored: Any
) -> None:
    for start in range(0, 100, 10):
        await orders.send(*(order(key=str(n % 7), n=n) for n in range(start, start + 10)))
    found = await stored(orders)
    for number, entries in found.items():
        assert {orders.partition_of(record) for _, record in entries} == {number}
    for key in range(7):
        assert numbers(found, str(key)) == list(range(key, 100, 7))


async def test_a_send_larger_than_a_chunk_keeps_its_order(
    orders: Stream[Any], order: Any, stored: Any
) -> None:
    await orders.send(*(order(key="ab"[n % 2], n=n) for n in range(4321)))
    found = await stored(orders)
    assert numbers(found, "a") == list(range(0, 4321, 2))
    assert numbers(found, "b") == list(range(1, 4321, 2))


async def test_large_records_go_too(app: App, stored: Any) -> None:
    class Blob(Record, primitive=True):
        n: int
        body: bytes

    blobs = app.stream("blobs", Blob, lambda _: "all")
    sizes = [600_000, 10, 3_000_000, 700_000, 0, 1 << 20]
    await blobs.send(*(Blob(n=n, body=bytes(size)) for n, size in enumerate(sizes)))
    ((_, entries),) = (await stored(blobs)).items()
    assert [(record.n, len(record.body)) for _, record in entries] == list(enumerate(sizes))


async def test_a_thousand_tasks_that_send_at_once(orders: Stream[Any], order: Any, stored: Any) -> None:
    async def send(task: int) -> None:
        await orders.send(order(key=str(task), n=0), order(key=str(task), n=1))
        await orders.send(order(key=str(task), n=2))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for task in range(1000):
                nursery.start_soon(send, task)
    found = await stored(orders)
    by_key: dict[str, list[int]] = {}
    for entries in found.values():
        for _, record in entries:
            by_key.setdefault(record.key, []).append(record.n)
    assert by_key == {str(task): [0, 1, 2] for task in range(1000)}


async def test_sending_nothing_does_nothing_at_a_checkpoint(orders: Stream[Any], stored: Any) -> None:
    await orders.send()
    with assert_checkpoints():
        await orders.send()
    assert await stored(orders) == {}


async def test_a_record_of_another_class_is_refused_and_nothing_is_sent(
    orders: Stream[Any], order: Any, stored: Any
) -> None:
    class Other(Record):
        key: str
        n: int

    for wrong in (Other(key="a", n=1), {"key": "a", "n": 1}, None, order):
        with pytest.raises(RecordInvalid) as caught:
            await orders.send(order(key="a", n=0), wrong)
        assert caught.value.record == "Order"
        assert "expected Order" in caught.value.reason
    assert await stored(orders) == {}


async def test_a_value_of_another_type_is_refused_and_nothing_is_sent(
    orders: Stream[Any], order: Any, stored: Any
) -> None:
    with pytest.raises(RecordInvalid) as caught:
        await orders.send(order(key="a", n=0), order(key="b", n="1"))
    assert (caught.value.record, caught.value.path) == ("Order", "n")
    assert await stored(orders) == {}


async def test_none_is_a_key_like_others(app: App, stored: Any) -> None:
    class Visit(Record):
        user: str | None
        n: int

    visits = app.stream("visits", Visit, partition_by="user")
    records = [*(Visit(user=None, n=n) for n in range(5)), Visit(user="None", n=9)]
    with pytest.warns(RuntimeWarning, match="'visits': the partition key of a Visit is None"):
        await visits.send(*records[:4])
    await visits.send(*records[4:])  # it is said once
    found = await stored(visits)
    place = visits.partition_of(Visit(user=None, n=0))
    assert [record.n for _, record in found[place] if record.user is None] == list(range(5))


@pytest.mark.parametrize("key", [[1], {"a": 1}, {1}, object()])
async def test_what_cannot_be_a_key_is_refused_and_nothing_is_sent(
    app: App, order: Any, stored: Any, key: Any
) -> None:
    stream = app.stream("orders", order, partition_by=lambda record: key if record.n else "fine")
    with pytest.raises(Misconfigured, match="has no canonical form"):
        await stream.send(order(key="a", n=0), order(key="a", n=1))
    assert await stored(stream) == {}


async def test_an_error_of_the_key_function_is_the_callers_own(app: App, order: Any, stored: Any) -> None:
    stream = app.stream("orders", order, partition_by=lambda record: 1 // record.n)
    with pytest.raises(ZeroDivisionError):
        await stream.send(order(key="a", n=1), order(key="a", n=0))
    assert await stored(stream) == {}


async def test_streams_of_one_app_do_not_mix(app: App, order: Any, stored: Any) -> None:
    one, two = app.stream("one", order, "key"), app.stream("two", order, "key")
    async with trio.open_nursery() as nursery:
        for n in range(20):
            nursery.start_soon(one.send, order(key="a", n=n))
            nursery.start_soon(two.send, order(key="a", n=100 + n))
    assert sorted(numbers(await stored(one), "a")) == list(range(20))
    assert sorted(numbers(await stored(two), "a")) == list(range(100, 120))


async def test_primitive_and_other_records_of_one_stream_need_one_class(app: App, order: Any) -> None:
    class Order(Record, primitive=True):
        key: str

    app.stream("orders", order, "key")
    with pytest.raises(Misconfigured, match="has a stream named 'orders' already"):
        app.stream("orders", Order, "key")
    again = App("test", redis_url=app.settings.redis_url, default_partition_count=8)
    assert again.stream("orders", order, "key").partition_count == 8


async def test_another_partition_count_than_before_is_refused(app: App, order: Any) -> None:
    await app.stream("orders", order, "key").send(order(key="a", n=1))
    again = App("test", redis_url=app.server_url, default_partition_count=8)
    with pytest.raises(Misconfigured, match="partition_count=4, and is now declared with 8"):
        await again.stream("orders", order, "key").send(order(key="a", n=1))


@pytest.mark.parametrize("count", [1, 2, 63, 200])
async def test_a_record_that_is_too_large_is_refused_and_the_stream_goes_on(
    app: App, order: Any, stored: Any, count: int
) -> None:
    small = app.stream("small", order, "key", max_event_bytes=100)
    good = [order(key=str(n), n=n) for n in range(count - 1)]
    with pytest.raises(RecordInvalid, match="Order: 2,0.. bytes, and max_event_bytes of its stream is 100"):
        await small.send(*good, order(key="x" * 2000, n=0))
    found = await stored(small)
    # Many are encoded while the server works: those of another partition may be there already.
    assert count == 200 or not any(found.values())
    await small.send(*good, order(key="last", n=7))
    entries = [
        record.n for part in (await stored(small)).values() for _, record in part if record.key == "last"
    ]
    assert entries == [7]


def test_the_greatest_size_is_a_setting_and_an_argument(order: Any) -> None:
    app = App("sized", redis_url="memory://", default_max_event_bytes=5)
    assert app.stream("a", order, "key").codec.max_event_bytes == 5
    assert app.stream("b", order, "key", max_event_bytes=7).codec.max_event_bytes == 7
    assert App("sized").stream("c", order, "key").codec.max_event_bytes == 64 << 20
    with pytest.raises(
        Misconfigured, match="max_event_bytes=0 cannot be used: expected a whole number, 1 or"
    ):
        app.stream("d", order, "key", max_event_bytes=0)
