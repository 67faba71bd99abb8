"""The value in which fetcher, executor and committer meet: one partition's entries on their way.

    offered by the fetcher → waiting → taken by the source → done → committed

Entries are numbered as they come, from 0, and stand in one list; what is committed leaves it. `Progress`
knows by their numbers which of them are done and which in hand; `Effects` holds what happens together with
their acknowledgement. Every method that changes anything is synchronous: no task ever sees a half-made
change, and no lock is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import attrs
import trio

from runnel_trio._broker._values import Commit, Entry, Lease, Output
from runnel_trio._rules._progress import Progress
from runnel_trio._worker._member._effects import Effects
from runnel_trio._worker._member._prefetch import Prefetch

__all__ = ["Backlog"]


def _nothing() -> None:
    """Nobody wants to know."""


def _cursor(backlog: Backlog) -> bytes:
    return backlog.committed


@attrs.define(eq=False, kw_only=True)
class Backlog:
    """One owned partition's entries.

    Attributes:
        capacity: at most this many entries wait.
        most_bytes: at most about this many bytes wait, see `Prefetch`.
        position: id behind which to read next.
        committed: the cursor, as this owner knows it.
        commits: how many commits were made with its lease.
        entries_read: how many entries stand at or before the cursor; -1 when that is not known.
        lease: what entitles this owner to commit.
        on_room: called when there is room for a chunk again.
        on_lost: called when the partition is no longer this owner's, or its cursor is not where it was left.
        progress: which entries are done, and which in hand.
        effects: what the commits of those that are done carry with them.
        closed: whether the source has ended: nothing is handed out any more.
        lost: whether it ended because the partition was lost: nothing is committed any more.
        marked: whether the committer knows that something is done; never once it is closed: then each event
            that is done asks whether it may be.
        full: whether the last commit found no room for its outputs.
        committed_to: number behind the last entry that is committed.
        allowance: how many entries may be taken before somebody must look whether more may be.
        number: which partition.
        prefetch: how many entries may wait, and how many are read at a time.
    """

    capacity: int
    position: bytes
    committed: bytes
    lease: Lease
    most_bytes: float = math.inf
    entries_read: int = 0
    on_room: Callable[[], None] = _nothing
    on_lost: Callable[[], None] = _nothing
    progress: Progress = attrs.field(factory=Progress, init=False)
    effects: Effects = attrs.field(factory=Effects, init=False)
    commits: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    lost: bool = attrs.field(default=False, init=False)
    marked: bool = attrs.field(default=False, init=False)
    full: bool = attrs.field(default=False, init=False)
    committed_to: int = attrs.field(default=0, init=False)
    allowance: int = attrs.field(default=0, init=False)
    number: int = attrs.field(init=False)
    prefetch: Prefetch = attrs.field(init=False)
    _entries: list[Entry] = attrs.field(factory=list, init=False)
    _base: int = attrs.field(default=0, init=False)
    _before: bytes = attrs.field(init=False, default=attrs.Factory(_cursor, takes_self=True))
    _changed: trio.Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.number = self.lease.partition
        self.prefetch = Prefetch(self.capacity, self.most_bytes)

    @property
    def chunk(self) -> int:
        """How many entries the fetcher asks for at a time."""
        return self.prefetch.chunk

    @property
    def end(self) -> int:
        """Number behind the last entry."""
        return self._base + len(self._entries)

    @property
    def waiting(self) -> int:
        """How many entries can be taken."""
        return self.progress.waiting(self.end)

    @property
    def in_hand(self) -> int:
        """How many were taken and are not done."""
        return self.progress.in_hand

    @property
    def handed_out(self) -> int:
        """How many entries were handed out, those that were given back not counted."""
        return self.progress.taken_to

    @property
    def last_in_hand(self) -> int:
        """Number of the last entry that was taken."""
        return self.progress.taken_to - 1

    @property
    def unacknowledged(self) -> int:
        """How many are done and not committed."""
        return self.progress.prefix - self.committed_to

    @property
    def processed(self) -> bytes:
        """Id of the last entry before which everything is done."""
        done = self.progress.prefix - self._base
        return self._entries[done - 1][0] if done else self._before

    @property
    def read(self) -> int:
        """How many entries stand at or before `position`; -1 when that is not known."""
        return -1 if self.entries_read < 0 else self.entries_read + self.end - self.committed_to

    @property
    def has_room(self) -> bool:
        """Whether a whole chunk fits."""
        return not self.closed and self.waiting <= self.prefetch.low_water

    @property
    def head(self) -> bytes:
        """The id of the entry that is handed out next.

        Raises:
            IndexError: none waits.
        """
        return self._entries[self.progress.next - self._base][0]

    @property
    def first(self) -> bytes | None:
        """The id of the first entry that is not done: handed out next when what was taken is given back."""
        at = self.progress.prefix - self._base
        return self._entries[at][0] if at < len(self._entries) else None

    def offer(self, entries: Sequence[Entry]) -> None:
        """Add what was read behind `position`, which moves on."""
        if not entries or self.closed:
            return
        self._entries.extend(entries)
        self.position = entries[-1][0]
        self.prefetch.weigh(entries)
        self.allow(self.allowance)
        self.announce()

    def allow(self, most: int) -> None:
        """Let up to ``most`` of those that wait be taken; fewer, if there is room for a chunk before that."""
        over = self.waiting - self.prefetch.low_water
        self.allowance = min(most, over if over > 0 else self.waiting)

    def take(self) -> tuple[int, Entry]:
        """The next entry and its number; it stays remembered until it is done.

        Raises:
            IndexError: none waits.
        """
        progress = self.progress
        if progress.in_order:  # in the ordinary way: as below, without a call
            number = progress.taken_to
            entry = self._entries[number - self._base]
            progress.taken_to = number + 1
        else:
            entry = self._entries[progress.next - self._base]
            number = progress.take()
        self.allowance = allowance = self.allowance - 1
        if allowance <= 0 and self.waiting == self.prefetch.low_water:
            self.on_room()
        return number, entry

    def take_many(self, most: int) -> list[tuple[int, Entry]]:
        """Up to ``most`` entries and their numbers, as from `take`."""
        before = self.waiting
        take, entries, base = self.progress.take, self._entries, self._base
        numbers = [take() for _ in range(min(most, before))]
        self.allowance -= len(numbers)
        if self.waiting <= self.prefetch.low_water < before:
            self.on_room()
        return [(number, entries[number - base]) for number in numbers]

    def done(self, number: int, outputs: Sequence[Output] = ()) -> None:
        """Count as processed everything taken up to this entry, with what middleware left out on the way.

        Args:
            number: of the entry.
            outputs: to be stored elsewhere by the commit that acknowledges it.
        """
        if outputs and self.progress.is_in_hand(number):
            self.effects.join(number, outputs)
        self.progress.done_up_to(number)

    def entries_in_hand(self, last: int) -> list[Entry]:
        """What was taken and is not done, up to the entry of this number."""
        return [self._entries[number - self._base] for number in self.progress.numbers_in_hand(last)]

    def give_back(self) -> None:
        """Let what was taken and is not done be taken again."""
        self.progress.give_all_back()
        self.allowance = 0

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
            self.effects.of_prefix(self.progress.prefix) if self.effects else (),
        )

    def acknowledged(self, commit: Commit, count: int) -> None:
        """A commit that held ``count`` entries is on the server."""
        self.committed, self.commits = commit.last, commit.number
        if self.entries_read >= 0:  # not the commit's: it may have been recounted since that left
            self.entries_read += count
        self.committed_to += count
        if self.effects:
            self.effects.forget(self.committed_to)
        self._forget()
        self.announce()

    def _forget(self) -> None:
        self._before = self.processed
        del self._entries[: self.progress.prefix - self._base]
        self._base = self.progress.prefix

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

    def grow(self, count: int) -> None:
        """Let a list of ``count`` entries wait from now on."""
        if self.prefetch.fit(count):
            self.allowance = 0
            self.on_room()

    def close(self) -> None:
        """End the source: what waits is left to the next owner."""
        self.closed = True
        self.marked = False
        self.allowance = 0
        del self._entries[self.progress.taken_to - self._base :]
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
