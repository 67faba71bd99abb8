"""A send finds the stream in other partitions: it goes on there, in order, and says nothing."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from runnel_trio import App, Misconfigured, Record, Stream, StreamFull
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis._transport._scripts import PlainCommand
from runnel_trio.exceptions import BrokerRefused


class Order(Record, primitive=True):
    """A primitive record: entries of several fields."""

    key: str
    n: int


def declared(app: App, **options: Any) -> Stream[Any]:
    return app.stream("orders", Order, partition_by="key", **options)


async def moved(stream: Stream[Any], count: int = 7) -> Broker:
    """Behind the stream's back."""
    async with stream.connect(stream) as broker:
        await broker.repartition(stream.spec, count)
    return broker


async def by_key(broker: Broker, *streams: Any) -> dict[str, list[int]]:
    """The numbers of each key, first of the first layout; in each, a key has one partition."""
    found: dict[str, list[int]] = {}
    for spec in streams:
        places: dict[str, int] = {}
        for number in range(spec.partition_count):
            for _, fields in await broker.entries(spec, number, count=100_000):
                record = dict(zip(fields[::2], fields[1::2], strict=True))
                key = record[b"key"].decode()
                assert places.setdefault(key, number) == number
                found.setdefault(key, []).append(int(record[b"n"]))
    return found


@pytest.mark.parametrize("many", [1, 3, 200])
async def test_a_send_finds_the_new_partitions_by_itself(app: App, many: int) -> None:
    orders = declared(app)
    former = orders.spec
    await orders.send(*(Order(key=f"k{n % 20}", n=n) for n in range(40)))
    broker = await moved(orders)
    await orders.send(*(Order(key=f"k{n % 20}", n=n) for n in range(40, 40 + many)))
    assert orders.partition_count == 7
    found = await by_key(broker, former, orders.spec)
    assert all(numbers == sorted(numbers) for numbers in found.values())
    assert sum(map(len, found.values())) == 40 + many
    assert sum(map(len, (await by_key(broker, former)).values())) == 40


async def test_tasks_that_send_meanwhile_keep_their_order(app: App) -> None:
    orders = declared(app)
    former = orders.spec

    async def send(key: str) -> None:
        for n in range(30):
            await orders.send(Order(key=key, n=n))

    async with trio.open_nursery() as nursery:
        for key in "abcdefgh":
            nursery.start_soon(send, key)
        with trio.fail_after(60):
            async with orders.connect(orders) as broker:
                while len((await by_key(broker, former)).get("a", ())) < 5:
                    await trio.lowlevel.checkpoint()
        broker = await moved(orders, 32)
    found = await by_key(broker, former, orders.spec)
    assert found == {key: list(range(30)) for key in "abcdefgh"}


async def test_what_waits_for_room_goes_to_the_new_partitions(app: App) -> None:
    orders = declared(app, partition_size=10, partition_count=1)
    former = orders.spec
    async with trio.open_nursery() as nursery:
        nursery.start_soon(orders.send, *(Order(key=f"k{n % 5}", n=n) for n in range(45)))
        with trio.fail_after(60):
            async with orders.connect(orders) as broker:
                while not await broker.entries(former, 0):
                    await trio.lowlevel.checkpoint()
        broker = await moved(orders, 12)
    assert sum(map(len, (await by_key(broker, former)).values())) == 10
    assert await by_key(broker, former, orders.spec) == {
        f"k{key}": list(range(key, 45, 5)) for key in range(5)
    }


async def test_what_finds_no_room_there_is_named_by_its_place(app: App) -> None:
    orders = declared(app, partition_size=3, partition_count=4, overflow="error")
    await orders.send(Order(key="a", n=0))
    await moved(orders, 1)
    with pytest.raises(StreamFull) as caught:
        await orders.send(*(Order(key="abcde"[n], n=n) for n in range(5)))
    assert caught.value.unsent == (3, 4)
    assert caught.value.partition == 0


async def test_given_ids_go_along(app: App) -> None:
    orders = declared(app)
    await orders.send(Order(key="a", n=0))
    broker = await moved(orders)
    await orders.send(*(Order(key=key, n=1) for key in "abc"), stream_ids=["7-1", "7-2", "7-3"])
    found = [xid for n in range(7) for xid, _ in await broker.entries(orders.spec, n)]
    assert sorted(found) == [b"7-1", b"7-2", b"7-3"]


async def test_given_ids_that_fall_in_the_new_partitions_are_refused(app: App) -> None:
    orders = declared(app, partition_count=64)
    one, other = Order(key="a", n=1), Order(key="b", n=1)
    assert orders.partition_of(one) != orders.partition_of(other)
    await orders.send(one)
    await moved(orders, 1)
    with pytest.raises(Misconfigured, match="is not above.*got other partitions"):
        await orders.send(one, other, stream_ids=["9-2", "9-1"])


async def test_the_first_send_of_a_process_goes_by_the_server(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    orders = declared(app)
    await orders.send(Order(key="a", n=0))
    broker = await moved(orders)
    again = App("test", redis_url=app.settings.redis_url, default_partition_count=4)
    again._shared = app._shared  # the same server
    late = declared(again)
    caplog.clear()
    await late.send(*(Order(key=f"k{n}", n=n) for n in range(100)))
    assert late.partition_count == 7
    assert sum(map(len, (await by_key(broker, late.spec)).values())) == 100
    (told,) = [x for x in caplog.records if getattr(x, "fact", "") == "partition-count-differs"]
    assert vars(told)["facts"]["write"] == "partition_count=7"
    assert told.levelno == logging.WARNING


async def test_a_server_that_refuses_its_own_partitions_is_told_of(app: App) -> None:
    orders = declared(app)
    async with orders.connect(orders) as broker:
        ahead = orders.spec.laid_out(5, 4)
        await broker.reconcile_layout(ahead)
        # As after a failover of a cluster, in which what is known of the stream is older than its partitions.
        await forgotten(broker, orders)
    with pytest.raises(BrokerRefused, match="stream repartition MODULE:orders"):
        await orders.send(Order(key="a", n=0))


async def forgotten(broker: Any, stream: Stream[Any]) -> None:
    if hasattr(broker, "store"):
        del broker.store.metas[stream.spec.app, stream.name]
    else:
        from runnel_trio._broker._redis import _keys

        await broker.servers.call([PlainCommand(("DEL", _keys.meta(stream.spec)))])
