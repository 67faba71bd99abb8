"""Hands out the events of parked keys again, when these are due.

A list is read in pages. While there is more of it on the server than in memory, its key's events in the log
still join it; once all of it is in memory they follow in the dispatcher, as behind any busy key.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection
from heapq import heappop, heappush

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ProcessorSpec
from runnel_trio._event import Event, Origin
from runnel_trio._rules._parked import Head, unpack_entry
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._parked_keys import LISTS, Failed
from runnel_trio._worker._member._partition._parked_mover import ParkedMover, is_log_through

__all__ = ["Replays"]

#: How many entries of a list are read at a time.
_PAGE = 16
#: In place of the number of an entry whose list an operator has dropped.
_DROPPED = 0
#: The number of the first replayed event; they rise, and stay below those of entries in the log.
_FIRST = -(1 << 62)


@attrs.define
class _List:
    """A list of which some is in memory.

    Attributes:
        to: the number of the last entry that was read.
        is_out: whether any of it is in the dispatcher.
    """

    to: int
    is_out: bool = False


@attrs.define(eq=False, kw_only=True)
class Replays:
    """The replayed events of one partition.

    Attributes:
        broker: where the lists are.
        processor: whose.
        backlog: the partition's, with its parked keys.
        origin: what the events say of where they come from.
        hurry: have the backlog committed now.
        is_busy: whether a key has events in hand, or waiting.
        is_arriving: whether events of a key are still on their way to its list.
        load_key: reads what the events of a key need beside them; None: nothing.
        hand_out: gives the dispatcher events of a key that is free, and how often the first was tried.
        withdraw: takes back events of a list that nobody has in hand yet; see `KeyDispatcher.withdraw`.
    """

    broker: Broker
    processor: ProcessorSpec
    backlog: Backlog
    origin: Origin
    hurry: Callable[[Backlog], None]
    is_busy: Callable[[bytes], bool]
    is_arriving: Callable[[bytes], bool]
    load_key: Callable[[bytes], Awaitable[None]] | None = None
    hand_out: Callable[[bytes, list[Event], int], None]
    withdraw: Callable[[bytes, Callable[[int], bool]], None]
    _lists: dict[bytes, _List] = attrs.field(factory=dict, init=False)
    _entries: dict[int, tuple[bytes, int]] = attrs.field(factory=dict, init=False)
    _due: list[tuple[int, bytes]] = attrs.field(factory=list, init=False)
    _known: dict[bytes, int] = attrs.field(factory=dict, init=False)
    _next_number: int = attrs.field(default=_FIRST, init=False)
    _changed: trio.Event = attrs.field(factory=trio.Event, init=False)
    _mover: ParkedMover | None = attrs.field(default=None, init=False)
    _moves: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.backlog.parked.on_change = self._look
        self._look(self.backlog.parked.heads)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed = trio.Event()
            if await self._may_move():
                await self._move()
            else:
                for key in self._wanted():
                    await self._read(key)
            with trio.move_on_after(max(0.0, self._next_due - self._now) / 1000):
                await self._changed.wait()

    def move_to(self, stage: ProcessorSpec) -> None:
        """Once the log is through, replay nothing more here, and move the lists to the next layout.

        Until then keys are tried as ever: events of the log may wait for the room that this makes.
        """
        if self._mover is None:
            self._mover = ParkedMover(broker=self.broker, processor=self.processor, stage=stage)
        self._changed.set()

    async def _may_move(self) -> bool:
        backlog = self.backlog
        if self._mover is not None and not (self._moves or backlog.unacknowledged or backlog.waiting > 0):
            self._moves = await is_log_through(self.broker, self.processor, backlog.number)
        return self._moves

    async def _move(self) -> None:
        backlog, parked, mover = self.backlog, self.backlog.parked, self._mover
        is_out = any(x.is_out for x in self._lists.values())
        if mover is None or is_out or parked or backlog.unacknowledged or not parked.heads:
            return
        for key, head in await mover.move(backlog.number, dict(parked.heads)):
            parked.move(self._next_number, key, head)
            backlog.finish_replayed(self._next_number)
            self._next_number += 1
        self.hurry(backlog)

    def handled(self, number: int) -> None:
        """The event of this number was handled."""
        key, entry = self._entries.pop(number)
        if entry != _DROPPED:
            self.backlog.parked.pop(number, key, entry)
        self.backlog.finish_replayed(number)

    def failed(self, number: int, failed: Failed) -> None:
        """The event of this number has failed: the rest of its list is left on the server."""
        key, entry = self._entries.pop(number)
        if entry != _DROPPED:
            self.backlog.parked.keep(number, key, entry, failed)
            self._lists.pop(key, None)
            self._known.pop(key, None)  # it may be due already, if an operator has changed it meanwhile
        self.backlog.finish_replayed(number)

    def dropped(self, number: int) -> None:
        """The event of this number is no longer in memory."""
        self._entries.pop(number, None)

    def ended(self, key: bytes) -> None:
        """The dispatcher has nothing left of what was read of a list, or of a key."""
        if key in self._lists:
            if key in self.backlog.parked.aside:
                self._lists[key].is_out = False
            else:
                del self._lists[key]
        self._changed.set()

    @property
    def are_due(self) -> bool:
        """Whether any list is being handed out, or is to be."""
        return bool(self._lists) or self._next_due <= self._now

    @property
    def _now(self) -> float:
        return self.broker.wall() * 1000

    @property
    def _next_due(self) -> float:
        may_begin = self._due and len(self._lists) < LISTS and not self._moves
        return self._due[0][0] if may_begin else math.inf

    def _look(self, keys: Collection[bytes]) -> None:
        """The heads of these keys have changed: a list may be due, was taken away, or is held now."""
        heads = self.backlog.parked.heads
        for number, (key, entry) in self._entries.items():
            if key in keys and (key not in heads or entry > heads[key].last):
                self._entries[number] = key, _DROPPED
        for key in keys:
            head = heads.get(key)
            following = head.next if head else 0
            if not following:
                self._known.pop(key, None)
            elif self._known.get(key) != following:
                self._known[key] = following
                heappush(self._due, (following, key))
            if key in self._lists:
                self._withdraw(key, head)
            elif head is not None and key in self.backlog.parked.aside:
                self.withdraw(key, lambda _: False)
        self._changed.set()

    def _withdraw(self, key: bytes, head: Head | None) -> None:
        """Take back what is in memory of a list, and is no longer to be handed out."""
        if head is None or not head.next:
            del self._lists[key]
            if head is not None:
                self.backlog.parked.hold(key)
            self.withdraw(key, lambda _: True)
        else:
            first = head.first
            self.withdraw(key, lambda number: self._entries[number][1] < first)

    def _wanted(self) -> list[bytes]:
        """The lists to read from now."""
        heads, now = self.backlog.parked.heads, self._now
        while self._next_due <= now:
            following, key = heappop(self._due)
            head = heads.get(key)
            if head is not None and head.next == following and key not in self._lists:
                self._lists[key] = _List(head.first - 1)
        wanted = [key for key, x in self._lists.items() if not (x.is_out or self.is_busy(key))]
        arriving = {key for key in wanted if self.backlog.parked.is_arriving(key)}
        if arriving:
            self.hurry(self.backlog)
        return [key for key in wanted if key not in arriving]

    async def _read(self, key: bytes) -> None:
        parked = self.backlog.parked
        head, read = parked.heads.get(key), self._lists.get(key)
        if head is None or read is None:
            return
        first = max(parked.next_entry(key), read.to + 1)
        last = min(head.last, first + _PAGE - 1)
        found = await self.broker.parked_entries(self.processor, self.backlog.number, key, first, last)
        if self.load_key is not None:
            await self.load_key(key)
        head = parked.heads.get(key)
        if head is None or self._lists.get(key) is not read or self.is_busy(key):
            return
        events = []
        for entry, packed in enumerate(found, first):
            if packed is not None and entry >= head.first:
                xid, fields = unpack_entry(packed)
                events.append(Event(self.origin, xid, fields, self._next_number))
                self._entries[self._next_number] = key, entry
                self._next_number += 1
        read.to, read.is_out = last, bool(events)
        if last >= head.last and not self.is_arriving(key):
            parked.follow(key)
            if not events:
                del self._lists[key]
                parked.free(self._next_number, key)
                self.backlog.finish_replayed(self._next_number)
                self._next_number += 1
                self.hurry(self.backlog)  # nobody has handled anything that would be committed
        if events:
            self.hand_out(key, events, head.attempts if first == head.first else 0)
        elif last < head.last:
            self._changed.set()
