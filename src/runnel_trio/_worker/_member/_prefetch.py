"""How many entries of a partition may wait: `prefetch_count`, fewer of large ones (`prefetch_bytes`)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from runnel_trio._broker._values import Entry

__all__ = ["Prefetch"]

#: Entries that wait, at most, until it is known how large they are.
_UNWEIGHED = 16
#: Entries of each read that are weighed.
_SAMPLES = 8


@attrs.define(eq=False)
class Prefetch:
    """The limits of one partition's read-ahead.

    Attributes:
        most: at most so many entries wait.
        most_bytes: at most about so many bytes wait, judged by the last entries' sizes; one entry always may.
        chunk: how many entries are read at a time: half of what may wait, so that reading is early.
        low_water: there is room for a chunk when no more than this many entries wait.
    """

    most: int
    most_bytes: float = math.inf
    chunk: int = attrs.field(init=False)
    low_water: int = attrs.field(init=False)
    _list: int = attrs.field(default=0, init=False)
    _entry_bytes: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self._set_marks()

    @property
    def most_behind(self) -> float:
        """How many entries may wait besides, behind others of their keys."""
        return max(1, self.most_bytes / self._entry_bytes) if self._entry_bytes else math.inf

    def weigh(self, entries: Sequence[Entry]) -> None:
        """Expect entries as large as these. A few of them are looked at."""
        if self.most_bytes < math.inf:
            few = entries[:: len(entries) // _SAMPLES + 1]
            self._entry_bytes = 1.0 + sum(sum(map(len, fields)) for _, fields in few) / len(few)
            self._set_marks()

    def fit(self, count: int) -> bool:
        """Let a list of ``count`` entries wait, whatever they weigh; whether that changes anything."""
        if count <= self._list:
            return False
        self._list = count
        self._set_marks()
        return True

    def _set_marks(self) -> None:
        # Twice a list: with less, one that is more than half there would leave no room for its rest.
        most = max(self._fitting(), 2 * self._list)
        self.chunk = max(1, most // 2)
        self.low_water = most - self.chunk

    def _fitting(self) -> int:
        if self._entry_bytes:
            return max(1, int(min(self.most, self.most_bytes / self._entry_bytes)))
        return self.most if self.most_bytes == math.inf else min(self.most, _UNWEIGHED)
