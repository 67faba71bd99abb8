"""Whether a commit is accepted. The memory broker calls this rule; scripts/commit.lua is tested against it.

    what the server holds                          a commit is
    another owner or epoch than the commit's       FENCED
    the number of this very commit                 COMMITTED: it was made, and its answer was lost
    a number that is not the one before it         REWOUND
    no group, or a cursor that is not where        REWOUND
      its owner left it
    a log that never had what it acknowledges,     REWOUND
      up to the cursor or ahead of it
    a table that somebody else has written to     TOUCHED
    another list of a parked key than its          CHANGED
      owner believes in
    none of these                                  made, if there is room for what goes with it

The commits of one epoch are numbered from 1, and the lease keeps the number of the last one. Only its number
identifies a repeated commit. The cursor does not: it may be where the commit would put it although the rest
was not stored, and a commit need not move the cursor at all.

- **Without owner and epoch**, a replaced owner would commit for its successor.
- **Without the number**, a commit whose reply was lost would store its outputs twice.
- **Without the cursor**, a cursor that an operator or a failover has set back would be overwritten.
- **Without the count of writes from outside**, what an owner has read of a table would be written over what
  somebody else has put there.
- **Without the heads of parked keys**, an owner would hand out what an operator has dropped, or free a key
  that an operator has parked anew.
- **Without a check of the end of the log**, a commit that a failover has lost together with its entries would
  be repeated over entries sent since.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from runnel_trio._rules._cursor import is_after, is_behind_the_end
from runnel_trio._rules._parked import Head

__all__ = ["CommitOutcome", "Stored", "judge"]


class CommitOutcome(enum.Enum):
    """How a commit ended."""

    #: It is made, by this call or by an earlier one whose answer was lost.
    COMMITTED = "committed"
    #: Another member owns the partition.
    FENCED = "fenced"
    #: The cursor is not where this owner left it: an operator moved it, or the server lost its last writes.
    REWOUND = "rewound"
    #: Somebody else has written to a table: what was read of it before is to be done again.
    TOUCHED = "touched"
    #: Somebody else has changed a parked key's list; nothing was done. The owner looks, and tries again.
    CHANGED = "changed"
    #: An output, or a table, has no room; nothing was done. It may be tried again.
    FULL = "full"
    #: An output's stream has got other partitions; nothing was done. `Catalog.reconcile_layout` says which.
    SEALED = "sealed"


@attrs.frozen(kw_only=True)
class Stored:
    """What the server holds of a partition and one of its processors.

    Attributes:
        owner, epoch: of the lease.
        number: of the last commit that was made in this epoch, 0 for none.
        cursor: None when there is no group.
        entries_added: entries ever added to the log.
        last_id: the highest id ever given there.
        parked: the heads of all parked keys.
        touched: how often others have written to the processor's tables.
    """

    owner: str
    epoch: int
    number: int
    cursor: bytes | None
    entries_added: int
    last_id: bytes
    parked: Mapping[bytes, Head] = attrs.field(factory=dict)
    touched: int = 0


def judge(
    stored: Stored,
    *,
    owner: str,
    epoch: int,
    number: int,
    previous: bytes,
    last: bytes,
    entries_read: int,
    highest: bytes = b"",
    parked: Mapping[bytes, Head | None] = MappingProxyType({}),
    touched: int | None = None,
) -> CommitOutcome | None:
    """How a commit ends; None: it is to be made, if there is room for what goes with it.

    Args:
        stored: what the server holds.
        owner: of the lease on whose strength it is made.
        epoch: of the same.
        number: of the commit.
        previous: the cursor that its owner believes in.
        last: the new one.
        entries_read: how many entries stand at or before ``last``; -1 when unknown.
        highest: the last id that it acknowledges ahead of ``last``; empty when there is none.
        parked: of each parked key whose list it changes, the head that its owner believes in.
        touched: how often others had written to the tables before its owner read them; None: it has none.
    """
    if (stored.owner, stored.epoch) != (owner, epoch):
        return CommitOutcome.FENCED
    if stored.number == number:
        return CommitOutcome.COMMITTED
    if stored.number != number - 1 or stored.cursor != previous:
        return CommitOutcome.REWOUND
    if is_behind_the_end(last, entries_read, stored.last_id, stored.entries_added):
        return CommitOutcome.REWOUND
    if highest and is_after(highest, stored.last_id):
        return CommitOutcome.REWOUND
    if touched is not None and stored.touched != touched:
        return CommitOutcome.TOUCHED
    if any(stored.parked.get(key) != head for key, head in parked.items()):
        return CommitOutcome.CHANGED
    return None
