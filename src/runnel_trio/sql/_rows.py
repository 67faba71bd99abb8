"""The table of progress, and the steps of a transaction that read and write it.

It has a row for each partition, and one for each key:

    processor  partition                    key    epoch  ms             seq
    total      runnel:{shop:3}:orders:log          17     0              0    the highest epoch that was here
    total      runnel:{shop:3}:orders:log  5f0c…   17     1764330000000  5    the last event of this key

These are the steps of a transaction:

    claim      raise the partition's epoch to mine, if it is lower
    fence      read it, and hold its row: if it is higher, another worker owns the partition, so write nothing
    sort out   an event at or before the last one of its key was applied
    work       the user's statements, for the others
    store      the last event of each key

While one owner holds the partition's row, no other can claim. So only one owner of a partition at a time is
beyond the fence, and nobody else writes the rows of its keys. The lanes of an owner hold the row together
(FOR SHARE), and never have the same key. In SQLite the first step locks the whole database.

Progress is kept for each key and not for each partition, because only the order of each key holds: with
lanes, an event may be applied before an earlier one of another key. So there are as many rows as keys,
however many events there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from blake3 import blake3

from runnel_trio._event import Event
from runnel_trio._rules._cursor import parse_id
from runnel_trio.exceptions import Misconfigured
from runnel_trio.sql._driver import Driver

__all__ = ["CREATE", "LOOK", "Keyed", "Replaced", "Rows"]

CREATE = """CREATE TABLE IF NOT EXISTS {table} (
    processor TEXT NOT NULL, partition TEXT NOT NULL, key TEXT NOT NULL,
    epoch BIGINT NOT NULL, ms BIGINT NOT NULL, seq BIGINT NOT NULL,
    PRIMARY KEY (processor, partition, key)
)"""
LOOK = "SELECT processor, partition, key, epoch, ms, seq FROM {table} WHERE 1 = 0"
_CLAIM = (
    "UPDATE {table} SET epoch = :epoch"
    " WHERE processor = :processor AND partition = :partition AND key = '' AND epoch < :epoch"
)
_FENCE = "SELECT epoch FROM {table} WHERE processor = :processor AND partition = :partition AND key = ''"
_HOLD = " FOR SHARE"
_FIRST_CLAIM = (
    "INSERT INTO {table} (processor, partition, key, epoch, ms, seq)"
    " VALUES (:processor, :partition, '', :epoch, 0, 0) ON CONFLICT (processor, partition, key) DO NOTHING"
)
_LAST = "SELECT key, ms, seq FROM {table} WHERE processor = :processor AND partition = :partition AND key IN "
_STORE = (
    "INSERT INTO {table} (processor, partition, key, epoch, ms, seq)"
    " VALUES (:processor, :partition, :key, :epoch, :ms, :seq) ON CONFLICT (processor, partition, key)"
    " DO UPDATE SET epoch = excluded.epoch, ms = excluded.ms, seq = excluded.seq"
)
#: How many keys one statement asks for: SQLite once took at most 999 parameters.
_KEYS = 500
#: The largest BIGINT.
_MOST = 2**63 - 1


class Replaced(Exception):
    """The database has seen a later owner of the partition.

    Attributes:
        epoch: the later owner's.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__(epoch)
        self.epoch = epoch


@attrs.frozen
class Keyed:
    """An event as the table has it.

    Attributes:
        event: the event.
        key: 128 bits of a hash of its partition key, which may be of any length.
        xid: its id, as numbers.
    """

    event: Event
    key: str
    xid: tuple[int, int]

    @classmethod
    def of(cls, event: Event) -> Keyed:
        """For an event that was handed out to a processor.

        Raises:
            DeserializationError: it cannot be read.
            Misconfigured: it has no key, or too large an id.
        """
        key, xid = event._key(), parse_id(event.xid)
        if key is None:
            event.record()  # says what is wrong with it
            raise Misconfigured(f"{event!r} was not handed out to a processor")
        if max(xid) > _MOST:
            raise Misconfigured(f"{event!r}: the table has room for numbers up to {_MOST} in an id")
        return cls(event, blake3(key).hexdigest(16), xid)


class Rows:
    """The rows of one partition, in one transaction."""

    def __init__(self, cursor: Any, driver: Driver, table: str, event: Event) -> None:
        self._cursor, self._driver, self._table = cursor, driver, table
        self._epoch = event.partition.epoch
        self._place = {"processor": event.group.decode(), "partition": event.partition.key}

    def claim(self) -> None:
        """The first two steps.

        Raises:
            Replaced: there is a later owner.
        """
        stored = self._claim() or self._claim_first()
        if stored > self._epoch:
            raise Replaced(stored)

    def _claim(self) -> int:
        """The epoch of the latest owner, whose row is held from now on; 0 when there was none."""
        try:
            self._execute(_CLAIM, epoch=self._epoch)
        except Exception as error:
            if self._table.rpartition(".")[2] in str(error):
                error.add_note(f"Is there a table {self._table}? Progress.create_table() creates it.")
            raise
        self._execute(_FENCE if self._driver.is_sqlite else _FENCE + _HOLD)
        found = self._cursor.fetchall()
        return int(found[0][0]) if found else 0

    def _claim_first(self) -> int:
        self._execute(_FIRST_CLAIM, epoch=self._epoch)
        return self._claim()  # what is there now may be another's

    def not_applied(self, keyed: Sequence[Keyed]) -> list[Keyed]:
        """Those behind the last event of their key."""
        last: dict[str, tuple[int, int]] = {}
        keys = sorted({x.key for x in keyed})
        for at in range(0, len(keys), _KEYS):
            names = {f"key{n}": key for n, key in enumerate(keys[at : at + _KEYS])}
            self._execute(_LAST + f"({', '.join(f':{name}' for name in names)})", **names)
            last |= {_text(key): (int(ms), int(seq)) for key, ms, seq in self._cursor.fetchall()}
        if not last.keys() <= {*keys}:
            raise Misconfigured(
                f"this connection changes the text that it reads from {self._table} (text_factory?)"
            )
        return [x for x in keyed if x.key not in last or x.xid > last[x.key]]

    def store(self, applied: Sequence[Keyed]) -> None:
        """The last step."""
        last = {x.key: x.xid for x in sorted(applied, key=lambda x: x.xid)}
        statement = _STORE.format(table=self._table)
        rows = [
            {**self._place, "key": key, "epoch": self._epoch, "ms": ms, "seq": seq}
            for key, (ms, seq) in last.items()
        ]
        if len(rows) == 1:
            self._driver.execute(self._cursor, statement, rows[0])
        else:
            self._driver.execute_many(self._cursor, statement, rows)

    def _execute(self, text: str, **values: Any) -> None:
        self._driver.execute(self._cursor, text.format(table=self._table), {**self._place, **values})


def _text(value: Any) -> str:
    """Text as a connection reads it, also one that reads bytes."""
    return value if isinstance(value, str) else bytes(value).decode()
