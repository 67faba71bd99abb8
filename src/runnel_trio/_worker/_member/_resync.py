"""Compares what an owner believes with what the server says, to notice what others have changed there.

That happens after each reconnect, for all partitions, and after each heartbeat, for up to `_EACH_BEAT` of
them in turn. An owner thus follows an operator's rewind, notices a history that was rewritten (by a failover
that lost writes, or by FLUSHALL), and counts events that left the log unread.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import attrs
import trio

from runnel_trio._broker._protocol import Ownership
from runnel_trio._broker._subscription import tell_of_loss
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._report._telemetry import Tally, report
from runnel_trio._report._words import numbered
from runnel_trio._rules._cursor import LogState, is_after, parse_id, read_up_to
from runnel_trio._worker._member._backlog import Backlog

__all__ = ["ResyncSchedule", "in_turn", "resync", "tell_of_rewriting"]

#: How many partitions the server is asked about after a heartbeat, at most. To ask about a thousand would be
#: half of what a thousand idle partitions cost.
_EACH_BEAT = 256


def in_turn(numbers: Collection[int], after: int, most: int) -> list[int]:
    """The next ``most`` numbers behind ``after``; the first follows the last.

    Example:
        >>> in_turn([3, 1, 2, 0], after=1, most=3)
        [2, 3, 0]
    """
    return sorted(numbers, key=lambda number: (number <= after, number))[:most]


@attrs.define(eq=False)
class ResyncSchedule:
    """Decides when to compare with the server, and which partitions."""

    _raised: trio.Event = attrs.field(factory=trio.Event)
    _of_all: bool = False
    _looked_to: int = -1

    def raised(self) -> None:
        """Ask for a comparison, as after each heartbeat."""
        self._raised.set()

    def raised_of_all(self) -> None:
        """Ask for a comparison of all partitions, as after each reconnect."""
        self._of_all = True
        self._raised.set()

    async def next(self, numbers: Collection[int]) -> list[int]:
        """Wait until a comparison is asked for. Returns those of the numbers that are to be compared."""
        await self._raised.wait()
        most = len(numbers) if self._of_all else _EACH_BEAT
        self._raised, self._of_all = trio.Event(), False
        chosen = in_turn(numbers, self._looked_to, most)
        self._looked_to = chosen[-1] if chosen else self._looked_to
        return chosen


async def resync(
    broker: Ownership, processor: ProcessorSpec, backlogs: Collection[Backlog], counts: Tally
) -> dict[int, LogState | None]:
    """Ask the server about partitions, and give up those whose cursor was moved. Returns the answers."""
    before = [_Snapshot.of(backlog) for backlog in backlogs if not backlog.closed]
    states = await broker.log_states(processor, [place.backlog.number for place in before])
    for place, state in zip(before, states, strict=True):
        backlog = place.backlog
        if place.is_at_the_end(state):
            continue  # this is true of nearly all idle partitions, and cheaper than what follows
        if place.cursor_moved(state):
            _tell_of_move(processor, backlog, state)
            backlog.lose()
        elif state is not None and backlog.position == place.position and not backlog.closed:
            read = read_up_to(state, place.position, backlog.read)
            if backlog.entries_read >= 0:
                tell_of_loss(processor, backlog.number, read - backlog.read, counts)
            if read >= 0:
                backlog.recount(read)
    return {place.backlog.number: state for place, state in zip(before, states, strict=True)}


def tell_of_rewriting(processor: ProcessorSpec, number: int, state: LogState, known: bytes) -> None:
    """Report a log, or a cursor, that ends before the last entry that this member committed."""
    if is_after(known, max(state.last_id, state.cursor, key=parse_id)):
        place, ends = numbered(processor.stream.name, [number]), state.last_id.decode()
        report(logging.ERROR, "log-rewritten", place=place, committed=known.decode(), ends=ends)
    elif is_after(known, state.cursor):
        place, at = numbered(processor.stream.name, [number]), state.cursor.decode()
        report(logging.WARNING, "cursor-moved", place=place, was=known.decode(), is_at=at)


def _tell_of_move(processor: ProcessorSpec, backlog: Backlog, state: LogState | None) -> None:
    place = numbered(processor.stream.name, [backlog.number])
    if state is None:
        report(
            logging.ERROR, "cursor-gone", place=place, was=backlog.committed.decode(), then="from the start"
        )
    else:
        moved = {"was": backlog.committed.decode(), "is_at": state.cursor.decode()}
        report(logging.WARNING, "cursor-moved", place=place, **moved)


@attrs.frozen
class _Snapshot:
    """Where a backlog stood before the server was asked: the answer is from that time or later."""

    backlog: Backlog
    position: bytes
    committed: bytes
    quiet: bool

    @classmethod
    def of(cls, backlog: Backlog) -> _Snapshot:
        return cls(backlog, backlog.position, backlog.committed, not backlog.unacknowledged)

    def is_at_the_end(self, state: LogState | None) -> bool:
        """Whether everything is read and acknowledged, and the server says the same."""
        return (
            state is not None
            and state.cursor == state.last_id == self.position == self.committed
            and state.entries_added == self.backlog.read
        )

    def cursor_moved(self, state: LogState | None) -> bool:
        """Whether the cursor is not where we left it: an operator moved it, or the server lost a write.

        It may be our own commit, whose answer is still to come, that moved it: so this is False as long as
        anything is unacknowledged.
        """
        backlog = self.backlog
        if not self.quiet or backlog.unacknowledged or backlog.closed or backlog.committed != self.committed:
            return False
        return (
            state is None
            or state.cursor != self.committed
            or is_after(self.position, max(state.last_id, state.cursor, key=parse_id))
        )
