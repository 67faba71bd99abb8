"""How far each partition was applied: a table in the database that has the effects, for all processors."""

import sqlite3

from runnel_trio import Partition

TABLE = """
CREATE TABLE IF NOT EXISTS progress (
    processor TEXT, partition TEXT, epoch BIGINT, ms BIGINT, seq BIGINT, PRIMARY KEY (processor, partition)
);
"""


def place_of(xid: bytes) -> tuple[int, int]:
    """An id as numbers, which compare as events follow each other."""
    ms, seq = xid.split(b"-")
    return int(ms), int(seq)


def claim(db: sqlite3.Connection, processor: str, owner: Partition) -> tuple[int, int]:
    """Shut out the owners of before, and tell the last event that was applied."""
    row = processor, owner.key
    with db:
        db.execute(
            "INSERT INTO progress VALUES (?, ?, ?, 0, 0) ON CONFLICT (processor, partition)"
            " DO UPDATE SET epoch = excluded.epoch WHERE excluded.epoch > progress.epoch",
            (*row, owner.epoch),
        )
        found = db.execute("SELECT ms, seq FROM progress WHERE processor = ? AND partition = ?", row)
        return found.fetchone()


def advance(db: sqlite3.Connection, processor: str, owner: Partition, xid: bytes) -> bool:
    """The first statement of a transaction. Where it is False, a later owner is there: write nothing."""
    moved = db.execute(
        "UPDATE progress SET ms = ?, seq = ? WHERE processor = ? AND partition = ? AND epoch = ?",
        (*place_of(xid), processor, owner.key, owner.epoch),
    )
    return moved.rowcount == 1
