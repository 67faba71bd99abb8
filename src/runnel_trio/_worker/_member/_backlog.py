"""The value in which fetcher, executor and committer meet: one partition's entries on their way.

    offered by the fetcher → waiting → taken by the source → done → committed

Every method that changes it is synchronous: no task ever sees a half-made change, and no lock is needed.
Entries that were taken but are not done are kept in order, so that they can be handed out again when the
processor function ended without them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import attrs
import trio

from runnel_trio._broker._protocol import Entry

__all__ = ["Backlog"]


@attrs.define(eq=False, kw_only=True)
class Backlog:
    """One owned partition's entries.

    Attributes:
        number: which partition.
        capacity: at most so many entries wait.
        position: id behind which to read next.
        committed: the cursor, as this owner knows it.
        on_room: called when there is room for a chunk again.
        processed: id of the last entry that is done.
        unacknowledged: how many entries are done and not yet committed.
        closed: whether the source has ended: nothing is handed out any more.
    """

    number: int
    capacity: int
    position: bytes
    committed: bytes
    on_room: Callable[[], None]
    processed: bytes = attrs.field(init=False)
    unacknowledged: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    _waiting: deque[Entry] = attrs.field(factory=deque, init=False)
    _taken: deque[Entry] = attrs.field(factory=deque, init=False)
    _changed: trio.Event | None = attrs.field(default=None, init=False)

    @processed.default
    def _at_the_cursor(self) -> bytes:
        return self.committed

    def __len__(self) -> int:
        """How many entries wait."""
        return len(self._waiting)

    @property
    def chunk(self) -> int:
        """How many entries the fetcher asks for at a time: half the capacity, so that it can be early."""
        return max(1, self.capacity // 2)

    @property
    def has_room(self) -> bool:
        """Whether a whole chunk fits."""
        return not self.closed and self.capacity - len(self._waiting) >= self.chunk

    def offer(self, entries: Sequence[Entry]) -> None:
        """Add what was read behind `position`, which moves on."""
        if not entries or self.closed:
            return
        self._waiting.extend(entries)
        self.position = _id_of(entries[-1])
        self._announce()

    def take(self) -> Entry:
        """The next entry; it stays remembered until it is done.

        Raises:
            IndexError: none waits.
        """
        entry = self._waiting.popleft()
        self._taken.append(entry)
        if self.capacity - len(self._waiting) == self.chunk:
            self.on_room()
        return entry

    def done(self, xid: bytes) -> None:
        """Count as processed everything taken up to ``xid``, with what middleware left out on the way."""
        while self._taken:
            entry = self._taken.popleft()
            self.unacknowledged += 1
            if entry[0] == xid:
                break
        self.processed = xid

    def give_back(self) -> None:
        """Put what was taken and is not done in front again, in its order."""
        self._waiting.extendleft(reversed(self._taken))
        self._taken.clear()

    def acknowledged(self, xid: bytes, count: int) -> None:
        """The cursor stands at ``xid`` now, ``count`` entries further."""
        self.committed = xid
        self.unacknowledged -= count

    def grow(self, capacity: int) -> None:
        """Hold at least ``capacity`` entries from now on: a batch must fit."""
        if capacity > self.capacity:
            self.capacity = capacity
            self.on_room()

    def close(self) -> None:
        """End the source: what waits is left to the next owner."""
        self.closed = True
        self._waiting.clear()
        self._announce()

    async def changed(self) -> None:
        """Wait until entries were offered or the source has ended.

        Cancellation: nothing is taken, nothing is lost.
        """
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def _announce(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _id_of(entry: Entry) -> bytes:
    xid = entry[0]
    if not isinstance(xid, bytes):
        raise TypeError(f"an entry begins with its id, not with {xid!r}")
    return xid
