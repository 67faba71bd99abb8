"""Hands out a partition's entries to many lanes: each key's one by one, those of other keys beside them.

    log ──scan──▶ key is free:  ready ──take──▶ in hand of a lane, and the key is busy
              ├─▶ key is busy:  queues behind it ──the key is free again──▶ ready
              └─▶ key is parked: moved aside, to the list of that key

A key is busy while an event of it is in hand, and belongs to the lane that has it. The event that is taken
next is always the earliest one whose key is free. No key has a lane of its own, so no lane waits while there
is something to do, and none holds up what another could do.

An entry that cannot be decoded has no key: nothing waits for it, and it waits for nothing. Where the key of a
record cannot be told, because the function that tells it raises, that is raised to whoever takes the event.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush

import attrs
import trio

from runnel_trio._broker._values import Output
from runnel_trio._event import Event, Origin
from runnel_trio._override import override
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._effects import Emission
from runnel_trio._worker._member._meter import InHand
from runnel_trio._worker._member._parked_keys import Failed
from runnel_trio._worker._member._partition._event_queue import EventQueue
from runnel_trio._worker._member._partition._poison import PoisonGuard
from runnel_trio._worker._member._partition._replays import Replays

__all__ = ["KeyDispatcher", "LaneQueue"]


#: More than the number of any event.
_AGAIN = 1 << 62
#: What waits behind most keys; never added to.
_NOTHING: deque[Event] = deque(maxlen=0)


def _nothing(event: Event) -> None:
    """Nobody wants to know."""


@attrs.define(eq=False)
class _Key:
    """A key with entries that are not done.

    Attributes:
        name: in canonical form; None for that of an entry that has none.
        queue: its events that wait, in order.
        in_hand: how many of its events are in hand.
        owner: the lane that has them; None: it is free, and ready.
        fault: what came of asking for the key.
        is_put_off: whether nobody may have its events for now.
        rank: where its replayed events stand among those of the log; -1 where it has none.
    """

    name: bytes | None
    waiting: deque[Event] = _NOTHING
    in_hand: int = 0
    owner: LaneQueue | None = None
    fault: Exception | None = None
    is_put_off: bool = False
    rank: int = -1

    @property
    def is_replayed(self) -> bool:
        """Whether all its events that are in hand, or wait, are of its list."""
        if self.rank < 0 or (self.waiting and self.waiting[-1]._number >= 0):
            return False
        return self.owner is None or not self.owner.holds_of_log(self)

    def room(self) -> deque[Event]:
        """The events that wait, to add one: few keys ever have any."""
        if self.waiting is _NOTHING:
            self.waiting = deque()
        return self.waiting

    def __lt__(self, other: _Key) -> bool:
        """Which of two comes first that have the same rank: of replayed events any may be, but one must."""
        return self.waiting[0]._number < other.waiting[0]._number


@attrs.define(eq=False)
class KeyDispatcher:
    """One partition's keys.

    Attributes:
        backlog: the partition's entries.
        origin: what the events say of where they come from.
        max_ahead: how far the newest entry that is looked at may be beyond the first that is not done.
        lanes: how many there are.
        inside: how many of them ask for an event, or have ended a call: they wait for nothing of the user's.
        in_hand: how many events are in hand of all lanes.
        last: the lane that took something last.
        on_demand: called when there may be something to take and no lane waits for it, and when `next_due`
            may have changed.
        asked: whether it was called; whoever hears of it sets this back.
        on_full: called with the first event that there is no room to move aside.
        replays: the events of parked keys that are handed out again.
        poison_guard: the care after a crash; None: none.
        tries: how often events were tried and failed, by their numbers.
    """

    backlog: Backlog
    origin: Origin
    max_ahead: int
    on_demand: Callable[[], None]
    poison_guard: PoisonGuard | None = None
    on_full: Callable[[Event], None] = _nothing
    lanes: int = attrs.field(default=0, init=False)
    inside: int = attrs.field(default=0, init=False)
    in_hand: int = attrs.field(default=0, init=False)
    asked: bool = attrs.field(default=False, init=False)
    last: LaneQueue | None = attrs.field(default=None, init=False)
    tries: dict[int, int] = attrs.field(factory=dict, init=False)
    replays: Replays = attrs.field(init=False)
    _busy: dict[bytes, _Key] = attrs.field(factory=dict, init=False)
    _put_off: list[tuple[float, int, _Key]] = attrs.field(factory=list, init=False)
    _ready: list[tuple[int, _Key]] = attrs.field(factory=list, init=False)
    _tried: dict[bytes, int] | None = attrs.field(default=None, init=False)
    _queued: int = attrs.field(default=0, init=False)
    _free: int = attrs.field(default=0, init=False)
    _idle: dict[LaneQueue, trio.Event] = attrs.field(factory=dict, init=False)
    _holding: dict[LaneQueue, trio.Event] = attrs.field(factory=dict, init=False)
    _queues: list[LaneQueue] = attrs.field(factory=list, init=False)
    _seen: dict[bytes, float] = attrs.field(factory=dict, init=False)
    _aside: set[bytes] = attrs.field(init=False)
    _replayed: int = attrs.field(default=0, init=False)
    _without_room: deque[tuple[Event, bytes]] = attrs.field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        if self.poison_guard is not None and self.poison_guard.left < math.inf:
            self._tried = {}
        self.backlog.on_change = self._look_around
        self._aside = self.backlog.parked.aside

    def queue(self) -> LaneQueue:
        """For one lane more."""
        self.lanes += 1
        self.inside += 1
        self._queues.append(queue := self._new_queue())
        return queue

    def _new_queue(self) -> LaneQueue:
        return LaneQueue(self)

    def work(self) -> InHand:
        """What is in hand now; how long is known from one call to the next."""
        now, before = trio.current_time(), self._seen
        firsts = [x.first_in_hand for x in self._queues]
        self._seen = {xid: before.get(xid, now) for xid in firsts if xid is not None}
        since = min(self._seen.values(), default=math.inf)
        return InHand(self.lanes, self.in_hand, self.backlog.progress.ahead.count, since)

    def available(self, count: int) -> int:
        """How many events of free keys wait; the log is looked at for as many as ``count``."""
        if self._tried is not None:
            self._find_untried()
        while (self._free < count or (self._replayed and self._is_replay_early())) and self._may_scan():
            self._scan()
        return self._free

    @property
    def head(self) -> bytes | None:
        """The id of the earliest event whose key is free; None when there is none."""
        return self._ready[0][1].waiting[0].xid if self.available(1) else None

    @property
    def head_is_parked(self) -> bool:
        """Whether that event is of a parked key's list."""
        return bool(self._ready) and self._ready[0][1].waiting[0].parked

    def take(self, lane: LaneQueue) -> tuple[Event, _Key] | None:
        """The earliest event whose key is free."""
        if self._ready or self._tried is not None:
            if not self.available(1):
                return None
            _, first = heappop(self._ready)
            return self.pop(first, lane), first
        while self._may_scan():  # as by `_scan`, but without a stop among those that are ready
            event, name, fault = self._read()
            key = None if name is None else self._busy.get(name)
            if self._aside and self._is_aside(event, name, key):
                continue
            if key is None:
                key = _Key(name, in_hand=1, owner=lane, fault=fault)
                if name is not None:
                    self._busy[name] = key
                self.in_hand += 1
                return event, key
            self._queue_up(event, key)
        return None

    def pop(self, key: _Key, lane: LaneQueue) -> Event:
        """The first event of a key that is ready, or the lane's own."""
        if key.owner is None:
            self._free -= len(key.waiting)
            key.owner = lane
        if self._tried is not None and key.name is not None:
            self._tried[key.name] = self._tried.get(key.name, 0) + 1
        self._queued -= 1
        key.in_hand += 1
        self.in_hand += 1
        return key.waiting.popleft()

    def take_list(self, lane: LaneQueue, count: int) -> list[tuple[Event, _Key]]:
        """Events of keys that are free, and whole keys first, in the order of the log."""
        self.available(count)
        taken: list[tuple[Event, _Key]] = []
        while self._ready and len(taken) < count:
            key = self._ready[0][1]
            if key.name is None and taken:
                break
            heappop(self._ready)
            while key.waiting and len(taken) < count:
                taken.append((self.pop(key, lane), key))
            if key.name is None:
                break  # alone: whatever is wrong with it is not the others' fault
        return sorted(taken, key=lambda found: found[0]._number)

    def finish(self, number: int, key: _Key) -> None:
        """An event of this key is done."""
        if number < 0:
            self.replays.handled(number)
        else:
            self.backlog.finish(number)
        if self.tries:
            self.tries.pop(number, None)
        self.release(key)

    def release(self, key: _Key) -> None:
        """An event of it is no longer in hand."""
        key.in_hand -= 1
        self.in_hand -= 1
        if key.in_hand:
            return
        key.owner = None
        if key.rank >= 0 and not (key.waiting and key.waiting[0]._number < 0):
            self._end_replay(key)
        if self._aside and key.rank < 0 and key.name in self._aside:
            self._move_aside(key, key.waiting)
        if key.waiting:
            self._free += len(key.waiting)
            heappush(self._ready, (self._rank(key), key))
        elif key.name is not None:
            del self._busy[key.name]
            if key.name in self._aside:
                self.replays.ended(key.name)

    def put_off(self, taken: Sequence[tuple[Event, _Key]], until: float) -> None:
        """Hand out again, from then on, what a lane has in hand; until then its keys wait."""
        for event, key in reversed(taken):
            key.room().appendleft(event)
            key.in_hand -= 1
            key.owner = None
            if not key.is_put_off:
                key.is_put_off = True
                heappush(self._put_off, (until, event._number, key))
        self.in_hand -= len(taken)
        self._queued += len(taken)
        for name in {key.name for _, key in taken if key.rank < 0} & self._aside:
            self.withdraw(name or b"", lambda _: False)  # somebody has parked it meanwhile
        self.on_demand()

    def park(self, event: Event, key: _Key, failed: Failed) -> None:
        """An event that a lane has in hand has failed: move it aside, and what follows of its key."""
        name = key.name or b""  # which is nobody's: who decided to park it has seen its key
        if event._number >= 0:
            self.backlog.parked.park(event._number, name, event, failed)
            self.backlog.finish(event._number)
        elif name in self._aside and key.rank < 0:  # one before it, of the same list of events, has failed
            self.replays.dropped(event._number)
        else:
            key.rank = -1
            self._replayed -= 1
            self.replays.failed(event._number, failed)
        self.tries.pop(event._number, None)
        self.release(key)

    def is_busy(self, name: bytes) -> bool:
        """Whether a key has events in hand, or waiting."""
        return name in self._busy

    def hand_out(self, name: bytes, events: Sequence[Event], attempts: int) -> None:
        """Events of a parked key's list, and how often the first of them was tried."""
        rank = self.backlog.progress.taken_to + self._replayed
        key = self._busy[name] = _Key(name, deque(events), rank=rank)
        self.tries[events[0]._number] = attempts
        self._replayed += 1
        self._queued += len(events)
        self._free += len(events)
        heappush(self._ready, (self._rank(key), key))
        self.pass_on()

    def withdraw(self, name: bytes, is_over: Callable[[int], bool]) -> None:
        """A parked key's list has changed: forget replayed events that wait and are not to be handed out.

        If the key is held, everything that waits is moved aside, unless an event is in hand: then it is
        moved when that is over.

        Args:
            name: of the key.
            is_over: of the number of a replayed event whether it is to be forgotten.
        """
        key = self._busy.get(name)
        if key is None:
            return
        kept = [x for x in key.waiting if x._number >= 0 or not is_over(x._number)]
        if len(kept) == len(key.waiting) and (key.in_hand or name not in self._aside):
            return
        self._take_out(key)
        self._forget_replays(x for x in key.waiting if x not in kept)
        key.waiting = deque(kept)
        self._queued += len(kept)
        key.in_hand += 1  # as if one were in hand, that is over now
        self.in_hand += 1
        self.release(key)

    def _take_out(self, key: _Key) -> None:
        """Nothing of this key waits any more."""
        self._queued -= len(key.waiting)
        if key.owner is None and not key.is_put_off:
            self._free -= len(key.waiting)
            self._ready = [x for x in self._ready if x[1] is not key]
            heapify(self._ready)
        elif key.is_put_off:
            key.is_put_off = False
            self._put_off = [x for x in self._put_off if x[2] is not key]
            heapify(self._put_off)

    def _forget_replays(self, events: Iterable[Event]) -> None:
        for event in events:
            self.tries.pop(event._number, None)
            self.replays.dropped(event._number)

    def _end_replay(self, key: _Key) -> None:
        """Nothing of its list is in memory any more."""
        key.rank = -1
        self._replayed -= 1
        self.replays.ended(key.name or b"")

    def _is_aside(self, event: Event, name: bytes | None, key: _Key | None) -> bool:
        """Whether an event from the log belongs to a parked key; it has been moved aside then.

        While an event of the key is in hand or waits that is not of its list, it waits, too: that one comes
        before it.
        """
        if name is None or name not in self._aside or not (key is None or key.is_replayed):
            return False
        self._move(event, name)
        return True

    def _move_aside(self, key: _Key, events: Sequence[Event]) -> None:
        """What waits behind a key that is parked joins its list; of that list itself it is there."""
        for event in events:
            if event._number >= 0:
                self._move(event, key.name or b"")
            else:
                self._forget_replays([event])
        self._queued -= len(events)
        key.waiting = _NOTHING
        if key.rank >= 0:
            self._end_replay(key)

    def _move(self, event: Event, name: bytes) -> None:
        self._without_room.append((event, name))
        if len(self._without_room) == 1:
            self._find_room()

    def _find_room(self) -> bool:
        """Move aside what had no room, if there is some now; whether nothing is left.

        As long as parked keys are tried again there may be room soon.
        """
        parked, waiting = self.backlog.parked, self._without_room
        while waiting and parked.has_room():
            event, name = waiting.popleft()
            parked.move_aside(event._number, name, event)
            self.backlog.finish(event._number)
            self.tries.pop(event._number, None)
            self.backlog.on_passed()
        if waiting and not (self.replays.are_due or parked):
            self.on_full(waiting[0][0])
        return not waiting

    def is_arriving(self, name: bytes) -> bool:
        """Whether events of a parked key are still on their way to its list."""
        return self.backlog.parked.is_arriving(name) or any(of == name for _, of in self._without_room)

    def _is_replay_early(self) -> bool:
        """Whether a replayed event would be handed out before entries of the log that came before it."""
        rank, key = self._ready[0] if self._ready else (0, None)
        return key is not None and key.rank >= 0 and rank >= self.backlog.progress.taken_to

    @property
    def next_due(self) -> float:
        """When the next key that was put off is due, by the clock of Trio; infinite when none is."""
        return self._put_off[0][0] if self._put_off else math.inf

    def release_due(self) -> None:
        """Hand out again what is due now."""
        while self.next_due <= trio.current_time():
            _, _, key = heappop(self._put_off)
            key.is_put_off = False
            self._free += len(key.waiting)
            heappush(self._ready, (self._rank(key), key))
            self.pass_on()

    def pass_on(self) -> None:
        """There may be something to take: wake one lane that waits, or say that none does."""
        if self._idle or self._holding:
            if self._ready or self._may_scan():
                # What a link has left out is in hand until its lane is given the next event: it comes first.
                held = next((lane for lane in self._holding if lane.first_in_hand is not None), None)
                self._wake(held or next(reversed(self._idle or self._holding)))
        elif not (self.inside or self.asked):
            self.asked = True
            self.on_demand()

    async def wait(self, lane: LaneQueue) -> None:
        """Wait until there may be something to take for this lane.

        Cancellation: whoever waited may have been woken already, and calls `pass_on`.
        """
        waiting = self._holding if lane.holds_any else self._idle
        woken = waiting[lane] = trio.Event()
        try:
            await woken.wait()
        finally:
            waiting.pop(lane, None)

    def _wake(self, lane: LaneQueue) -> None:
        for waiting in (self._idle, self._holding):
            if lane in waiting:
                waiting.pop(lane).set()

    def _look_around(self) -> None:
        """Something has changed: what was read, committed, the lease, the end."""
        for lane in [*self._idle, *self._holding] if self.backlog.closed else list(self._holding):
            self._wake(lane)
        self.pass_on()

    def _may_scan(self) -> bool:
        backlog = self.backlog
        if self._without_room and not self._find_room():
            return False
        if backlog.waiting <= 0 or (self._queued and self._queued >= backlog.prefetch.most_behind):
            return False
        return not (self._is_far_ahead and self._gap_will_close)

    @property
    def _gap_will_close(self) -> bool:
        """Whether the first event that is not done may be soon, though nobody looks further.

        Otherwise it was left out by a link, and is done with the next event of its lane.
        """
        return self._free > 0 or self.inside < self.lanes or bool(self._put_off)

    @property
    def _is_far_ahead(self) -> bool:
        backlog = self.backlog
        return backlog.crowded or backlog.progress.taken_to - backlog.progress.prefix >= self.max_ahead

    def _rank(self, key: _Key) -> int:
        """Who has the lowest is taken next."""
        number = key.waiting[0]._number
        if number < 0:
            number = key.rank
        return number if self._tried is None else self._tried.get(key.name or b"", 0) * _AGAIN + number

    def _find_untried(self) -> None:
        """After a crash, look for keys of which no event was tried yet.

        What was in hand then is mostly the first event of its key, and may stand far behind events that only
        wait for theirs. If those were tried first, the care would be over before the right one had its turn.
        """
        if self.poison_guard is None or not self.poison_guard.is_careful:
            self._tried = None
            self._ready = [(self._rank(key), key) for _, key in self._ready]
            heapify(self._ready)
            return
        while (
            not (self._ready and self._ready[0][0] < _AGAIN) and self._may_scan() and not self._is_far_ahead
        ):
            self._scan()

    def _scan(self) -> None:
        """Look at the next entry of the log: it is ready, or queues behind its key."""
        event, name, fault = self._read()
        key = None if name is None else self._busy.get(name)
        if self._aside and self._is_aside(event, name, key):
            return
        if key is not None:
            self._queue_up(event, key)
            return
        key = _Key(name, deque((event,)), fault=fault)
        self._queued += 1
        if name is not None:
            self._busy[name] = key
        self._free += 1
        heappush(self._ready, (self._rank(key), key))

    def _read(self) -> tuple[Event, bytes | None, Exception | None]:
        """The next entry of the log, its key, and what came of asking for that."""
        number, (xid, fields) = self.backlog.scan()
        event = Event(self.origin, xid, fields, number)
        try:
            return event, event._key(), None
        except Exception as error:  # the user's function
            return event, None, error

    def _queue_up(self, event: Event, key: _Key) -> None:
        key.room().append(event)
        self._queued += 1
        if key.owner is not None:
            if self._idle or self._holding:
                self._wake(key.owner)
        elif not key.is_put_off:
            self._free += 1


@attrs.define(eq=False)
class LaneQueue(EventQueue):
    """What one lane is handed out by a dispatcher.

    A link may ask for the next event while the one before is in hand: it leaves events out, or reads ahead.
    All of them are the lane's then, in the order in which it has taken them.
    """

    _dispatcher: KeyDispatcher
    backlog: Backlog = attrs.field(init=False)
    origin: Origin = attrs.field(init=False)
    done_up_to: Callable[[int], None] = attrs.field(init=False)
    _count: int = attrs.field(default=0, init=False)
    _inside: bool = attrs.field(default=True, init=False)
    _taken: list[tuple[Event, _Key]] = attrs.field(factory=list, init=False)
    _back: deque[tuple[Event, _Key]] = attrs.field(factory=deque, init=False)

    def __attrs_post_init__(self) -> None:
        self.backlog, self.origin = self._dispatcher.backlog, self._dispatcher.origin
        self.done_up_to = self._done_up_to

    @property
    def holds_any(self) -> bool:
        """Whether anything is in hand, or given back: only this lane can have what follows of its keys."""
        return bool(self._taken or self._back)

    def holds_of_log(self, key: _Key) -> bool:
        """Whether an event of this key is in hand, or given back, that is not of its list."""
        return any(of is key and event._number >= 0 for event, of in (*self._taken, *self._back))

    @property
    @override
    def in_hand(self) -> int:
        return self._dispatcher.in_hand - len(self._taken) - len(self._back)

    @property
    @override
    def waits_for_others(self) -> bool:
        return self._dispatcher.inside < self._dispatcher.lanes

    @property
    @override
    def handed_out(self) -> int:
        return self._count

    @property
    @override
    def gave_way(self) -> bool:
        return self._dispatcher.last is not self  # another lane ran

    @property
    @override
    def head(self) -> bytes:
        if self._back:
            return self._back[0][0].xid
        return self._dispatcher.head or self._first_own().waiting[0].xid

    @property
    @override
    def head_is_parked(self) -> bool:
        if self._back:
            return self._back[0][0].parked
        return self._dispatcher.head_is_parked

    @property
    @override
    def first_in_hand(self) -> bytes | None:
        return self._taken[0][0].xid if self._taken else None

    @override
    def available(self, count: int) -> int:
        self._enter()
        if self._back:
            return count
        return self._dispatcher.available(count) or self._own_waiting()

    @override
    def allow(self, most: int) -> None:
        self.backlog.allowance = most  # whether there is room for a chunk is looked at by who scans

    @override
    def take(self) -> Event | None:
        if self._back:
            found: tuple[Event, _Key] | None = self._back.popleft()
        else:
            found = self._dispatcher.take(self)
            if found is None and self._taken:
                found = self._next_own()
        if found is None:
            return None
        self._taken.append(found)
        self._handed_out(1)
        event, key = found
        if key.fault is not None:
            raise key.fault
        return event

    @override
    def take_many(self, count: int) -> list[Event]:
        if self._back:
            found = [self._back.popleft() for _ in range(min(count, len(self._back)))]
        else:
            found = self._dispatcher.take_list(self, count) or self._own_list(count)
        if found:
            self._taken += found
            self._handed_out(len(found))
        for _, key in found:
            if key.fault is not None:
                raise key.fault
        return [event for event, _ in found]

    def _own_waiting(self) -> int:
        """How many events wait behind those that this lane has in hand."""
        return sum(len(key.waiting) for key in {id(key): key for _, key in self._taken}.values())

    def _next_own(self) -> tuple[Event, _Key] | None:
        """The earliest one behind what it has in hand itself: who asks for more may have it, in order."""
        if not self._own_waiting():
            return None
        key = self._first_own()
        return self._dispatcher.pop(key, self), key

    def _own_list(self, count: int) -> list[tuple[Event, _Key]]:
        found: list[tuple[Event, _Key]] = []
        while len(found) < count and (own := self._next_own()) is not None:
            found.append(own)
        return found

    def _first_own(self) -> _Key:
        return min((key for _, key in self._taken if key.waiting), key=lambda key: key.waiting[0]._number)

    def _handed_out(self, count: int) -> None:
        dispatcher = self._dispatcher
        dispatcher.last = self
        self._count += count
        self.backlog.allowance -= count
        self.leave()

    def _enter(self) -> None:
        if not self._inside:
            self._inside = True
            self._dispatcher.inside += 1

    def _done_up_to(self, number: int) -> None:
        taken, dispatcher = self._taken, self._dispatcher
        if len(taken) == 1 and taken[0][0]._number == number:  # in the ordinary way
            dispatcher.finish(number, taken.pop()[1])
        else:
            last = next((i for i, (event, _) in enumerate(taken) if event._number == number), -1)
            self._taken = taken[last + 1 :]
            for event, key in taken[: last + 1]:
                dispatcher.finish(event._number, key)
        self._enter()

    @override
    def events_in_hand(self, last: int) -> list[Event]:
        events = [event for event, _ in self._taken]
        numbers = [event._number for event in events]
        return events[: numbers.index(last) + 1] if last in numbers else []

    @property
    @override
    def last_in_hand(self) -> int:
        return self._taken[-1][0]._number if self._taken else -1

    @override
    def finish(self, number: int, outputs: Sequence[Output | Emission] = ()) -> None:
        self.backlog.join(number, outputs)
        self._done_up_to(number)

    @property
    @override
    def tries(self) -> int:
        held = self._taken or self._back
        return self._dispatcher.tries.get(held[0][0]._number, 0) if held else 0

    @override
    def park(self, last: int, failed: Mapping[int, Failed]) -> None:
        numbers = [event._number for event, _ in self._taken]
        over = numbers.index(last) + 1 if last in numbers else 0
        taken, self._taken = self._taken[:over], self._taken[over:]
        for event, key in taken:
            if event._number in failed:
                self._dispatcher.park(event, key, failed[event._number])
            else:
                self._dispatcher.finish(event._number, key)
        self._enter()

    @override
    def forget_turn(self) -> None:
        """The processor has no tables."""

    @override
    def count_try(self) -> None:
        tries = self.tries + 1
        self._dispatcher.tries.update({event._number: tries for event, _ in self._taken})

    @override
    def put_off(self, seconds: float) -> bool:
        self._dispatcher.put_off([*self._taken, *self._back], trio.current_time() + seconds)
        self._taken = []
        self._back.clear()
        self._enter()
        return True

    @override
    def give_back(self) -> None:
        self._back.extendleft(reversed(self._taken))
        self._taken = []
        self.backlog.allowance = 0
        self._enter()

    @override
    async def changed(self) -> None:
        self._enter()
        try:
            await self._dispatcher.wait(self)
        except trio.Cancelled:
            self.leave()
            raise

    @override
    def leave(self) -> None:
        if self._inside:
            self._inside = False
            self._dispatcher.inside -= 1
        self._dispatcher.pass_on()
