"""One suite for both brokers: whatever the one promises, the other keeps."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import (
    Acquired,
    Batch,
    Commit,
    CommitOutcome,
    Entry,
    Held,
    Lease,
    ProcessorSpec,
    StreamSpec,
)
from runnel_trio._rules._cursor import ORIGIN, LogState
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import Misconfigured

STREAM = StreamSpec(
    app="app", name="orders", partition_count=4, record="Order", hasher="blake3", partition_size=6,
    overflow=Overflow.BLOCK,
)  # fmt: skip
PROCESSOR = ProcessorSpec(stream=STREAM, name="printer")
OTHER = ProcessorSpec(stream=STREAM, name="other")


def rows(*values: str) -> Batch:
    return Batch((b"data",), [value.encode() for value in values])


def values(entries: Sequence[Entry]) -> list[str]:
    return [entry[1][1].decode() for entry in entries]


def ids(entries: Sequence[Entry]) -> list[bytes]:
    return [entry[0] for entry in entries]


async def read(broker: Broker, after: bytes = ORIGIN, number: int = 0) -> Sequence[Entry]:
    reader = broker.reader(PROCESSOR, 0.05)
    with trio.fail_after(60):
        found = await reader.read({number: after}, 100)
        await reader.aclose()
    return found.get(number, ())


async def acquired(broker: Broker, member: str = "a", processor: ProcessorSpec = PROCESSOR) -> Acquired:
    (granted,) = await broker.acquire(processor, member, {0: None})
    assert isinstance(granted, Acquired)
    return granted


async def state(broker: Broker) -> LogState:
    (found,) = await broker.log_states(PROCESSOR, [0])
    assert found is not None
    return found


async def commit(
    broker: Broker, lease: Lease, previous: bytes, last: bytes, count: int, number: int = 1
) -> CommitOutcome:
    (outcome,) = await broker.commit(PROCESSOR, [Commit(lease, number, previous, last, count, last)])
    return outcome


async def test_a_stream_is_declared_alike_by_all(broker: Broker) -> None:
    await broker.declare(STREAM)
    await broker.declare(attrs.evolve(STREAM, partition_size=99))
    for change in ({"partition_count": 5}, {"record": "Other"}, {"hasher": "md5"}):
        with pytest.raises(Misconfigured, match="was declared with"):
            await broker.declare(attrs.evolve(STREAM, **change))


async def test_a_dry_run_compares_a_stream_and_declares_nothing(broker: Broker) -> None:
    await broker.declare(STREAM, dry_run=True)
    assert await broker.streams("app") == []
    await broker.declare(STREAM)
    await broker.declare(attrs.evolve(STREAM, partition_size=99), dry_run=True)
    assert await broker.streams("app") == [STREAM]
    with pytest.raises(Misconfigured, match="was declared with"):
        await broker.declare(attrs.evolve(STREAM, partition_count=5), dry_run=True)


async def test_entries_are_read_as_they_were_appended(broker: Broker) -> None:
    assert await broker.append(STREAM, {0: rows("a", "b"), 3: rows("c")}) == {0: 2, 3: 1}
    assert await broker.append(STREAM, {0: rows("d")}) == {0: 1}
    assert values(await read(broker)) == ["a", "b", "d"]
    assert values(await read(broker, number=3)) == ["c"]
    assert values(await read(broker, after=ids(await read(broker))[1])) == ["d"]


async def test_a_read_is_bounded_by_its_count(broker: Broker) -> None:
    await broker.append(STREAM, {0: rows("a", "b", "c"), 1: rows("d", "e", "f")})
    reader = broker.reader(PROCESSOR, 1)
    found = await reader.read({0: ORIGIN, 1: ORIGIN}, 2)
    assert {number: values(entries) for number, entries in found.items()} == {0: ["a", "b"], 1: ["d", "e"]}
    await reader.aclose()


async def test_a_waiting_read_returns_when_something_is_appended(
    broker: Broker, nursery: trio.Nursery
) -> None:
    reader, found = broker.reader(PROCESSOR, 20), []

    async def wait() -> None:
        found.append(await reader.read({0: ORIGIN, 1: ORIGIN}, 10))

    with trio.fail_after(60):
        async with trio.open_nursery() as waiting:
            waiting.start_soon(wait)
            await wait_all_tasks_blocked()
            await broker.append(STREAM, {1: rows("x")})
    assert {number: values(entries) for number, entries in found[0].items()} == {1: ["x"]}
    await reader.aclose()


async def test_a_waiting_read_can_be_woken_and_used_again(broker: Broker) -> None:
    reader, found = broker.reader(PROCESSOR, 20), []

    async def wait() -> None:
        found.append(await reader.read({0: ORIGIN}, 10))

    with trio.fail_after(60):
        for _ in range(20):
            async with trio.open_nursery() as waiting:
                waiting.start_soon(wait)
                await wait_all_tasks_blocked()
                reader.wake()
        await broker.append(STREAM, {0: rows("x")})
        assert values((await reader.read({0: ORIGIN}, 10))[0]) == ["x"]
    assert not any(found)
    await reader.aclose()


async def test_a_cancelled_read_takes_nothing_away(broker: Broker) -> None:
    reader = broker.reader(PROCESSOR, 20)
    for _ in range(3):
        with trio.move_on_after(0.02) as scope:
            await reader.read({0: ORIGIN}, 10)
        assert scope.cancelled_caught
    await broker.append(STREAM, {0: rows("x")})
    with trio.fail_after(60):
        assert values((await reader.read({0: ORIGIN}, 10))[0]) == ["x"]
    await reader.aclose()


async def test_a_full_partition_takes_what_fits(broker: Broker) -> None:
    assert await broker.append(STREAM, {0: rows(*"abcdefgh"), 1: rows("x")}) == {0: 6, 1: 1}
    assert await broker.append(STREAM, {0: rows("g")}) == {0: 0}
    assert values(await read(broker)) == list("abcdef")


async def test_only_what_all_have_acknowledged_makes_room(broker: Broker) -> None:
    await broker.append(STREAM, {0: rows(*"abcdef")})
    places = ids(await read(broker))
    mine, theirs = await acquired(broker), await acquired(broker, "b", OTHER)
    await commit(broker, mine.lease, ORIGIN, places[4], 5)
    assert await broker.append(STREAM, {0: rows("g")}) == {0: 0}
    await broker.commit(OTHER, [Commit(theirs.lease, 1, ORIGIN, places[1], 2, places[1])])
    assert await broker.append(STREAM, {0: rows(*"ghi")}) == {0: 2}
    assert values(await read(broker)) == list("cdefgh")


async def test_with_trim_the_oldest_go(broker: Broker) -> None:
    stream = attrs.evolve(STREAM, overflow=Overflow.TRIM)
    for first in range(0, 1000, 100):
        batch = rows(*(str(first + i) for i in range(100)))
        assert await broker.append(stream, {0: batch}) == {0: 100}
    assert int(values(await read(broker))[0]) > 0


async def test_given_ids_are_kept_and_must_rise(broker: Broker) -> None:
    await broker.append(STREAM, {0: Batch((b"data",), [b"a", b"b"], ids=[b"5-1", b"7-0"])})
    assert ids(await read(broker)) == [b"5-1", b"7-0"]
    with pytest.raises(Misconfigured, match="7-0 is not above 7-0"):
        await broker.append(STREAM, {0: Batch((b"data",), [b"c"], ids=[b"7-0"])})
    await broker.append(STREAM, {0: rows("d")})
    assert values(await read(broker)) == ["a", "b", "d"]


async def test_concurrent_appends_keep_each_senders_order(broker: Broker) -> None:
    stream = attrs.evolve(STREAM, partition_size=10_000)

    async def send(sender: int) -> None:
        for n in range(20):
            assert await broker.append(stream, {0: rows(f"{sender} {n}"), 1: rows("x")}) == {0: 1, 1: 1}

    with trio.fail_after(60):
        async with trio.open_nursery() as senders:
            for sender in range(30):
                senders.start_soon(send, sender)
    reader = broker.reader(PROCESSOR, 1)
    stored = values((await reader.read({0: ORIGIN}, 10_000))[0])
    await reader.aclose()
    assert len(stored) == 600
    for sender in range(30):
        assert [x for x in stored if x.startswith(f"{sender} ")] == [f"{sender} {n}" for n in range(20)]


async def test_a_lease_is_granted_once_and_by_force_only_from_the_owner_seen(broker: Broker) -> None:
    first = await acquired(broker, "a")
    (held,) = await broker.acquire(PROCESSOR, "b", {0: None})
    assert held == Held(0, "a", first.lease.epoch)
    second = await acquired(broker, "a")
    assert second.lease.epoch > first.lease.epoch
    assert isinstance((await broker.acquire(PROCESSOR, "b", {0: held}))[0], Held)
    now = Held(0, "a", second.lease.epoch)
    (forced,) = await broker.acquire(PROCESSOR, "b", {0: now})
    assert isinstance(forced, Acquired)
    assert forced.lease.epoch > second.lease.epoch


async def test_a_released_lease_is_free_and_an_old_release_changes_nothing(broker: Broker) -> None:
    first = await acquired(broker, "a")
    await broker.release(PROCESSOR, [first.lease])
    second = await acquired(broker, "b")
    await broker.release(PROCESSOR, [first.lease])
    assert isinstance((await broker.acquire(PROCESSOR, "c", {0: None}))[0], Held)
    assert second.lease.epoch > first.lease.epoch


async def test_a_commit_moves_the_cursor_once(broker: Broker) -> None:
    await broker.append(STREAM, {0: rows("a", "b")})
    places = ids(await read(broker))
    granted = await acquired(broker)
    assert granted.state.cursor == ORIGIN
    assert await commit(broker, granted.lease, ORIGIN, places[0], 1) is CommitOutcome.COMMITTED
    assert await commit(broker, granted.lease, ORIGIN, places[0], 1) is CommitOutcome.COMMITTED
    found = await state(broker)
    assert (found.cursor, found.entries_read, found.entries_added) == (places[0], 1, 2)
    assert (await acquired(broker)).read_to == places[0]


async def test_a_former_owners_commit_is_fenced(broker: Broker) -> None:
    await broker.append(STREAM, {0: rows("a")})
    (place,) = ids(await read(broker))
    old = await acquired(broker, "a")
    await broker.acquire(PROCESSOR, "b", {0: Held(0, "a", old.lease.epoch)})
    assert await commit(broker, old.lease, ORIGIN, place, 1) is CommitOutcome.FENCED
    assert (await state(broker)).cursor == ORIGIN


async def test_a_commit_from_another_place_is_told_of_the_rewind(broker: Broker) -> None:
    await broker.append(STREAM, {0: rows("a", "b", "c")})
    places = ids(await read(broker))
    granted = await acquired(broker)
    assert await commit(broker, granted.lease, places[0], places[1], 2) is CommitOutcome.REWOUND
    assert (await state(broker)).cursor == ORIGIN


async def test_a_commit_of_what_the_log_never_had_is_told_of_the_rewind(broker: Broker) -> None:
    """The log lost its end, and the commit of it: what is sent now takes its place."""
    await broker.append(STREAM, {0: rows("a", "b")})
    first, last = ids(await read(broker))
    granted = await acquired(broker)
    later = b"%d-0" % (int(last.partition(b"-")[0]) + 1)
    assert await commit(broker, granted.lease, ORIGIN, later, 3) is CommitOutcome.REWOUND
    assert await commit(broker, granted.lease, ORIGIN, later, -1) is CommitOutcome.REWOUND
    assert (await state(broker)).cursor == ORIGIN
    assert await commit(broker, granted.lease, ORIGIN, first, -1) is CommitOutcome.COMMITTED
    assert await commit(broker, granted.lease, first, last, 2) is CommitOutcome.COMMITTED


async def test_processors_of_one_stream_are_independent(broker: Broker) -> None:
    await broker.append(STREAM, {0: rows("a")})
    (place,) = ids(await read(broker))
    granted = await acquired(broker)
    await commit(broker, granted.lease, ORIGIN, place, 1)
    other = await acquired(broker, "a", OTHER)
    assert other.state.cursor == ORIGIN


async def test_what_was_never_acquired_has_no_state(broker: Broker) -> None:
    assert await broker.log_states(PROCESSOR, [2]) == [None]
