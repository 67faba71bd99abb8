"""The lists of parked keys: what a commit does to them, what an operator does, and that neither overwrites the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from fault_app import mutate
from redis import Redis

from runnel_trio._broker import open_broker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._values import (
    Acquired,
    Batch,
    Commit,
    CommitOutcome,
    Lease,
    Output,
    ParkedChange,
    ProcessorSpec,
    ServerConfig,
    StreamSpec,
)
from runnel_trio._rules._parked import Facts, Head, facts_text
from runnel_trio.constants import Overflow

ORDERS = StreamSpec(
    app="app", name="orders", partition_count=1, record="Order", hasher="blake3", partition_size=100,
    overflow=Overflow.BLOCK,
)  # fmt: skip
OUT = attrs.evolve(ORDERS, name="out", partition_size=1)
BILL = ProcessorSpec(stream=ORDERS, name="bill")
FACTS = Facts(key="Ada", hash=7, error="ValueError: x", by="m")
ADA = b"sAda"


async def prepared(broker: Broker) -> Lease:
    await broker.append(ORDERS, {0: Batch((b"data",), [b"x"] * 5, [b"%d-0" % n for n in range(1, 6)])})
    (granted,) = await broker.acquire(BILL, "me", {0: None})
    assert isinstance(granted, Acquired)
    return granted.lease


def parking(lease: Lease, number: int, *changes: ParkedChange, **more: Any) -> Commit:
    return Commit(
        lease, number, b"%d-0" % (number - 1), b"%d-0" % number, number, b"5-0", parked=changes, **more
    )


def parked(head: Head, *entries: bytes, seen: Head | None = None, key: bytes = ADA) -> ParkedChange:
    return ParkedChange(key, seen, head, entries, facts_text(FACTS) if seen is None else b"")


async def listed(broker: Broker) -> dict[bytes, tuple[Head, list[bytes | None]]]:
    heads = await broker.parked_heads(BILL, 0)
    return {
        key: (head, list(await broker.parked_entries(BILL, 0, key, head.first, head.last)))
        for key, head in heads.items()
    }


async def test_a_list_grows_shrinks_and_is_free_with_the_commits_that_say_so(broker: Broker) -> None:
    lease = await prepared(broker)
    one = Head(1, 1, 3, 1, 0)
    assert await broker.commit(BILL, [parking(lease, 1, parked(one, b"a"))]) == [CommitOutcome.COMMITTED]
    assert await listed(broker) == {ADA: (one, [b"a"])}
    assert await broker.parked_values(BILL, 0) == {ADA: (one, FACTS)}

    three = Head(1, 3, 3, 1, 0)
    grown = parked(three, b"b", b"c", seen=one)
    assert await broker.commit(BILL, [parking(lease, 2, grown)]) == [CommitOutcome.COMMITTED]
    assert await listed(broker) == {ADA: (three, [b"a", b"b", b"c"])}
    assert await broker.parked_values(BILL, 0) == {ADA: (three, FACTS)}, "facts stay as they are"

    shifted = Head(3, 4, 0, 0, 0)
    both = parked(shifted, b"d", seen=three)
    assert await broker.commit(BILL, [parking(lease, 3, both)]) == [CommitOutcome.COMMITTED]
    assert await listed(broker) == {ADA: (shifted, [b"c", b"d"])}
    assert await broker.parked_entries(BILL, 0, ADA, 1, 5) == [None, None, b"c", b"d", None]

    free = ParkedChange(ADA, shifted, None)
    assert await broker.commit(BILL, [parking(lease, 4, free)]) == [CommitOutcome.COMMITTED]
    assert await listed(broker) == {}
    assert await broker.parked_entries(BILL, 0, ADA, 1, 5) == [None] * 5


#: What is there, and what an owner believes.
HEADS = [None, Head(1, 0), Head(1, 2, 1, 1, 0), Head(2, 2, 1, 1, 0), Head(1, 2, 1, 1, 5), Head(1, 2, 2, 1, 0)]


@pytest.mark.parametrize(("there", "believed"), list(itertools.product(HEADS, HEADS)))
async def test_a_commit_is_made_only_if_each_list_is_as_its_owner_believes(
    broker: Broker, there: Head | None, believed: Head | None
) -> None:
    lease = await prepared(broker)
    if there is not None:
        entries = [b"x"] * there.count
        (made,) = await broker.change_parked(BILL, 0, [parked(there, *entries)])
        assert made
    last = believed.last if believed else 0
    change = ParkedChange(ADA, believed, Head(1, last + 1), (b"new",), facts_text(FACTS))
    rows = [Output(OUT, 0, Batch((b"data",), [b"y"]))]
    before = await listed(broker)
    (outcome,) = await broker.commit(BILL, [parking(lease, 1, change, outputs=rows)])
    assert outcome is (CommitOutcome.COMMITTED if there == believed else CommitOutcome.CHANGED)
    if there != believed:
        assert await listed(broker) == before
        assert not await broker.entries(OUT, 0)
        (state,) = await broker.log_states(BILL, [0])
        assert state is not None
        assert state.cursor == b"0-0"
        again = parking(
            lease, 1, attrs.evolve(change, seen=there, now=Head(1, (there.last if there else 0) + 1))
        )
        assert await broker.commit(BILL, [again]) == [CommitOutcome.COMMITTED], "with the same number"


async def test_one_list_that_has_changed_refuses_all_of_a_commit(broker: Broker) -> None:
    lease = await prepared(broker)
    good, bad = parked(Head(1, 1), b"a", key=b"sgood"), parked(Head(1, 2), b"b", seen=Head(1, 1), key=b"sbad")
    assert await broker.commit(BILL, [parking(lease, 1, good, bad)]) == [CommitOutcome.CHANGED]
    assert await listed(broker) == {}


async def test_a_repeated_commit_adds_nothing_twice(broker: Broker) -> None:
    lease = await prepared(broker)
    commit = parking(lease, 1, parked(Head(1, 1), b"a"))
    for _ in range(3):
        assert await broker.commit(BILL, [commit]) == [CommitOutcome.COMMITTED]
    assert await listed(broker) == {ADA: (Head(1, 1), [b"a"])}


@pytest.mark.parametrize("stale", ["owner", "full"])
async def test_what_is_refused_parks_nothing(broker: Broker, stale: str) -> None:
    lease = await prepared(broker)
    rows = [Output(OUT, 0, Batch((b"data",), [b"y", b"y"]))] if stale == "full" else []
    held = attrs.evolve(lease, owner="another") if stale == "owner" else lease
    (outcome,) = await broker.commit(BILL, [parking(held, 1, parked(Head(1, 1), b"a"), outputs=rows)])
    assert outcome is (CommitOutcome.FENCED if stale == "owner" else CommitOutcome.FULL)
    assert await listed(broker) == {}


async def test_an_operator_changes_only_what_is_as_it_was_seen_and_the_party_hears_of_it(
    broker: Broker,
) -> None:
    await prepared(broker)
    held = parked(Head(1, 0))
    assert await broker.change_parked(BILL, 0, [held]) == [True]
    assert await broker.change_parked(BILL, 0, [held]) == [False]
    due = ParkedChange(ADA, Head(1, 0), Head(1, 0, next=1))
    other = parked(Head(1, 0), key=b"sBob")
    assert await broker.change_parked(BILL, 0, [held, due, other]) == [False, True, True]
    assert await broker.parked_heads(BILL, 0) == {ADA: Head(1, 0, next=1), b"sBob": Head(1, 0)}


async def test_the_next_owner_is_told_how_many_keys_are_parked(broker: Broker) -> None:
    lease = await prepared(broker)
    changes = [parked(Head(1, 1), b"a", key=b"i%d" % n) for n in range(3)]
    await broker.commit(BILL, [parking(lease, 1, *changes)])
    (granted,) = await broker.acquire(BILL, "me", {0: None})
    assert isinstance(granted, Acquired)
    assert granted.parked == 3
    (seen,) = await broker.survey(ORDERS)
    assert (seen.processors["bill"].parked_keys, seen.processors["bill"].parked) == (3, 3)


async def test_keys_move_only_to_partitions_that_nobody_has_owned(broker: Broker) -> None:
    change = parked(Head(1, 2), b"a", b"b")
    assert await broker.move_parked(BILL, 0, change)
    assert await listed(broker) == {ADA: (Head(1, 2), [b"a", b"b"])}
    await prepared(broker)
    assert not await broker.move_parked(BILL, 0, ParkedChange(ADA, Head(1, 2), None))
    assert await listed(broker) == {ADA: (Head(1, 2), [b"a", b"b"])}


async def test_what_is_forgotten_is_gone_with_what_is_parked(broker: Broker) -> None:
    lease = await prepared(broker)
    await broker.commit(BILL, [parking(lease, 1, parked(Head(1, 1), b"a"))])
    await broker.forget(BILL)
    assert await listed(broker) == {}


@pytest.mark.parametrize("key", [b"", b"s", b"b\x00\xff\n", b"s12:34 5", b"s" * 70_000])
async def test_a_key_may_be_of_any_bytes(broker: Broker, key: bytes) -> None:
    lease = await prepared(broker)
    one, two = Head(1, 1), Head(1, 2)
    await broker.commit(BILL, [parking(lease, 1, parked(one, b"a\n1 2", key=key))])
    await broker.commit(BILL, [parking(lease, 2, parked(two, b"", seen=one, key=key))])
    assert await listed(broker) == {key: (two, [b"a\n1 2", b""])}
    assert (await broker.parked_values(BILL, 0))[key] == (two, FACTS)
    await broker.commit(BILL, [parking(lease, 3, ParkedChange(key, two, None))])
    assert await listed(broker) == {}


async def test_ten_thousand_entries_are_added_and_removed_at_once(broker: Broker) -> None:
    lease = await prepared(broker)
    many = Head(1, 10_000)
    assert await broker.commit(BILL, [parking(lease, 1, parked(many, *[b"x"] * 10_000))]) == [
        CommitOutcome.COMMITTED
    ]
    assert await broker.parked_entries(BILL, 0, ADA, 9_999, 10_001) == [b"x", b"x", None]
    assert await broker.commit(BILL, [parking(lease, 2, ParkedChange(ADA, many, None))]) == [
        CommitOutcome.COMMITTED
    ]
    assert await listed(broker) == {}


async def test_the_stored_bytes_are_these() -> None:
    """What is stored is read by the versions of years to come: see docs/reference/formats."""
    async with open_broker(ServerConfig("embedded://")) as broker:
        lease = await prepared(broker)
        due = Head(1, 2, 3, 1, 1764330060000, 1764330000000)
        await broker.commit(BILL, [parking(lease, 1, parked(due, b"1-0 4:data,1:x,", b"2-0 4:data,1:x,"))])
        with Redis.from_url(broker.url) as client:
            keys = await trio.to_thread.run_sync(client.hgetall, "runnel:{app:0}:orders:keys:bill")
            entries = await trio.to_thread.run_sync(client.hgetall, "runnel:{app:0}:orders:parked:bill")
    assert keys == {
        b"sAda": b'1 2 3 1 1764330060000 1764330000000 {"by": "m", "error": "ValueError: x", '
        b'"hash": 7, "key": "Ada"}'
    }
    assert entries == {b"1:sAda": b"1-0 4:data,1:x,", b"2:sAda": b"2-0 4:data,1:x,"}


Gate = tuple[list[tuple[str, str, str]], Callable[[Broker], Any]]
GATES = {
    "the head that was seen": (
        [("commit", "not are_as_seen(KEYS[3], KEYS[4], changes)", "false")],
        lambda broker: test_a_commit_is_made_only_if_each_list_is_as_its_owner_believes(broker, HEADS[2], HEADS[3]),
    ),
    "the head that an operator saw": (
        [("change_parked", "if not are_as_seen(KEYS[1], KEYS[2], changes) then return 0 end", "")],
        test_an_operator_changes_only_what_is_as_it_was_seen_and_the_party_hears_of_it,
    ),
    "nobody has owned it": (
        [("change_parked", "if KEYS[3] and redis.call('HEXISTS', KEYS[3], 'epoch') == 1 then return 0 end", "")],
        test_keys_move_only_to_partitions_that_nobody_has_owned,
    ),
    "entries leave the list": (
        [("commit", "for number = first, kept - 1 do redis.call('HDEL', parked, string.format('%.0f:', number) .. key) end", "")],
        test_a_list_grows_shrinks_and_is_free_with_the_commits_that_say_so,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
async def test_gate_a_script_without_this_guard_is_found_out(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mutations, found_by = GATES[name]
    mutate(mutations, monkeypatch.setattr)
    async with open_broker(ServerConfig("embedded://")) as broker:
        with pytest.raises(AssertionError):
            await found_by(broker)


def test_the_memory_broker_keeps_lists_where_the_log_is() -> None:
    assert MemoryBroker().store.logs == {}
    assert _keys.parked_keys(BILL, 0) == "runnel:{app:0}:orders:keys:bill"
