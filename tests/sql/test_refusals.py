"""What cannot work is refused, with what to do; what the database raises comes through."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing, nullcontext
from threading import Barrier
from threading import Event as Flag
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import trio

from runnel_trio import App, DeserializationError, Event, Events, Misconfigured, Partition, Record
from runnel_trio._event import Origin
from runnel_trio.sql import Progress
from runnel_trio.sql._driver import _rendered, driver_of

Make = Callable[..., Event]


# Connections


@pytest.mark.parametrize(
    ("style", "statement"),
    [
        ("qmark", "UPDATE t SET x = ? WHERE y = ? AND x < ?"),
        ("numeric", "UPDATE t SET x = :1 WHERE y = :2 AND x < :3"),
        ("named", "UPDATE t SET x = :x WHERE y = :y AND x < :x"),
        ("format", "UPDATE t SET x = %s WHERE y = %s AND x < %s"),
        ("pyformat", "UPDATE t SET x = %(x)s WHERE y = %(y)s AND x < %(x)s"),
    ],
)
def test_parameters_are_written_in_each_style(style: str, statement: str) -> None:
    rendered = _rendered("UPDATE t SET x = :x WHERE y = :y AND x < :x", style)
    assert rendered == (statement, ("x", "y", "x"))


async def test_another_style_of_the_driver_is_followed(
    sqlite: Any, event: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "paramstyle", "named")
    progress = Progress(sqlite.connect())
    for xid in ("5-1", "5-1", "5-2"):
        await progress.apply(sqlite.add, event("Ada", xid))
    assert sqlite.applied() == ["5-1", "5-2"]


class Wrapped:
    """As a pool or an ORM wraps a connection."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


async def test_the_driver_of_a_wrapped_connection_is_given(sqlite: Any, event: Make) -> None:
    wrapped = Wrapped(sqlite.connect())
    with pytest.raises(Misconfigured, match=r"cannot tell which driver a Wrapped .* driver=sqlite3"):
        Progress(wrapped)
    assert await Progress(wrapped, driver=sqlite3).apply(sqlite.add, event("Ada", "5-1")) == 1


async def test_the_driver_of_a_subclass_is_found(sqlite: Any, event: Make) -> None:
    class Mine(sqlite3.Connection):
        pass

    db = sqlite.connect(factory=Mine)
    assert await Progress(db).apply(sqlite.add, event("Ada", "5-1")) == 1


def test_a_module_that_is_no_driver_is_refused(sqlite: Any) -> None:
    with pytest.raises(Misconfigured, match=r"sys.paramstyle is None, and must be one of qmark, numeric"):
        Progress(sqlite.connect(), driver=sys)
    odd = ModuleType("odd")
    odd.paramstyle = "odd"  # type: ignore[attr-defined]
    with pytest.raises(Misconfigured, match="odd.paramstyle is 'odd'"):
        driver_of(sqlite.connect(), odd)


def test_what_is_no_connection_is_refused() -> None:
    with pytest.raises(Misconfigured, match="give it a DB-API connection, or a function that lends one"):
        Progress("db.sqlite3")  # type: ignore[arg-type]


@pytest.mark.parametrize("table", ["", "my table", "a.b.c", "x; DROP TABLE spent", "1st", 'a"b'])
def test_a_table_has_a_plain_name(sqlite: Any, table: str) -> None:
    with pytest.raises(Misconfigured, match="must be a plain name"):
        Progress(sqlite.connect(), table=table)


async def test_autocommit_is_refused(database: Any, event: Make) -> None:
    options = {"isolation_level": None} if database.name == "sqlite" else {"autocommit": True}
    progress = Progress(database.connect(**options))
    with pytest.raises(Misconfigured, match="is in autocommit mode"):
        await progress.apply(database.add, event("Ada", "5-1"))
    with pytest.raises(Misconfigured, match="is in autocommit mode"):
        progress.create_table()
    assert database.applied() == []


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has this since Python 3.12")
@pytest.mark.parametrize(("autocommit", "is_fit"), [(True, False), (False, True)])
async def test_the_newer_autocommit_of_sqlite3_counts(
    sqlite: Any, event: Make, autocommit: bool, is_fit: bool
) -> None:
    db = sqlite.connect(autocommit=autocommit)
    with nullcontext() if is_fit else pytest.raises(Misconfigured, match="autocommit"):
        for _ in range(2):
            await Progress(db).apply(sqlite.add, event("Ada", "5-1"))
    assert sqlite.applied() == ["5-1"] * is_fit


async def test_a_transaction_that_is_open_is_refused_and_stays(database: Any, event: Make) -> None:
    db = database.connect()
    database.add(db, event("Ada", "4-0"))
    with pytest.raises(Misconfigured, match="is in a transaction already"):
        await Progress(db).apply(database.add, event("Ada", "5-1"))
    db.commit()
    assert database.applied() == ["4-0"]


async def test_two_transactions_on_one_connection_are_refused(database: Any, event: Make) -> None:
    """They would be one: what one has applied would be rolled back with the other."""
    db, reached, go_on = database.connect(), Flag(), Flag()

    def wait(db: Any, one: Event) -> None:
        reached.set()
        go_on.wait(60)
        database.add(db, one)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(Progress(db).apply, wait, event("Ada", "5-1"))
        await trio.to_thread.run_sync(reached.wait, 60)
        with pytest.raises(Misconfigured, match="another Progress uses this connection now"):
            await Progress(db).apply(database.add, event("Bob", "5-2"))
        go_on.set()
    assert database.applied() == ["5-1"]
    assert await Progress(db).apply(database.add, event("Bob", "5-2")) == 1


async def test_a_connection_of_asyncio_is_refused(event: Make) -> None:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
    db = psycopg.AsyncConnection.__new__(psycopg.AsyncConnection)
    with pytest.raises(Misconfigured, match="AsyncConnection is a connection of asyncio"):
        await Progress(db, driver=psycopg).apply(print, event("Ada", "5-1"))
    db.pgconn = SimpleNamespace(status=1)  # closed, for its destructor


async def test_rows_are_read_whatever_the_connection_makes_of_them(database: Any, event: Make) -> None:
    db = database.connect()
    if database.name == "sqlite":
        db.row_factory = lambda cursor, row: {x[0]: y for x, y in zip(cursor.description, row, strict=True)}
    else:
        from psycopg.rows import dict_row

        db.row_factory = dict_row
    for _ in range(2):
        await Progress(db).apply(database.add, event("Ada", "5-1"))
    assert database.applied() == ["5-1"]


async def test_text_may_be_read_as_bytes_but_not_as_something_else(sqlite: Any, event: Make) -> None:
    db = sqlite.connect()
    db.text_factory = bytes
    for _ in range(2):
        await Progress(db).apply(sqlite.add, event("Ada", "5-1"))
    db.text_factory = lambda text: text.decode()[::-1]
    with pytest.raises(Misconfigured, match="text_factory"):
        await Progress(db).apply(sqlite.add, event("Ada", "5-1"))
    assert sqlite.applied() == ["5-1"]


# The table


async def test_a_table_that_is_not_there_is_told_with_how_to_create_it(database: Any, event: Make) -> None:
    progress = Progress(database.connect(), table="other")
    with pytest.raises(Exception, match="other") as told:
        await progress.apply(database.add, event("Ada", "5-1"))
    assert told.value.__notes__ == ["Is there a table other? Progress.create_table() creates it."]
    progress.create_table()
    assert await progress.apply(database.add, event("Ada", "5-1")) == 1


def test_a_table_of_somebody_else_is_refused_and_stays(database: Any) -> None:
    with pytest.raises(Misconfigured, match="there is a table spent with other columns"):
        Progress(database.connect(), table="spent").create_table()
    assert database.applied() == []


async def test_a_table_may_be_in_a_schema(postgresql: Any, event: Make) -> None:
    db = postgresql.connect()
    db.execute("CREATE SCHEMA mine")
    db.commit()
    progress = Progress(db, table="mine.progress")
    progress.create_table()
    for _ in range(2):
        await progress.apply(postgresql.add, event("Ada", "5-1"))
    assert postgresql.rows("SELECT count(*) FROM mine.progress") == [(2,)]


async def test_many_may_create_it_at_a_time(database: Any) -> None:
    many = Barrier(8)

    def create(progress: Progress[Any]) -> None:
        many.wait(60)
        progress.create_table()

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            progress = Progress(database.connect(), table="fresh")
            nursery.start_soon(trio.to_thread.run_sync, create, progress)
    assert database.rows("SELECT count(*) FROM fresh") == [(0,)]


# What is applied


async def test_records_and_other_things_are_refused(sqlite: Any, event: Make) -> None:
    progress = Progress(sqlite.connect())
    with pytest.raises(Misconfigured, match=r"apply\(\) takes events, not bytes: iterate over `events`"):
        await progress.apply(sqlite.add, [b"a record"])  # type: ignore[list-item]
    with pytest.raises(Misconfigured, match="events of one partition"):
        await progress.apply(sqlite.add, [event("Ada", "5-1"), event("Bob", "5-1", partition=1)])
    with pytest.raises(Misconfigured, match="numbers up to 9223372036854775807"):
        await progress.apply(sqlite.add, event("Ada", f"5-{2**63}"))


async def test_a_generator_is_as_good_as_a_list(sqlite: Any, event: Make) -> None:
    some: Any = (event("Ada", f"5-{n}") for n in range(3))
    assert await Progress(sqlite.connect()).apply(sqlite.add, some) == 3


async def test_an_event_from_elsewhere_has_no_key(sqlite: Any) -> None:
    origin = Origin(partition=Partition(number=0, key="k"), group=b"", decode=lambda event: event)
    with pytest.raises(Misconfigured, match="was not handed out to a processor"):
        await Progress(sqlite.connect()).apply(sqlite.add, Event(origin, b"5-1", ()))


class Order(Record):
    customer: str


async def test_an_entry_that_cannot_be_read_fails_as_it_does_without(sqlite: Any) -> None:
    app = App("shop", redis_url="memory://", default_exception_policy="ignore")
    orders = app.stream("orders", Order, "customer", partition_count=1)
    progress = Progress(sqlite.connect())

    @app.processor(orders)
    async def total(events: Events[Order]) -> None:
        async for event in events:
            await progress.apply(sqlite.add, event)

    async with total.test() as t:
        await t.send_entry({"data": b"?"})
        await t.send(Order(customer="Ada"))
        assert [type(x.error) for x in t.results] == [DeserializationError, type(None)]
    assert len(sqlite.applied()) == 1


async def test_a_function_that_does_nothing_when_it_is_called_is_refused(database: Any, event: Make) -> None:
    progress = Progress(database.connect())

    async def later(db: Any, one: Event) -> None:
        pass

    def yielding(db: Any, one: Event) -> Any:
        yield

    with pytest.raises(Misconfigured, match="a function that is not async"):
        await progress.apply(later, event("Ada", "5-1"))

    def hiding(db: Any, one: Event) -> Any:
        return later(db, one)

    for work in (yielding, hiding):
        with pytest.raises(Misconfigured, match="without await or yield"):
            await progress.apply(work, event("Ada", "5-1"))
    assert await progress.apply(database.add, event("Ada", "5-1")) == 1


ENDINGS = {
    "commit": lambda db: db.commit(),
    "rollback": lambda db: db.rollback(),
    "with": lambda db: db.__enter__() and db.__exit__(None, None, None),
    "executescript": lambda db: db.executescript("SELECT 1"),
}


@pytest.mark.parametrize(
    ("database", "ending"),
    [*(("sqlite", x) for x in ENDINGS), ("postgresql", "commit"), ("postgresql", "rollback")],
    indirect=["database"],
)
async def test_a_function_that_ends_the_transaction_is_refused(
    database: Any, event: Make, ending: str
) -> None:
    def work(db: Any, one: Event) -> None:
        database.add(db, one)
        ENDINGS[ending](db)

    with pytest.raises(Misconfigured, match="the function has ended the transaction"):
        await Progress(database.connect()).apply(work, event("Ada", "5-1"))
    assert database.rows("SELECT * FROM runnel_progress WHERE key <> ''") == []


async def test_an_error_that_the_function_swallows_does_not_count_as_applied(
    postgresql: Any, event: Make
) -> None:
    """PostgreSQL answers the COMMIT of a transaction that has failed with a rollback, and no error."""
    import psycopg

    def work(db: Any, one: Event) -> None:
        postgresql.add(db, one)
        with pytest.raises(psycopg.errors.UndefinedTable):
            db.execute("SELECT * FROM nowhere")

    progress = Progress(postgresql.connect())
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await progress.apply(work, event("Ada", "5-1"))
    assert await progress.apply(postgresql.add, event("Ada", "5-1")) == 1


async def test_a_savepoint_is_the_functions_own(postgresql: Any, event: Make) -> None:
    def work(db: Any, one: Event) -> None:
        with pytest.raises(ZeroDivisionError), db.transaction():
            postgresql.add(db, one)
            raise ZeroDivisionError
        with db.transaction():
            postgresql.add(db, one)

    assert await Progress(postgresql.connect()).apply(work, event("Ada", "5-1")) == 1
    assert postgresql.applied() == ["5-1"]


async def test_what_cannot_be_serialized_is_raised_and_can_be_tried_again(
    postgresql: Any, event: Make
) -> None:
    import psycopg

    both, outcomes = Barrier(2), []

    def work(db: Any, one: Event) -> None:
        db.execute("SELECT count(*) FROM spent").fetchall()
        if len(outcomes) < 2 and not both.broken:
            both.wait(60)
        postgresql.add(db, one)

    async def apply(partition: int) -> None:
        db = postgresql.connect()
        db.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        progress, one = Progress(db), event("Ada", f"5-{partition}", partition=partition)
        try:
            outcomes.append(await progress.apply(work, one))
        except psycopg.errors.SerializationFailure:
            outcomes.append(None)
            with trio.fail_after(60):
                while len(outcomes) < 2:
                    await trio.sleep(0.01)
            assert await progress.apply(work, one) == 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(apply, 1)
        nursery.start_soon(apply, 2)
    assert sorted(outcomes, key=str) == [1, None]
    assert postgresql.applied() == ["5-1", "5-2"]


async def test_a_connection_that_breaks_is_told_as_the_driver_does(postgresql: Any, event: Make) -> None:
    import psycopg

    def work(db: Any, one: Event) -> None:
        postgresql.add(db, one)
        postgresql.rows(f"SELECT pg_terminate_backend({db.info.backend_pid})")
        postgresql.add(db, one)

    with pytest.raises(psycopg.OperationalError):
        await Progress(postgresql.connect()).apply(work, event("Ada", "5-1"))
    assert await Progress(postgresql.connect()).apply(postgresql.add, event("Ada", "5-1")) == 1


def test_a_connection_that_is_closed_is_told_as_the_driver_does(tmp_path: Any) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as db:
        progress = Progress(db)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        progress.create_table()
