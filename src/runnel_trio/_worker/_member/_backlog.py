"""The value in which fetcher, executor and committer meet: one partition's entries on their way.

    offered by the fetcher → waiting → taken by the source → done → committed

Entries are numbered as they come, from 0, and stand in one list; what is committed leaves it. `Progress`
knows by their numbers which of them are done and which in hand; `Effects` holds what happens together with
their acknowledgement. Every method that changes anything is synchronous: no task ever sees a half-made
change, and no lock is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

import attrs
import trio

from runnel_trio._broker._values import Commit, Entry, Lease, Output
from runnel_trio._rules._ahead import MOST_BYTES, Ahead, read_ahead, write_ahead
from runnel_trio._rules._progress import Progress
from runnel_trio._worker._member._effects import Effects, Emission
from runnel_trio._worker._member._owned_tables import OwnedTables
from runnel_trio._worker._member._parked_keys import ParkedKeys
from runnel_trio._worker._member._prefetch import Prefetch

__all__ = ["Backlog"]

#: From so many bytes on, what is done ahead gets no further ahead.
_CROWDED = MOST_BYTES * 3 // 4
#: Outputs of so many events, or lists, go with a commit.
_MOST_TURNS = 1000


def _nothing() -> None:
    """Nobody wants to know."""


def _cursor(backlog: Backlog) -> bytes:
    return backlog.committed


@attrs.frozen
class _Sent:
    """What a commit on its way acknowledges.

    Attributes:
        prefix: all entries below this number.
        runs: entries ahead of it.
        ahead: what the lease then says of these.
        replayed: events of parked keys, which have negative numbers.
    """

    prefix: int = 0
    runs: Sequence[tuple[int, int]] = ()
    ahead: bytes | None = None
    replayed: AbstractSet[int] = frozenset()

    @property
    def count(self) -> int:
        return self.prefix + sum(end - start for start, end in self.runs)

    def __contains__(self, number: int) -> bool:
        if number < 0:
            return number in self.replayed
        return number < self.prefix or any(start <= number < end for start, end in self.runs)


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
        left_ahead: what the lease says of entries that an owner before has done ahead of the cursor.
        on_room: called when there is room for a chunk again.
        on_change: called when there may be something to look at, as `changed` tells one task.
        on_passed: called when the cursor can pass what an owner before has done: commit that.
        on_outbox: called when a commit has put something into the outbox.
        on_lost: called when the partition is no longer this owner's, or its cursor is not where it was left.
        progress: which entries are done, and which in hand.
        effects: what the commits of those that are done carry with them.
        parked: the partition's parked keys, and what these commits do to them.
        tables: the processor's tables, and what these commits write to them; None if it has none.
        replayed: how many events of parked keys were done, that are no entries of the log.
        closed: whether the source has ended: nothing is handed out any more.
        lost: whether it ended because the partition was lost: nothing is committed any more.
        marked: whether the committer knows that something is done; never once it is closed: then each event
            that is done asks whether it may be.
        full: whether the last commit found no room for its outputs.
        retry_at: when the next commit may be tried, by the clock of Trio.
        is_cut: whether the last commit acknowledged less than it could have, to carry fewer outputs.
        committed_to: everything below this number is committed.
        crowded: whether what the lease says of entries ahead comes near its limit: then nobody looks further.
        allowance: how many entries may be taken before somebody must look whether more may be.
        number: which partition.
        prefetch: how many entries may wait, and how many are read at a time.
    """

    capacity: int
    position: bytes
    committed: bytes
    lease: Lease
    parked: ParkedKeys = attrs.field(factory=ParkedKeys)
    tables: OwnedTables | None = None
    most_bytes: float = math.inf
    entries_read: int = 0
    left_ahead: bytes = b""
    on_room: Callable[[], None] = _nothing
    on_change: Callable[[], None] = _nothing
    on_passed: Callable[[], None] = _nothing
    on_outbox: Callable[[], None] = _nothing
    on_lost: Callable[[], None] = _nothing
    progress: Progress = attrs.field(factory=Progress, init=False)
    effects: Effects = attrs.field(factory=Effects, init=False)
    replayed: int = attrs.field(default=0, init=False)
    commits: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    lost: bool = attrs.field(default=False, init=False)
    marked: bool = attrs.field(default=False, init=False)
    full: bool = attrs.field(default=False, init=False)
    retry_at: float = attrs.field(default=-math.inf, init=False)
    is_cut: bool = attrs.field(default=False, init=False)
    committed_to: int = attrs.field(default=0, init=False)
    crowded: bool = attrs.field(default=False, init=False)
    allowance: int = attrs.field(default=0, init=False)
    number: int = attrs.field(init=False)
    prefetch: Prefetch = attrs.field(init=False)
    _entries: list[Entry] = attrs.field(factory=list, init=False)
    _base: int = attrs.field(default=0, init=False)
    _ahead: Ahead = attrs.field(init=False)
    _kept: bytes = attrs.field(init=False)
    _sent: _Sent = attrs.field(factory=_Sent, init=False)
    _committed: int = attrs.field(default=0, init=False)
    _skipped: int = attrs.field(default=0, init=False)
    _replayed: set[int] = attrs.field(factory=set, init=False)
    _most_turns: int = attrs.field(default=_MOST_TURNS, init=False)
    _before: bytes = attrs.field(init=False, default=attrs.Factory(_cursor, takes_self=True))
    _changed: trio.Event | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self.number = self.lease.partition
        self.prefetch = Prefetch(self.capacity, self.most_bytes)
        self._ahead, self._kept = read_ahead(self.left_ahead, self.committed), self.left_ahead
        if self.tables is not None:
            self.tables.progress = self.progress

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
        return self.progress.waiting(self._base + len(self._entries))

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
        progress = self.progress
        if progress.in_order:
            return progress.prefix - self._committed + len(self._replayed)
        return progress.count - self._committed + len(self._replayed)

    @property
    def count(self) -> int:
        """How many events are done."""
        return self.progress.count + self.replayed

    def lacks(self, count: int) -> bool:
        """Whether a commit can bring more events to the server, and so many are not there yet.

        What is done ahead and finds no room in the lease waits until the cursor has moved on.
        """
        if self._committed + self.replayed - len(self._replayed) >= count:
            return False
        if self._replayed:
            return True
        return self.progress.in_order or not self.crowded or self.progress.prefix > self.committed_to

    @property
    def processed(self) -> bytes:
        """Id of the last entry before which everything is done."""
        return self._id_before(self.progress.prefix)

    def _id_before(self, number: int) -> bytes:
        """Id of the last entry below a number; that of the cursor if there is none in memory."""
        done = number - self._base
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
        if self._ahead.runs:
            self._skip(entries)
        self.prefetch.weigh(entries)
        self.allow(self.allowance)
        self.announce()

    def _skip(self, entries: Sequence[Entry]) -> None:
        """What an owner before has done ahead of the cursor is done, and committed: the lease says so."""
        first = self.end - len(entries)
        progress = self.progress
        before, prefix = progress.count, progress.prefix
        for number, (xid, _) in enumerate(entries, first):
            if xid in self._ahead:
                progress.skip(number)
        skipped, passed = progress.count - before, progress.prefix - prefix
        # Those that the cursor can pass now need a commit, as others do: nothing else may follow.
        self._committed += skipped - passed
        self._skipped += skipped - passed
        if passed:
            self.on_passed()
        self._ahead = self._ahead.behind(self.position, skipped)

    def allow(self, most: int) -> None:
        """Let up to ``most`` of those that wait be taken; fewer, if there is room for a chunk before that."""
        over = self.waiting - self.prefetch.low_water
        self.allowance = min(most, over if over > 0 else self.waiting)

    def take(self) -> tuple[int, Entry]:
        """The next entry and its number; it stays remembered until it is done.

        Raises:
            IndexError: none waits.
        """
        entry = self._entries[self.progress.next - self._base]
        number = self.progress.take()
        self.allowance -= 1
        if self.allowance <= 0 and self.waiting == self.prefetch.low_water:
            self.on_room()
        return number, entry

    def take_many(self, most: int) -> Iterable[tuple[int, Entry]]:
        """Up to ``most`` entries and their numbers, as from `take`."""
        before, progress, entries, base = self.waiting, self.progress, self._entries, self._base
        count = min(most, before)
        if progress.in_order:  # in the ordinary way: as below, without a call for each
            first = progress.taken_to
            progress.taken_to = first + count
            at = first - base
            taken: Iterable[tuple[int, Entry]] = enumerate(entries[at : at + count], first)
        else:
            numbers = [progress.take() for _ in range(count)]
            taken = [(number, entries[number - base]) for number in numbers]
        self.allowance -= count
        if self.waiting <= self.prefetch.low_water < before:
            self.on_room()
        return taken

    def scan(self) -> tuple[int, Entry]:
        """One that waits and its number, for somebody who decides later when it is handed out."""
        progress = self.progress
        if progress.in_order:  # in the ordinary way: as below, without a call
            number = progress.taken_to
            progress.taken_to = number + 1
            left = self._base + len(self._entries) - number - 1
        else:
            number = progress.take()
            left = self.waiting
        if left == self.prefetch.low_water:
            self.on_room()
        return number, self._entries[number - self._base]

    def join(self, number: int, outputs: Sequence[Output | Emission]) -> None:
        """Have the commit that acknowledges an entry in hand store outputs elsewhere."""
        if outputs and (number < 0 or self.progress.is_in_hand(number)):
            self.effects.join(number, outputs)

    def done(self, number: int, outputs: Sequence[Output | Emission] = ()) -> None:
        """Count as processed everything taken up to this entry, with what middleware left out on the way.

        Args:
            number: of the entry.
            outputs: to be stored elsewhere by the commit that acknowledges it.
        """
        self.join(number, outputs)
        self.progress.done_up_to(number)

    def finish(self, number: int) -> None:
        """Count one entry as done, whatever stands before it; of its fields nothing is kept."""
        progress = self.progress
        if progress.in_order and number == progress.prefix < progress.taken_to:
            progress.prefix = number + 1  # in the ordinary way: as below, without a call; it leaves by itself
            return
        progress.done(number)
        at = number - self._base
        self._entries[at] = (self._entries[at][0], ())

    def finish_replayed(self, number: int) -> None:
        """Count an event of a parked key as done: what becomes of its list leaves with the next commit."""
        self.replayed += 1
        self._replayed.add(number)

    def entries_in_hand(self, last: int) -> list[tuple[int, Entry]]:
        """What was taken and is not done, up to the entry of this number, with their numbers."""
        numbers = self.progress.numbers_in_hand(last)
        return [(number, self._entries[number - self._base]) for number in numbers]

    def give_back(self) -> None:
        """Let what was taken and is not done be taken again."""
        self.progress.give_all_back()
        self.allowance = 0

    def commit(self) -> Commit:
        """The commit of everything done so far; of what is done ahead, as much as the lease takes."""
        known, sent = self.entries_read >= 0, self._next_sent()
        self._sent, cursor = sent, self._id_before(sent.prefix)
        done, tables = sent.prefix - self.committed_to, self.tables
        return Commit(
            self.lease,
            self.commits + 1,
            self.committed,
            cursor,
            self.entries_read + done if known else -1,
            self.position,
            self.effects.of(sent.__contains__) if self.effects else (),
            None if sent.ahead == self._kept else sent.ahead,
            self._entries[sent.runs[-1][1] - 1 - self._base][0] if sent.runs else b"",
            self.parked.changes(sent.__contains__) if self.parked else (),
            self.effects.outbox_records(sent.__contains__) if self.effects else (),
            tables.writes(sent.__contains__) if tables is not None else (),
            tables.touched if tables is not None else None,
        )

    def _next_sent(self) -> _Sent:
        progress, left = self.progress, self._ahead
        self._skipped, prefix, replayed = 0, progress.prefix, frozenset(self._replayed)
        runs = list(progress.ahead)
        turns = self.effects.numbers if self.effects else ()
        self.is_cut = len(turns) > self._most_turns
        if self.is_cut:
            first_left = turns[self._most_turns]
            prefix = min(prefix, max(first_left, self.committed_to))
            runs = [(start, min(end, first_left)) for start, end in runs if start < first_left]
            replayed = frozenset(number for number in replayed if number < first_left)
        if not runs and not left:
            self.crowded = False
            return _Sent(prefix, (), b"", replayed)
        entries, base, cursor = self._entries, self._base, self._id_before(prefix)
        ids = [(entries[start - base][0], entries[end - 1 - base][0], end - start) for start, end in runs]
        ahead, fitting = write_ahead(cursor, ids, left)
        self.crowded = len(ahead) > _CROWDED
        return _Sent(prefix, runs[:fitting], ahead, replayed)

    def acknowledged(self, commit: Commit) -> int:
        """The last commit that was made is on the server; how many events were handled for good by it."""
        sent, before = self._sent, self._committed
        self.committed, self.commits = commit.last, commit.number
        if self.entries_read >= 0:  # not the commit's: it may have been recounted since that left
            self.entries_read += sent.prefix - self.committed_to
        # What was skipped since that left is on the server, too: an owner before had it committed.
        self._committed = sent.count + self._skipped
        self.committed_to, self._kept = sent.prefix, sent.ahead or b""
        if self.effects:
            self.effects.forget(sent.__contains__)
        unhandled = self.parked.forget(sent.__contains__) if self.parked else 0
        if self.tables is not None:
            self.tables.forget(sent.__contains__)
        self._replayed -= sent.replayed
        self.full = False
        if commit.outbox:
            self.on_outbox()
        self._most_turns = min(2 * self._most_turns, _MOST_TURNS)
        self._forget()
        self.announce()
        return self._committed - before + len(sent.replayed) - unhandled

    def has_committed(self, number: int) -> bool:
        """Whether the acknowledgement of this entry is on the server."""
        return 0 <= number < self.committed_to or number in self._sent

    @property
    def committed_ahead(self) -> int:
        """How many entries are on the server as done ahead of the cursor."""
        return self._committed - self.committed_to

    def _forget(self) -> None:
        self._before = self.committed
        del self._entries[: self.committed_to - self._base]
        self._base = self.committed_to

    def refused(self, retry_at: float) -> None:
        """A commit found no room for its outputs: the next one carries fewer, and not before this time."""
        self.full, self.retry_at = True, retry_at
        self._most_turns = max(1, min(self._most_turns, len(self.effects.numbers)) // 2)
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
        del self._entries[max(self.progress.taken_to, self.progress.ahead.end) - self._base :]
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
        self.on_change()
