"""Stream ids and the cursor: how far a processor is in a partition, and what it has lost.

The durable cursor is the consumer group's last-delivered-id, together with the group's entries-read: the
number of entries ever added at or before the cursor. From these two and the log's own figures, three counts
follow:

    gone = entries_added - length            entries that ever left the log, by trimming or deletion
    lag  = entries_added - entries_read      what is still to be processed
    lost = gone - entries_read               what left unprocessed, when the log now starts after the cursor

`lost` is exact unless single entries were deleted (XDEL) ahead of the cursor; then it includes those.
"""

from __future__ import annotations

import attrs

__all__ = [
    "ORIGIN",
    "LogState",
    "after",
    "heal_entries_read",
    "is_after",
    "is_behind_the_end",
    "lost",
    "parse_id",
    "read_up_to",
]

#: The id before every entry.
ORIGIN = b"0-0"


@attrs.frozen(kw_only=True)
class LogState:
    """What the server says about one partition and one processor's place in it.

    Attributes:
        cursor: id of the last acknowledged entry, ``b"0-0"`` before the first.
        entries_read: how many entries stand at or before the cursor; -1 when the server does not know.
        length: entries now in the log.
        entries_added: entries ever added.
        last_id: the highest id ever given.
        max_deleted: the highest id that was deleted singly, ``b"0-0"`` when none was.
        first_id: id of the first entry still there, ``b"0-0"`` when the log is empty.
        newest: id of the last entry still there, ``b"0-0"`` when the log is empty.
    """

    cursor: bytes
    entries_read: int
    length: int
    entries_added: int
    last_id: bytes
    max_deleted: bytes
    first_id: bytes
    newest: bytes


def parse_id(xid: bytes) -> tuple[int, int]:
    """``b"12-3"`` as ``(12, 3)``, to be compared.

    Raises:
        ValueError: it is no stream id.
    """
    milliseconds, _, sequence = xid.partition(b"-")
    return int(milliseconds), int(sequence or 0)


def after(xid: bytes) -> tuple[int, int]:
    """The id right behind another one, as numbers.

    Example:
        >>> after(b"5-1")
        (5, 2)
    """
    milliseconds, sequence = parse_id(xid)
    return milliseconds, sequence + 1


def is_after(one: bytes, other: bytes) -> bool:
    """Whether id ``one`` comes after id ``other``."""
    return parse_id(one) > parse_id(other)


def _nothing_before_cursor(state: LogState) -> bool:
    return state.length == 0 or is_after(state.first_id, state.cursor)


def lost(state: LogState) -> int:
    """How many entries left the log before this processor acknowledged them."""
    if state.entries_read < 0 or not _nothing_before_cursor(state):
        return 0
    return max(0, state.entries_added - state.length - state.entries_read)


def heal_entries_read(state: LogState) -> int:
    """The entries-read to count on from, -1 when it cannot be known before the end of the log is met.

    At the end of the log, and where nothing is left at or before the cursor, the log's own counters
    are exact whatever the group says (a group made by hand, or moved by an operator, says nothing).
    """
    if not is_after(state.last_id, state.cursor):
        return state.entries_added
    if _nothing_before_cursor(state):
        return state.entries_added - state.length
    return state.entries_read


def read_up_to(state: LogState, position: bytes, believed: int) -> int:
    """How many entries were ever added at or before ``position``, up to which somebody has read.

    More than ``believed`` (-1 when unknown) is what left the log before it was read.
    """
    return heal_entries_read(attrs.evolve(state, cursor=position, entries_read=believed))


def is_behind_the_end(cursor: bytes, entries_read: int, last_id: bytes, entries_added: int) -> bool:
    """Whether a cursor speaks of entries that a log never had: then its history is another one by now.

    Where it is not known how many entries stand before it (-1), its id must do.

    A failover that loses the last writes loses the commits among them too, and the owner repeats its commit
    on the new server. It would pass over what was sent there meanwhile.
    """
    return is_after(cursor, last_id) if entries_read < 0 else entries_read > entries_added
