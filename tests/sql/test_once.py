"""Events are applied once, through crashes, former owners, lanes and lists, on each database."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from threading import Barrier
from threading import Event as Flag
from typing import Any

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import given

from runnel_trio import Event, Partition
from runnel_trio._event import Origin
from runnel_trio.sql import Progress, _rows

Make = Callable[..., Event]
Caplog = pytest.LogCaptureFixture


async def test_an_event_that_comes_again_is_not_applied_again(database: Any, event: Make) -> None:
    progress = Progress(database.connect())
    assert await progress.apply(database.add, event("Ada", "5-1")) == 1
    assert await progress.apply(database.add, event("Ada", "5-1")) == 0
    assert await Progress(database.connect()).apply(database.add, event("Ada", "5-1", epoch=2)) == 0
    assert await progress.apply(database.add, event("Ada", "5-2", epoch=2)) == 1
    assert database.applied() == ["5-1", "5-2"]


async def test_the_table_is_as_the_page_of_formats_says(database: Any, event: Make) -> None:
    """This is in users' databases: it never changes."""
    await Progress(database.connect()).apply(database.add, event("Ada", "1764330000000-5", epoch=17))
    query = "SELECT processor, partition, key, epoch, ms, seq FROM runnel_progress ORDER BY key"
    assert [tuple(row) for row in database.rows(query)] == [
        ("total", "shop:0:orders:log", "", 17, 0, 0),
        ("total", "shop:0:orders:log", "19e8212d50431c948ebe57a828943bdf", 17, 1764330000000, 5),
    ]


async def test_gate_without_the_id_it_is_applied_again(
    database: Any, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rows.Rows, "not_applied", lambda self, keyed: list(keyed))
    progress = Progress(database.connect())
    for _ in range(2):
        await progress.apply(database.add, event("Ada", "5-1"))
    assert database.applied() == ["5-1", "5-1"]


async def test_of_a_list_those_that_are_new_are_applied_in_one_transaction(
    database: Any, event: Make
) -> None:
    progress, got = Progress(database.connect()), []

    def add(db: Any, some: list[Event]) -> None:
        got.append([x.xid.decode() for x in some])
        database.add(db, some)

    first = [event("Ada", "5-1"), event("Bob", "5-2"), event("Ada", "5-3")]
    more = [event("Eve", "5-4"), event("Ada", "5-5")]
    assert await progress.apply(add, first) == 3
    assert await progress.apply(add, [*first[1:], *more]) == 2
    assert await progress.apply(add, [*first, *more]) == 0
    assert await progress.apply(add, []) == 0
    assert got == [["5-1", "5-2", "5-3"], ["5-4", "5-5"]]
    assert database.applied() == ["5-1", "5-2", "5-3", "5-4", "5-5"]


async def test_a_list_may_have_more_keys_than_a_statement_takes_parameters(
    database: Any, event: Make
) -> None:
    progress = Progress(database.connect())
    some = [event(f"c{n}", f"5-{n}") for n in range(1201)]
    assert await progress.apply(database.add, some) == 1201
    assert await progress.apply(database.add, [*some, event("c7", "6-0")]) == 1
    assert len(database.applied()) == 1202


async def test_an_event_of_another_key_may_come_later(database: Any, event: Make) -> None:
    progress = Progress(database.connect())
    for key, xid in [("Ada", "5-7"), ("Bob", "5-1"), ("Ada", "5-8"), ("Bob", "5-2"), ("Bob", "5-1")]:
        await progress.apply(database.add, event(key, xid))
    assert database.applied() == ["5-1", "5-2", "5-7", "5-8"]


async def test_gate_with_one_row_for_all_keys_it_is_lost(
    database: Any, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = _rows.Keyed.of
    monkeypatch.setattr(_rows.Keyed, "of", lambda x: _rows.Keyed(x, "all", of(x).xid))
    progress = Progress(database.connect())
    for key, xid in [("Ada", "5-7"), ("Bob", "5-1")]:
        await progress.apply(database.add, event(key, xid))
    assert database.applied() == ["5-7"]


async def test_processors_and_partitions_have_progress_of_their_own(database: Any, event: Make) -> None:
    progress = Progress(database.connect())
    for options in ({}, {"partition": 1}, {"group": b"other"}):
        assert await progress.apply(database.add, event("Ada", "5-1", **options)) == 1


async def test_ids_are_compared_as_numbers(database: Any, event: Make) -> None:
    progress = Progress(database.connect())
    for xid in ("9-9", "9-10", "10-0"):
        assert await progress.apply(database.add, event("Ada", xid)) == 1


async def test_what_raises_leaves_nothing_and_is_raised(database: Any, event: Make) -> None:
    progress = Progress(database.connect())

    def fail(db: Any, one: Event) -> None:
        database.add(db, one)
        raise ValueError("no such customer")

    with pytest.raises(ValueError, match="no such customer"):
        await progress.apply(fail, event("Ada", "5-1"))
    assert database.applied() == []
    assert database.rows("SELECT * FROM runnel_progress") == []
    assert await progress.apply(database.add, event("Ada", "5-1")) == 1


async def refused(progress: Progress[Any], work: Any, late: Event, caplog: Caplog) -> Any:
    """Apply an event of a former owner until it is told that it is one, and cancel the call; the facts told."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(progress.apply, work, late)
        with trio.fail_after(60):
            while not (told := [x for x in caplog.records if getattr(x, "fact", "") == "write-refused"]):
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return told[0].facts  # type: ignore[attr-defined]


async def test_a_former_owner_writes_nothing_and_waits_for_its_cancellation(
    database: Any, event: Make, caplog: Caplog
) -> None:
    progress = Progress(database.connect())
    await progress.apply(database.add, event("Ada", "5-1", epoch=1))
    await Progress(database.connect()).apply(database.add, event("Bob", "5-2", epoch=17))
    facts = await refused(progress, database.add, event("Ada", "5-3", epoch=1), caplog)
    assert facts == {"processor": "total", "partition": "shop:0:orders:log", "epoch": 1, "stored": 17}
    assert database.applied() == ["5-1", "5-2"]


async def test_gate_without_the_epoch_a_former_owner_writes(
    database: Any, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rows, "_FENCE", f"{_rows._FENCE} AND epoch < 17")
    await Progress(database.connect()).apply(database.add, event("Bob", "5-2", epoch=17))
    await Progress(database.connect()).apply(database.add, event("Ada", "5-3", epoch=1))
    assert database.applied() == ["5-2", "5-3"]


async def test_a_new_owner_waits_for_a_transaction_of_the_former_one(
    sqlite: Any, event: Make, caplog: Caplog
) -> None:
    """In SQLite, as long as its `timeout` says; then another try is needed."""
    reached, go_on = Flag(), Flag()

    def late(db: Any, one: Event) -> None:
        sqlite.add(db, one)
        reached.set()
        go_on.wait(60)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Progress(sqlite.connect()).apply, late, event("Ada", "5-1", epoch=1))
        await trio.to_thread.run_sync(reached.wait, 60)
        new = Progress(sqlite.connect(timeout=0))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await new.apply(sqlite.add, event("Ada", "5-1", epoch=2))
        go_on.set()
    assert await new.apply(sqlite.add, event("Ada", "5-1", epoch=2)) == 0
    assert sqlite.applied() == ["5-1"]


async def overlapping(postgresql: Any, event: Make) -> list[str]:
    """What is applied if an owner is in a transaction when the next one comes with the same event."""
    reached, go_on, finished = Flag(), Flag(), Flag()

    def late(db: Any, one: Event) -> None:
        postgresql.add(db, one)
        reached.set()
        go_on.wait(60)

    async def come_next() -> None:
        await Progress(postgresql.connect()).apply(postgresql.add, event("Ada", "5-1", epoch=2))
        finished.set()

    def is_waiting() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(postgresql.rows(query)[0][0]) or finished.is_set()

    await Progress(postgresql.connect()).apply(postgresql.add, event("Ada", "5-0", epoch=1))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Progress(postgresql.connect()).apply, late, event("Ada", "5-1", epoch=1))
        await trio.to_thread.run_sync(reached.wait, 60)
        nursery.start_soon(come_next)
        with trio.fail_after(60):
            while not await trio.to_thread.run_sync(is_waiting):
                await trio.sleep(0.01)
        go_on.set()
    found: list[str] = postgresql.applied()
    return found


async def test_two_owners_are_not_in_a_transaction_at_a_time(postgresql: Any, event: Make) -> None:
    assert await overlapping(postgresql, event) == ["5-0", "5-1"]


async def test_gate_without_the_lock_both_apply_the_event(
    postgresql: Any, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_rows, "_HOLD", "")
    assert await overlapping(postgresql, event) == ["5-0", "5-1", "5-1"]


async def test_lanes_of_one_owner_are_in_transactions_at_a_time(postgresql: Any, event: Make) -> None:
    both = Barrier(2)

    def meet(db: Any, one: Event) -> None:
        both.wait(60)
        postgresql.add(db, one)

    await Progress(postgresql.connect()).apply(postgresql.add, event("Eve", "5-0"))
    async with trio.open_nursery() as nursery:
        for key, xid in [("Ada", "5-1"), ("Bob", "5-2")]:
            nursery.start_soon(Progress(postgresql.connect()).apply, meet, event(key, xid))
    assert postgresql.applied() == ["5-0", "5-1", "5-2"]


async def test_lanes_that_come_first_at_a_time_wait_for_each_other(database: Any, event: Make) -> None:
    async with trio.open_nursery() as nursery:
        for n in range(12):
            progress = Progress(database.connect())
            nursery.start_soon(progress.apply, database.add, event(f"c{n}", f"5-{n:02}"))
    assert database.applied() == [f"5-{n:02}" for n in range(12)]


async def test_one_connection_has_one_transaction_at_a_time(database: Any, event: Make) -> None:
    progress = Progress(database.connect())
    inside = 0

    def count(db: Any, one: Event) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        database.add(db, one)
        inside -= 1

    async with trio.open_nursery() as nursery:
        for n in range(10):
            nursery.start_soon(progress.apply, count, event(f"c{n}", f"5-{n}"))
    assert len(database.applied()) == 10


async def test_a_connection_may_be_lent_for_each_transaction(database: Any, event: Make) -> None:
    lent: list[Any] = []

    @contextmanager
    def connection() -> Iterator[Any]:
        with closing(database.connect()) as db:
            lent.append(db)
            yield db

    progress: Progress[Any] = Progress(connection, limiter=trio.CapacityLimiter(2))
    progress.create_table()
    async with trio.open_nursery() as nursery:
        for n in range(5):
            nursery.start_soon(progress.apply, database.add, event(f"c{n}", f"5-{n}"))
    assert len({id(x) for x in lent}) == 6
    assert len(database.applied()) == 5


#: Of which key the next event is, or list of three, and what happens then.
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(["apply", "fail", "crash", "list"])), max_size=60
)


@given(STEPS)
def test_whatever_fails_and_is_repeated_each_event_of_a_key_is_applied_once_and_in_order(
    steps: list[tuple[int, str]],
) -> None:
    acknowledged, at, epoch = [0, 0, 0], [0, 0, 0], 1

    def handed_out(key: int, number: int) -> Event:
        owner = Partition(number=0, key="k", epoch=epoch)
        origin = Origin(partition=owner, group=b"g", decode=lambda x: x.data[b"key"], key_bytes=bytes)
        # Of keys that take turns, so that each key's ids are between those of others.
        return Event(origin, b"%d-%d" % (number // 2, key + 3 * (number % 2)), (b"key", b"%d" % key))

    def add(db: sqlite3.Connection, some: list[Event]) -> None:
        db.executemany("INSERT INTO spent VALUES (?, ?)", [(x.data[b"key"], x.xid) for x in some])

    def fail(db: sqlite3.Connection, some: list[Event]) -> None:
        add(db, some)
        raise ArithmeticError

    with closing(sqlite3.connect(":memory:")) as db:
        db.execute("CREATE TABLE spent (key BLOB, xid BLOB)")
        progress = Progress(db)
        progress.create_table()
        for key, what in steps:
            if what == "crash":  # the next owner begins after what was acknowledged
                epoch += 1
                acknowledged = [(x + y) // 2 for x, y in zip(acknowledged, at, strict=True)]
                at = list(acknowledged)
                continue
            some = [handed_out(key, at[key] + n) for n in range(3 if what == "list" else 1)]
            try:
                progress._apply(fail if what == "fail" else add, [_rows.Keyed.of(x) for x in some])
            except ArithmeticError:
                continue
            at[key] += len(some)
        for key in range(3):
            found = [x for (x,) in db.execute("SELECT xid FROM spent WHERE key = ?", (b"%d" % key,))]
            assert found == [handed_out(key, n).xid for n in range(len(found))]
            assert len(found) >= at[key]
