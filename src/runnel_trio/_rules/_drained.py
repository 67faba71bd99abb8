"""Whether a processor has drained a partition: it has acknowledged everything in it.

Only this file and ``scripts/_behind.lua`` decide this, each with the same three functions:
`tests/broker/test_drained_rule.py` holds them to one table. Everything else (a test that waits until an app
is drained, a worker that is about to switch to another layout, the command that deletes the former one) asks
one of these. If a partition ever holds anything else for a processor, that is one more line in `is_behind`,
in both files.

The decision uses ids, not counts: a group made by hand has no counts, and deleted or trimmed entries remain
in the counts until an owner reports them as lost.
"""

from __future__ import annotations

from collections.abc import Collection

import attrs

from runnel_trio._rules._cursor import ORIGIN, LogState, heal_entries_read, is_after

__all__ = ["holds_up", "is_behind", "is_needed", "lag"]


def is_behind(state: LogState) -> bool:
    """Whether there is anything in a partition that a processor has not acknowledged."""
    return is_after(state.newest, state.cursor)


def holds_up(state: LogState, *, stands_still: bool, is_owing: bool) -> bool:
    """Whether a partition keeps its processor from leaving the layout.

    One that stands still does so also where nothing waits in it: a pause would otherwise end by itself. So
    does one that owes something: parked keys and entries of tables must have moved to the next layout before
    their later events come there, and what waits in an outbox comes before what is emitted there.
    """
    return stands_still or is_owing or is_behind(state)


def is_needed(log: LogState, cursors: Collection[bytes]) -> bool:
    """Whether somebody may still want to read what is in a log.

    Args:
        log: any state of it.
        cursors: of everybody who has one. Where nobody has, a processor that is still to come wants it all.
    """
    return any(is_behind(attrs.evolve(log, cursor=cursor)) for cursor in cursors or [ORIGIN])


def lag(state: LogState) -> int:
    """How many entries a processor has not acknowledged, and 0 only if it is not behind.

    All entries that are there, where it is not known how many of them it has read.
    """
    if not is_behind(state):
        return 0
    read = heal_entries_read(state)
    return state.length if read < 0 else max(1, min(state.length, state.entries_added - read))
