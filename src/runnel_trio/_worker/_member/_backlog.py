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

from runnel_trio._broker._protocol import Commit, Entry, Lease, Output

__all__ = ["Backlog"]


def _nothing() -> None:
    """Nobody wants to know."""


def _cursor(backlog: Backlog) -> bytes:
    return backlog.committed


@attrs.define(eq=False, kw_only=True)
class Backlog:
    """One owned partition's entries.

    Attributes:
        capacity: at most so many entries wait.
        position: id behind which to read next.
        committed: the cursor, as this owner knows it.
        entries_read: how many entries stand at or before it; -1 when that is not known.
        lease: on whose strength it is committed.
        on_room: called when there is room for a chunk again.
        on_lost: called when the partition is no longer this owner's, or is not where it was left.
        processed: id of the last entry that is done.
        unacknowledged: how many entries are done and not yet committed.
        closed: whether the source has ended: nothing is handed out any more.
        lost: whether it ended because the partition was lost: nothing is committed any more.
        progress: how many entries were ever handed out and not given back.
        outputs: to be stored elsewhere together with the next commit.
        full: whether the last commit found no room for them.
        waiting: the entries that wait, in order.
        number: which partition.
        chunk: how many entries the fetcher asks for at a time: half the capacity, so that it can be early.
    """

    capacity: int
    position: bytes
    committed: bytes
    lease: Lease
    entries_read: int = 0
    on_room: Callable[[], None] = _nothing
    on_lost: Callable[[], None] = _nothing
    processed: bytes = attrs.field(init=False, default=attrs.Factory(_cursor, takes_self=True))
    unacknowledged: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    lost: bool = attrs.field(default=False, init=False)
    progress: int = attrs.field(default=0, init=False)
    outputs: list[Output] = attrs.field(factory=list, init=False)
    full: bool = attrs.field(default=False, init=False)
    waiting: deque[Entry] = attrs.field(factory=deque, init=False)
    number: int = attrs.field(init=False)
    chunk: int = attrs.field(init=False)
    _roomy: int = attrs.field(init=False)
    _taken: deque[Entry] = attrs.field(factory=deque, init=False)
    _changed: trio.Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.number = self.lease.partition
        self._size()

    def _size(self) -> None:
        self.chunk = max(1, self.capacity // 2)
        self._roomy = self.capacity - self.chunk

    @property
    def taken(self) -> bool:
        """Whether anything was taken that is not done."""
        return bool(self._taken)

    @property
    def read(self) -> int:
        """How many entries stand at or before `position`; -1 when that is not known."""
        if self.entries_read < 0:
            return -1
        return self.entries_read + self.unacknowledged + len(self._taken) + len(self.waiting)

    @property
    def has_room(self) -> bool:
        """Whether a whole chunk fits."""
        return not self.closed and len(self.waiting) <= self._roomy

    def offer(self, entries: Sequence[Entry]) -> None:
        """Add what was read behind `position`, which moves on."""
        if not entries or self.closed:
            return
        self.waiting.extend(entries)
        self.position = entries[-1][0]
        self.announce()

    def take(self) -> Entry:
        """The next entry; it stays remembered until it is done.

        Raises:
            IndexError: none waits.
        """
        entry = self.waiting.popleft()
        self._taken.append(entry)
        self.progress += 1
        if len(self.waiting) == self._roomy:
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

    def all_done(self) -> None:
        """Count as processed everything taken."""
        if self._taken:
            self.done(self._taken[-1][0])

    def taken_up_to(self, xid: bytes | None) -> list[Entry]:
        """What was taken and is not done, up to the entry of this id; None for all."""
        entries = list(self._taken)
        return entries if xid is None else entries[: [entry[0] for entry in entries].index(xid) + 1]

    @property
    def first(self) -> bytes | None:
        """The id of the entry that is handed out next when what was taken is given back."""
        for entries in (self._taken, self.waiting):
            if entries:
                return entries[0][0]
        return None

    def give_back(self) -> None:
        """Put what was taken and is not done in front again, in its order."""
        self.progress -= len(self._taken)
        self.waiting.extendleft(reversed(self._taken))
        self._taken.clear()

    def commit(self) -> Commit:
        """The commit of everything done so far."""
        known = self.entries_read >= 0
        return Commit(
            self.lease,
            self.committed,
            self.processed,
            self.entries_read + self.unacknowledged if known else -1,
            self.position,
            tuple(self.outputs),
        )

    def acknowledged(self, commit: Commit, count: int) -> None:
        """A commit that held ``count`` entries is on the server."""
        self.committed = commit.last
        self.entries_read = commit.entries_read
        self.unacknowledged -= count
        del self.outputs[: len(commit.outputs)]
        self.announce()

    def refused(self) -> None:
        """A commit found no room for its outputs; it may be tried again."""
        self.full = True
        self.announce()

    def recount(self, read: int) -> None:
        """So many entries stand at or before `position`: some left the log before they were read."""
        self.entries_read = read - self.unacknowledged - len(self._taken) - len(self.waiting)

    def lose(self) -> None:
        """The partition is another's, or has to be taken anew: hand out nothing, commit nothing."""
        self.lost = True
        self.close()
        self.on_lost()

    def grow(self, capacity: int) -> None:
        """Hold at least ``capacity`` entries from now on: a batch must fit."""
        if capacity > self.capacity:
            self.capacity = capacity
            self._size()
            self.on_room()

    def close(self) -> None:
        """End the source: what waits is left to the next owner."""
        self.closed = True
        self.waiting.clear()
        self.announce()

    async def changed(self) -> None:
        """Wait until there is something to look at: entries, room for acknowledgements, trust, the end.

        Cancellation: nothing is taken, nothing is lost.
        """
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()

    def announce(self) -> None:
        """Let whoever waits in `changed` look again."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None
