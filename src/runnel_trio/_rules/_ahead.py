"""What is done ahead of a cursor, as it is kept in the lease for the next owner.

    1764330000000-5 4 3-0:3-2,18-0

are the cursor that it belongs to, how many entries are done beyond it, and which ones: runs from one id to
another, or single ids. The milliseconds of an id are counted from those of the id that is written before it,
the first one's from the cursor's.

Ids and not offsets: an entry that somebody deletes from the log moves all offsets behind it, and an event
that nobody has handled would count as done. And it holds for that cursor only: when an operator has set the
cursor elsewhere, or a failover has lost the last commits, what is behind the cursor is to be handled.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Sequence
from typing import TypeAlias

import attrs

from runnel_trio._rules._cursor import after, parse_id

__all__ = ["MOST_BYTES", "Ahead", "add_done", "read_ahead", "write_ahead"]

#: The first and the last id of entries that are done.
Run: TypeAlias = "tuple[tuple[int, int], tuple[int, int]]"
#: What the lease takes, at most; with more, the server would copy ever more with each commit.
MOST_BYTES = 8192


@attrs.frozen
class Ahead:
    """What an owner before has done beyond the cursor.

    Attributes:
        count: how many entries.
        runs: the first and the last id of each run, in order.
    """

    count: int = 0
    runs: Sequence[Run] = ()

    def __bool__(self) -> bool:
        return bool(self.runs)

    def __contains__(self, xid: bytes) -> bool:
        if not self.runs:
            return False
        found = parse_id(xid)
        at = bisect_right(self.runs, found, key=lambda run: run[0]) - 1
        return at >= 0 and found <= self.runs[at][1]

    def behind(self, xid: bytes, passed: int) -> Ahead:
        """What is left of it behind an entry, at or before which ``passed`` of its entries are.

        Example:
            >>> read_ahead(b"1000-5 4 3-0:2-2,18-0", b"1000-5").behind(b"1004-0", 2)
            Ahead(count=2, runs=[((1004, 1), (1005, 2)), ((1023, 0), (1023, 0))])
        """
        start = after(xid)
        runs = [(max(first, start), last) for first, last in self.runs if last >= start]
        return Ahead(max(len(runs), self.count - passed) if runs else 0, runs)


def write_ahead(
    cursor: bytes, runs: Sequence[tuple[bytes, bytes, int]], left: Ahead = Ahead(), most: int = MOST_BYTES
) -> tuple[bytes, int]:
    """What the lease keeps, and how many of the runs that are; none where even the first does not fit.

    Args:
        cursor: behind which they are.
        runs: first id, last id and number of entries of each, in order.
        left: what an owner before has done behind all of them. It stays. Where there is not room for all,
            runs are left out, since nobody counts on them yet.
        most: how many bytes it may have.

    Example:
        >>> write_ahead(b"1000-5", [(b"1003-0", b"1005-2", 3), (b"1023-0", b"1023-0", 1)])
        (b'1000-5 4 3-0:2-2,18-0', 2)
    """
    room = most - len(cursor) - 22  # for the blanks and the count, of up to twenty digits
    at = parse_id(cursor)[0]
    room -= sum(len(part) + 1 for part in _written(left.runs, at)[0])  # behind others they take no more
    fitting, parts = 0, []
    for first, last, _ in runs:
        (part,), behind = _written([(parse_id(first), parse_id(last))], at)
        room -= len(part) + 1
        if room < 0:
            break
        parts.append(part)
        at, fitting = behind, fitting + 1
    parts += _written(left.runs, at)[0]
    if not parts:
        return b"", 0
    count = sum(entries for _, _, entries in runs[:fitting]) + left.count
    return b"%b %d %b" % (cursor, count, b",".join(parts)), fitting


def read_ahead(field: bytes, cursor: bytes) -> Ahead:
    """What a lease says of a cursor; nothing when it speaks of another one, or is not ours.

    Example:
        >>> ahead = read_ahead(b"1000-5 4 3-0:2-2,18-0", b"1000-5")
        >>> ahead.count, b"1004-7" in ahead, b"1005-3" in ahead, b"1023-0" in ahead
        (4, True, False, True)
        >>> read_ahead(b"1000-5 4 3-0:2-2,18-0", b"999-0").count
        0
    """
    try:
        of, count, text = field.split(b" ")
        if of != cursor:
            return Ahead()
        at, runs = parse_id(cursor)[0], []
        for part in text.split(b","):
            ids = []
            for xid in part.split(b":"):
                milliseconds, sequence = parse_id(xid)
                at += milliseconds
                ids.append((at, sequence))
            runs.append((ids[0], ids[-1]))
        return Ahead(int(count), runs)
    except ValueError:  # nothing, or what somebody else has written: then it is handled again
        return Ahead()


def add_done(field: bytes, cursor: bytes, xids: Sequence[bytes]) -> bytes | None:
    """What a lease says when these entries count as done besides; None when one of them is done already.

    It may become a little longer than an owner would write it: none of them must be left out.

    Example:
        >>> add_done(b"1000-5 4 3-0:2-2,18-0", b"1000-5", [b"1001-0"])
        b'1000-5 5 1-0,2-0:2-2,18-0'
    """
    ahead = read_ahead(field, cursor)
    if any(xid in ahead or parse_id(xid) <= parse_id(cursor) for xid in xids):
        return None
    more = [(parse_id(xid), parse_id(xid)) for xid in xids]
    ids = sorted([*ahead.runs, *more])
    counts = [ahead.count + len(more)] + [0] * len(ids)  # of each run alone it is not known
    runs = [(b"%d-%d" % first, b"%d-%d" % last, n) for (first, last), n in zip(ids, counts, strict=False)]
    return write_ahead(cursor, runs, most=sys.maxsize)[0]


def _written(runs: Sequence[Run], at: int) -> tuple[list[bytes], int]:
    """The runs, and the milliseconds of the last id; those of each id count from the one before it."""
    parts = []
    for (first, first_sequence), (last, last_sequence) in runs:
        part = b"%d-%d" % (first - at, first_sequence)
        if (first, first_sequence) != (last, last_sequence):
            part += b":%d-%d" % (last - first, last_sequence)
        parts.append(part)
        at = last
    return parts, at
