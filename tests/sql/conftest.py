"""Databases, and events as a processor function is handed them out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from runnel_trio import Event, Partition
from runnel_trio._event import Origin
from runnel_trio.sql import Progress


@attrs.define
class Database:
    """A database with a table of sums, and how to write a parameter for it."""

    connect: Callable[..., Any]
    mark: str
    name: str

    def __attrs_post_init__(self) -> None:
        db = self.connect()
        db.cursor().execute("CREATE TABLE spent (xid TEXT)")
        db.commit()
        Progress(db).create_table()

    def add(self, db: Any, some: Event | list[Event]) -> None:
        """A row for each event: a work for `apply`."""
        for event in some if isinstance(some, list) else [some]:
            db.execute(f"INSERT INTO spent VALUES ({self.mark})", (event.xid.decode(),))

    def applied(self) -> list[str]:
        """The ids of what was applied, as often as it was."""
        return [row[0] for row in self.rows("SELECT xid FROM spent ORDER BY xid")]

    def rows(self, query: str) -> list[Any]:
        """As another connection sees them."""
        db = self.connect()
        try:
            found: list[Any] = db.execute(query).fetchall()
            return found
        finally:
            db.rollback()


@pytest.fixture
def connections() -> Iterator[ExitStack]:
    """Whatever a test opens."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def sqlite(tmp_path: Path, connections: ExitStack) -> Database:
    """A file."""

    def connect(**options: Any) -> Any:
        given: Any = {"timeout": 60, "check_same_thread": False, **options}
        return connections.enter_context(closing(sqlite3.connect(tmp_path / "db", **given)))

    return Database(connect, "?", "sqlite")


@pytest.fixture
def postgresql(postgres: str, connections: ExitStack) -> Database:
    """One of the server."""
    import psycopg

    def connect(**options: Any) -> Any:
        return connections.enter_context(closing(psycopg.connect(postgres, **options)))

    return Database(connect, "%s", "postgresql")


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each of them."""
    found: Database = request.getfixturevalue(request.param)
    return found


def decode(event: Event) -> bytes:
    return event.data[b"key"]


@pytest.fixture
def event() -> Callable[..., Event]:
    """Make one: of a key, with an id."""

    def make(key: str, xid: str, epoch: int = 1, partition: int = 0, group: bytes = b"total") -> Event:
        owner = Partition(number=partition, key=f"shop:{partition}:orders:log", epoch=epoch)
        origin = Origin(partition=owner, group=group, decode=decode, key_bytes=bytes)
        return Event(origin, xid.encode(), (b"key", key.encode()))

    return make
