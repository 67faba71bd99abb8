"""The value in which fetcher, executor and committer meet: one partition's entries on their way.

    offered by the fetcher → waiting → taken by the source → done → committed

Entries are numbered as they come, from 0, and stand in one list; where each stage has got to is a number:

    committed_to  ≤  done_to  ≤  taken_to  ≤  end
                  ▲           ▲            ▲
        unacknowledged     in hand      waiting

So a step of one event is one addition, and nothing is moved about. What is committed leaves the list. Every
method that changes it is synchronous: no task ever sees a half-made change, and no lock is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import islice

import attrs
import trio

from runnel_trio._broker._values import Commit, Entry, Lease, Output

__all__ = ["Backlog"]


#: Entries that wait, at most, until it is known how large they are.
_UNWEIGHED = 16
#: Entries of each offer that are weighed.
_SAMPLES = 8


def _nothing() -> None:
    """Nobody wants to know."""


def _cursor(backlog: Backlog) -> bytes:
    return backlog.committed


@attrs.define(eq=False, kw_only=True)
class Backlog:
    """One owned partition's entries.

    Attributes:
        capacity: at most so many entries wait.
        most_bytes: and about so many bytes, as far as the sizes of those before tell; one entry always may.
        position: id behind which to read next.
        committed: the cursor, as this owner knows it.
        commits: how many commits were made with its lease.
        entries_read: how many entries stand at or before it; -1 when that is not known.
        lease: on whose strength it is committed.
        on_room: called when there is room for a chunk again.
        on_lost: called when the partition is no longer this owner's, or is not where it was left.
        closed: whether the source has ended: nothing is handed out any more.
        lost: whether it ended because the partition was lost: nothing is committed any more.
        marked: whether the committer knows that something is done; never once it is closed: then it is looked
            each time whether more may be done.
        outputs: to be stored elsewhere together with the next commit.
        full: whether the last commit found no room for them.
        taken_to: number of the entry that is handed out next.
        done_to: number behind the last entry that is done.
        committed_to: number behind the last entry that is committed.
        cleared: how many entries may be taken before somebody must look whether more may be.
        number: which partition.
        chunk: how many entries the fetcher asks for at a time: half of what may wait, so that it is early.
    """

    capacity: int
    position: bytes
    committed: bytes
    lease: Lease
    most_bytes: float = math.inf
    entries_read: int = 0
    on_room: Callable[[], None] = _nothing
    on_lost: Callable[[], None] = _nothing
    commits: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    lost: bool = attrs.field(default=False, init=False)
    marked: bool = attrs.field(default=False, init=False)
    outputs: list[Output] = attrs.field(factory=list, init=False)
    full: bool = attrs.field(default=False, init=False)
    taken_to: int = attrs.field(default=0, init=False)
    done_to: int = attrs.field(default=0, init=False)
    committed_to: int = attrs.field(default=0, init=False)
    cleared: int = attrs.field(default=0, init=False)
    number: int = attrs.field(init=False)
    chunk: int = attrs.field(init=False)
    _roomy: int = attrs.field(init=False)
    _batch: int = attrs.field(default=0, init=False)
    _weight: float = attrs.field(default=0.0, init=False)
    _entries: list[Entry] = attrs.field(factory=list, init=False)
    _base: int = attrs.field(default=0, init=False)
    _before: bytes = attrs.field(init=False, default=attrs.Factory(_cursor, takes_self=True))
    _changed: trio.Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.number = self.lease.partition
        self._size()

    def _size(self) -> None:
        # Twice a batch: with less, one that is more than half there would leave no room for its rest.
        most = max(self._fitting(), 2 * self._batch)
        self.chunk = max(1, most // 2)
        self._roomy = most - self.chunk

    def _fitting(self) -> int:
        if self._weight:
            return max(1, int(min(self.capacity, self.most_bytes / self._weight)))
        return self.capacity if self.most_bytes == math.inf else min(self.capacity, _UNWEIGHED)

    def _weigh(self, entries: Sequence[Entry]) -> None:
        """Expect entries as large as these, of which a few tell."""
        few = entries[:: len(entries) // _SAMPLES + 1]
        self._weight = 1.0 + sum(sum(map(len, fields)) for _, fields in few) / len(few)
        self._size()

    @property
    def end(self) -> int:
        """Number behind the last entry."""
        return self._base + len(self._entries)

    @property
    def waiting(self) -> int:
        """How many entries can be taken."""
        return self.end - self.taken_to

    @property
    def in_hand(self) -> int:
        """How many were taken and are not done."""
        return self.taken_to - self.done_to

    @property
    def unacknowledged(self) -> int:
        """How many are done and not committed."""
        return self.done_to - self.committed_to

    @property
    def processed(self) -> bytes:
        """Id of the last entry that is done."""
        done = self.done_to - self._base
        return self._entries[done - 1][0] if done else self._before

    @property
    def read(self) -> int:
        """How many entries stand at or before `position`; -1 when that is not known."""
        return -1 if self.entries_read < 0 else self.entries_read + self.end - self.committed_to

    @property
    def has_room(self) -> bool:
        """Whether a whole chunk fits."""
        return not self.closed and self.waiting <= self._roomy

    @property
    def head(self) -> bytes:
        """The id of the entry that is handed out next.

        Raises:
            IndexError: none waits.
        """
        return self._entries[self.taken_to - self._base][0]

    @property
    def first(self) -> bytes | None:
        """The id of the entry that is handed out next when what was taken is given back."""
        at = self.done_to - self._base
        return self._entries[at][0] if at < len(self._entries) else None

    def offer(self, entries: Sequence[Entry]) -> None:
        """Add what was read behind `position`, which moves on."""
        if not entries or self.closed:
            return
        self._entries.extend(entries)
        self.position = entries[-1][0]
        if self.most_bytes < math.inf:
            self._weigh(entries)
        self.clear(self.cleared)
        self.announce()

    def _forget(self) -> None:
        self._before = self.processed
        del self._entries[: self.done_to - self._base]
        self._base = self.done_to

    def clear(self, most: int) -> None:
        """Let up to so many be taken, of those that wait; fewer, if there is room for a chunk before that."""
        over = self.waiting - self._roomy
        self.cleared = min(most, over if over > 0 else self.waiting)

    def take(self) -> Entry:
        """The next entry, whose number was `taken_to`; it stays remembered until it is done.

        Raises:
            IndexError: none waits.
        """
        at = self.taken_to
        entry = self._entries[at - self._base]
        self.taken_to = at + 1
        self.cleared = cleared = self.cleared - 1
        if cleared <= 0 and self.waiting == self._roomy:
            self.on_room()
        return entry

    def take_many(self, most: int) -> Sequence[Entry]:
        """As `take`, up to so many."""
        before, at = self.waiting, self.taken_to - self._base
        entries = self._entries[at : at + most]
        self.taken_to += len(entries)
        self.cleared -= len(entries)
        if self.waiting <= self._roomy < before:
            self.on_room()
        return entries

    def done(self, number: int) -> None:
        """Count as processed everything taken up to this entry, with what middleware left out on the way."""
        if self.done_to <= number < self.taken_to:
            self.done_to = number + 1

    def all_done(self) -> None:
        """Count as processed everything taken."""
        self.done_to = self.taken_to

    def taken_up_to(self, number: int | None) -> list[Entry]:
        """What was taken and is not done, up to the entry of this number; None for all."""
        end = self.taken_to if number is None else number + 1
        return list(islice(self._entries, self.done_to - self._base, end - self._base))

    def give_back(self) -> None:
        """Let what was taken and is not done be taken again."""
        self.taken_to = self.done_to
        self.cleared = 0

    def commit(self) -> Commit:
        """The commit of everything done so far."""
        known = self.entries_read >= 0
        return Commit(
            self.lease,
            self.commits + 1,
            self.committed,
            self.processed,
            self.entries_read + self.unacknowledged if known else -1,
            self.position,
            tuple(self.outputs),
        )

    def acknowledged(self, commit: Commit, count: int) -> None:
        """A commit that held ``count`` entries is on the server."""
        self.committed, self.commits = commit.last, commit.number
        if self.entries_read >= 0:  # not the commit's: it may have been recounted since that left
            self.entries_read += count
        self.committed_to += count
        self._forget()
        del self.outputs[: len(commit.outputs)]
        self.announce()

    def refused(self) -> None:
        """A commit found no room for its outputs; it may be tried again."""
        self.full = True
        self.announce()

    def recount(self, read: int) -> None:
        """So many entries stand at or before `position`: some left the log before they were read."""
        self.entries_read = read - (self.end - self.committed_to)

    def lose(self) -> None:
        """The partition is another's, or has to be taken anew: hand out nothing, commit nothing."""
        self.lost = True
        self.close()
        self.on_lost()

    def grow(self, capacity: int) -> None:
        """Hold at least ``capacity`` entries from now on, whatever they weigh: a batch must fit."""
        if capacity > self._batch:
            self._batch = capacity
            self._size()
            self.cleared = 0
            self.on_room()

    def close(self) -> None:
        """End the source: what waits is left to the next owner."""
        self.closed = True
        self.marked = False
        self.cleared = 0
        del self._entries[self.taken_to - self._base :]
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
