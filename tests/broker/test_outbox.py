"""Records in an outbox arrive once, in order, whoever relays them and however often."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from fault_app import mutate
from redis import Redis

from runnel_trio._broker import open_broker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import (
    MOST_OUTBOX,
    SEALED,
    Acquired,
    Batch,
    Commit,
    CommitOutcome,
    Lease,
    OutboxRecord,
    ProcessorSpec,
    ServerConfig,
    StreamSpec,
)
from runnel_trio.constants import Overflow

ORDERS = StreamSpec(
    app="app", name="orders", partition_count=2, record="Order", hasher="blake3", partition_size=100,
    overflow=Overflow.BLOCK,
)  # fmt: skip
OUT = attrs.evolve(ORDERS, name="out", partition_size=4)
BILL = ProcessorSpec(stream=ORDERS, name="bill")


def records(*numbers: int) -> list[OutboxRecord]:
    return [OutboxRecord("out", n, (b"data", b"%d" % n)) for n in numbers]


async def owned(broker: Broker) -> Lease:
    (granted,) = await broker.acquire(BILL, "me", {0: None})
    assert isinstance(granted, Acquired)
    return granted.lease


async def put(broker: Broker, lease: Lease, number: int, *numbers: int) -> CommitOutcome:
    commit = Commit(lease, number, b"0-0", b"0-0", 0, b"0-0", outbox=records(*numbers))
    (outcome,) = await broker.commit(BILL, [commit])
    return outcome


async def stored(broker: Broker, to: int = 1) -> list[int]:
    return [int(fields[1]) for _, fields in await broker.entries(OUT, to)]


async def relayed(broker: Broker, *, remove: bool = True) -> int:
    found = await broker.outbox_records(BILL, 0, 100)
    count = await broker.relay(BILL, 0, found, OUT, 1)
    if remove:
        await broker.remove_from_outbox(BILL, 0, [x.id for x in found[:count]])
    return count


async def test_what_a_commit_has_put_there_arrives_once_and_in_order(broker: Broker) -> None:
    lease = await owned(broker)
    for _ in range(2):
        assert await put(broker, lease, 1, 1, 2) is CommitOutcome.COMMITTED  # its answer was lost
    assert await put(broker, lease, 2, 3) is CommitOutcome.COMMITTED
    assert [(x.stream, x.hash, tuple(x.fields)) for x in await broker.outbox_records(BILL, 0, 10)] == [
        ("out", n, (b"data", b"%d" % n)) for n in (1, 2, 3)
    ]
    for _ in range(3):
        assert await relayed(broker, remove=False) == 3
    assert await stored(broker) == [1, 2, 3]
    await relayed(broker)
    assert await broker.outbox_records(BILL, 0, 10) == []


async def test_what_a_later_owner_puts_there_comes_behind(broker: Broker) -> None:
    lease = await owned(broker)
    await put(broker, lease, 1, 1, 2)
    await relayed(broker)
    await put(broker, await owned(broker), 1, 3)
    await relayed(broker)
    assert await stored(broker) == [1, 2, 3]


async def test_a_late_repetition_of_an_owner_before_adds_nothing(broker: Broker) -> None:
    lease = await owned(broker)
    await put(broker, lease, 1, 1, 2)
    late = await broker.outbox_records(BILL, 0, 10)
    await put(broker, lease, 2, 3)
    await relayed(broker)
    assert await broker.relay(BILL, 0, late, OUT, 1) == 2
    assert await stored(broker) == [1, 2, 3]


async def test_of_what_has_no_room_nothing_is_lost_or_changes_places(broker: Broker) -> None:
    await put(broker, await owned(broker), 1, *range(6))
    assert await relayed(broker) == 4
    assert await relayed(broker) == 0
    (first, second, *_) = await broker.entries(OUT, 1)
    await broker.remove(OUT, 1, [first[0], second[0]])
    assert await relayed(broker) == 2
    assert await stored(broker) == [2, 3, 4, 5]


async def test_a_partition_of_another_layout_takes_nothing(broker: Broker) -> None:
    await put(broker, await owned(broker), 1, 1)
    found = await broker.outbox_records(BILL, 0, 10)
    assert await broker.relay(BILL, 0, found, attrs.evolve(OUT, layout=2), 1) is SEALED


async def test_a_commit_of_a_replaced_owner_puts_nothing_there(broker: Broker) -> None:
    lease = await owned(broker)
    await owned(broker)
    assert await put(broker, lease, 1, 1) is CommitOutcome.FENCED
    assert await broker.outbox_records(BILL, 0, 10) == []


async def test_an_outbox_holds_so_much_and_then_the_commit_waits(broker: Broker) -> None:
    lease = await owned(broker)
    assert await put(broker, lease, 1, *range(MOST_OUTBOX)) is CommitOutcome.COMMITTED
    assert await put(broker, lease, 2, 1) is CommitOutcome.FULL
    await broker.remove_from_outbox(BILL, 0, [(await broker.outbox_records(BILL, 0, 1))[0].id])
    assert await put(broker, lease, 2, 1) is CommitOutcome.COMMITTED


async def test_what_is_forgotten_is_gone(broker: Broker) -> None:
    await put(broker, await owned(broker), 1, 1)
    await broker.forget(BILL)
    assert await broker.outbox_records(BILL, 0, 10) == []


async def test_the_stored_bytes_are_these_and_many_producers_do_not_drop_what_was_relayed() -> None:
    async with open_broker(ServerConfig("embedded://")) as broker:
        lease = await owned(broker)
        await put(broker, lease, 1, 7)
        with Redis.from_url(broker.url) as client:
            ((xid, fields),) = await trio.to_thread.run_sync(
                client.xrange, "runnel:{app:0}:orders:outbox:bill"
            )
            assert xid == b"%d-0" % lease.epoch
            assert fields == {b"to": b"out", b"hash": b"7", b"entry": b"4:data,1:7,"}
            await relayed(broker, remove=False)
            known: Any = client.hgetall
            producers = await trio.to_thread.run_sync(known, "runnel:{app:1}:out:producers")
            assert producers[b"runnel:{app:0}:orders:outbox:bill"] == xid
            old = {f"p{n}": "1 1 1000" for n in range(200)}
            await trio.to_thread.run_sync(lambda: client.hset("runnel:{app:1}:out:producers", mapping=old))
        await broker.append(OUT, {1: Batch((b"data",), [b"x"])})  # drops those that were idle for an hour
        assert await relayed(broker) == 1
        assert len(await stored_bytes(broker)) == 2


async def stored_bytes(broker: Broker) -> list[bytes]:
    return [fields[1] for _, fields in await broker.entries(OUT, 1)]


@pytest.mark.parametrize(
    ("guard", "instead", "found_by"),
    [
        ("not id_before(last, ARGV[at])", "false", test_what_a_commit_has_put_there_arrives_once_and_in_order),
        ("redis.call('HSET', producers, outbox, last)", "last = nil", test_a_late_repetition_of_an_owner_before_adds_nothing),
        ("if (known[2] or '1') ~= ARGV[2] then return -1 end", "", test_a_partition_of_another_layout_takes_nothing),
        (
            "redis.call('HSET', producers, outbox, last)",
            "redis.call('HSET', producers, outbox, last .. ' 1000')",
            None,
        ),
    ],
)  # fmt: skip
async def test_gate_a_relay_without_this_guard_is_found_out(
    monkeypatch: pytest.MonkeyPatch, guard: str, instead: str, found_by: Any
) -> None:
    mutate([("relay", guard, instead)], monkeypatch.setattr)
    if found_by is None:
        with pytest.raises(AssertionError):
            await test_the_stored_bytes_are_these_and_many_producers_do_not_drop_what_was_relayed()
        return
    async with open_broker(ServerConfig("embedded://")) as broker:
        with pytest.raises(AssertionError):
            await found_by(broker)
