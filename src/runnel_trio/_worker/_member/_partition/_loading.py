"""Reads the tables' entries of each event's key before the event is handed out, and keeps what turns write.

    log ──scan──▶ drawn ──the entries of their keys are in memory──▶ loaded ──▶ the dispatcher

Events are drawn in the order of the log, some hundreds ahead of what is handed out, and pass on in this
order. One read serves all that were drawn while the one before was under way.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TypeAlias, cast

import attrs
import trio

from runnel_trio._event import Event
from runnel_trio._override import override
from runnel_trio._worker._member._owned_tables import Entry, OwnedTables, Writes
from runnel_trio._worker._member._partition._key_dispatcher import KeyDispatcher, LaneQueue

__all__ = ["LoadingDispatcher", "TableQueue"]

#: How many events are drawn ahead; when a half of them has gone, more are drawn.
_AHEAD = 512

_Read: TypeAlias = tuple[Event, bytes | None, Exception | None]


@attrs.define(eq=False)
class LoadingDispatcher(KeyDispatcher):
    """The keys of a partition whose processor has tables."""

    _drawn: deque[_Read] = attrs.field(factory=deque, init=False)
    _loaded: deque[_Read] = attrs.field(factory=deque, init=False)
    _wanted: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    def tables(self) -> OwnedTables:
        """The partition's."""
        return cast("OwnedTables", self.backlog.tables)

    @override
    def _new_queue(self) -> LaneQueue:
        return TableQueue(self)

    async def load(self) -> None:
        """Until cancelled."""
        while True:
            self._wanted = trio.Event()
            missing = self._draw()
            if not self._drawn:
                await self._wanted.wait()
                continue
            await self.tables.load(missing)
            self._loaded.extend(self._drawn)
            self._drawn.clear()
            self.pass_on()

    async def load_key(self, name: bytes) -> None:
        """Replayed events of a key are about to be handed out."""
        await self.tables.load(self.tables.need(name, math.inf))

    def is_idle(self) -> bool:
        """Whether no event is in hand, or waits."""
        return not (self.in_hand or self._queued or self._drawn or self._loaded or self.replays.are_due)

    def _draw(self) -> list[Entry]:
        missing: list[Entry] = []
        backlog, tables = self.backlog, self.tables
        if len(self._loaded) > _AHEAD // 2:
            return missing  # many at a time
        while backlog.waiting > 0 and not backlog.closed and len(self._drawn) + len(self._loaded) < _AHEAD:
            event, name, _ = read = KeyDispatcher._read(self)
            self._drawn.append(read)
            if name is not None:
                missing += tables.need(name, event._number)
        return missing

    @override
    def _read(self) -> _Read:
        found = self._loaded.popleft()
        if len(self._loaded) == _AHEAD // 2:
            self._wanted.set()
        return found

    @override
    def _may_scan(self) -> bool:
        if self._without_room and not self._find_room():
            return False
        if not self._loaded or (self._queued and self._queued >= self.backlog.prefetch.most_behind):
            return False
        return not (self._is_far_ahead and self._gap_will_close)

    @property
    @override
    def _is_far_ahead(self) -> bool:
        backlog = self.backlog
        return backlog.crowded or self._next_number - backlog.progress.prefix >= self.max_ahead

    @override
    def _is_replay_early(self) -> bool:
        rank, key = self._ready[0] if self._ready else (0, None)
        return key is not None and key.rank >= 0 and rank >= self._next_number

    @property
    def _next_number(self) -> int:
        """The number of the event that is passed on next, if there is one."""
        first = self._loaded or self._drawn
        return first[0][0]._number if first else self.backlog.progress.taken_to

    @override
    def _look_around(self) -> None:
        self._wanted.set()
        KeyDispatcher._look_around(self)


@attrs.define(eq=False)
class TableQueue(LaneQueue):
    """What one lane is handed out, and what its turn has written.

    Attributes:
        turn: what is to be written when the event in hand is done, and read until then.
    """

    turn: Writes = attrs.field(factory=dict, init=False)

    @override
    def _done_up_to(self, number: int) -> None:
        tables = self.backlog.tables
        if self.turn and tables is not None:
            tables.join(number, self.turn)
            self.turn = {}
        if self._taken and self._taken[0][0]._number < 0:
            self._release_replayed()
        LaneQueue._done_up_to(self, number)

    def _release_replayed(self) -> None:
        tables = self.backlog.tables
        for event, key in self._taken:
            if event._number < 0 and key.name is not None and tables is not None:
                tables.release(key.name)

    @override
    def forget_turn(self) -> None:
        self.turn = {}
