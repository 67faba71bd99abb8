"""How many of the entries that a sender offers go into a partition, and what may make room for them.

Only entries that every processor has acknowledged may be removed to make room: everything before the slowest
cursor. A partition that no processor reads yet removes nothing, since it is unknown whether an entry was
processed. With `Overflow.TRIM` the oldest are removed, even if a processor still needs them.
"""

from __future__ import annotations

from collections.abc import Iterable

from runnel_trio._rules._cursor import parse_id

__all__ = ["accepted", "slowest"]


def accepted(offered: int, length: int, size: int) -> int:
    """How many of ``offered`` entries fit into a log of ``length`` entries that may hold ``size``."""
    return max(0, min(offered, size - length))


def slowest(cursors: Iterable[bytes]) -> bytes | None:
    """The cursor of the slowest processor, None when there is none."""
    return min(cursors, key=parse_id, default=None)
