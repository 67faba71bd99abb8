"""The dispatcher beside a plain model of it, which looks at every event each time, and counts nothing."""

from __future__ import annotations

from unittest.mock import patch

import attrs
import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st

from runnel_trio._broker._values import Lease
from runnel_trio._event import Event, Origin, Partition
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._partition._key_dispatcher import KeyDispatcher, LaneQueue
from runnel_trio.exceptions import DeserializationError


def decode(event: Event) -> bytes:
    if event._fields[1] == b"?":
        raise DeserializationError("orders", 0, event.xid.decode(), "data", "no record")
    return event._fields[1]


ORIGIN = Origin(
    partition=Partition(number=0, key="log"), group=b"g", decode=decode, key_bytes=lambda key: key
)


@attrs.define(eq=False)
class Slot:
    """One event: its number and key, and where it is."""

    number: int
    key: bytes | None
    lane: int | None = None  # whose it is
    back: bool = False  # given back, to that lane
    until: float = 0.0  # put off, with its key
    done: bool = False

    @property
    def waits(self) -> bool:
        return self.lane is None and not self.done


@attrs.define(eq=False)
class Model:
    """What may be handed out now."""

    max_ahead: int
    lanes: int
    slots: list[Slot] = attrs.field(factory=list)
    seen: int = 0
    #: By lane: what is in hand, in the order in which it was taken.
    taken: dict[int, list[Slot]] = attrs.field(init=False)
    back: dict[int, list[Slot]] = attrs.field(init=False)
    at_work: set[int] = attrs.field(factory=set)
    now: float = 0.0

    def __attrs_post_init__(self) -> None:
        self.taken = {lane: [] for lane in range(self.lanes)}
        self.back = {lane: [] for lane in range(self.lanes)}

    @property
    def prefix(self) -> int:
        return next((x.number for x in self.slots if not x.done), len(self.slots))

    def is_free(self, slot: Slot) -> bool:
        held = {x.key for x in self.slots if x.lane is not None}
        if slot.until > self.now:
            return False
        late = {x.key for x in self.slots if x.until > self.now}
        return slot.key is None or slot.key not in held | late

    def waiting(self) -> list[Slot]:
        return [x for x in self.slots[: self.seen] if x.waits]

    def free(self) -> list[Slot]:
        return [x for x in self.waiting() if self.is_free(x)]

    def look(self, count: int) -> None:
        """Look further, until there are so many."""
        while len(self.free()) < count and self.seen < len(self.slots):
            late = any(x.until > self.now for x in self.slots)
            if self.seen - self.prefix >= self.max_ahead and (self.at_work or late or self.free()):
                return
            self.seen += 1

    def own(self, lane: int) -> list[Slot]:
        keys = {x.key for x in self.taken[lane] if x.key is not None}
        return [x for x in self.waiting() if x.key in keys]

    def hand(self, lane: int, slots: list[Slot]) -> list[int]:
        for slot in slots:
            slot.lane, slot.back = lane, False
            self.taken[lane].append(slot)
        if slots:
            self.at_work.add(lane)
        return [slot.number for slot in slots]

    def take(self, lane: int) -> list[int]:
        if self.back[lane]:
            return self.hand(lane, [self.back[lane].pop(0)])
        self.look(1)
        return self.hand(lane, (self.free() or self.own(lane))[:1])

    def take_many(self, lane: int, count: int) -> list[int]:
        if self.back[lane]:
            found, self.back[lane] = self.back[lane][:count], self.back[lane][count:]
            return self.hand(lane, found)
        self.look(count)
        chosen: list[Slot] = []
        for first in self.free():
            if first in chosen:
                continue
            if len(chosen) >= count or (first.key is None and chosen):
                break
            if first.key is None:
                chosen.append(first)
                break
            chosen += [x for x in self.free() if x.key == first.key][: count - len(chosen)]
        chosen.sort(key=lambda x: x.number)
        return self.hand(lane, chosen or self.own(lane)[:count])

    def available(self, lane: int, count: int) -> int:
        self.at_work.discard(lane)
        if self.back[lane]:
            return count
        self.look(count)
        return len(self.free()) or len(self.own(lane))

    def head(self, lane: int) -> int | None:
        if self.back[lane]:
            return self.back[lane][0].number
        self.look(1)
        return next((x.number for x in self.free() or self.own(lane)), None)

    def finish(self, lane: int, at: int) -> int:
        through, self.taken[lane] = self.taken[lane][: at + 1], self.taken[lane][at + 1 :]
        for slot in through:
            slot.lane, slot.done = None, True
        self.at_work.discard(lane)
        return through[-1].number

    def put_off(self, lane: int, until: float) -> None:
        for slot in self.taken[lane] + self.back[lane]:
            slot.lane, slot.until = None, until
        self.taken[lane], self.back[lane] = [], []
        self.at_work.discard(lane)

    def give_back(self, lane: int) -> None:
        self.back[lane] = self.taken[lane] + self.back[lane]
        self.taken[lane] = []
        self.at_work.discard(lane)


def compare(model: Model, dispatcher: KeyDispatcher, lanes: list[LaneQueue]) -> None:
    held = {lane: len(model.taken[lane]) + len(model.back[lane]) for lane in model.taken}
    assert dispatcher.in_hand == sum(held.values())
    assert dispatcher.inside == model.lanes - len(model.at_work)
    assert dispatcher._queued == len(model.waiting())
    assert dispatcher._free == len(model.free())
    assert set(dispatcher._busy) == {
        x.key for x in model.slots[: model.seen] if not x.done and x.key is not None
    }
    progress = dispatcher.backlog.progress
    assert [x.number for x in model.slots if x.done] == [
        n for n in range(len(model.slots)) if n < progress.prefix or n in progress.ahead
    ]
    assert dispatcher.backlog.waiting == len(model.slots) - model.seen
    for number, lane in enumerate(lanes):
        taken, back = model.taken[number], model.back[number]
        assert lane.in_hand == sum(held.values()) - held[number]
        assert lane.waits_for_others == bool(model.at_work)
        assert lane.holds_any == bool(taken or back)
        assert lane.first_in_hand == next((b"%d-0" % (x.number + 1) for x in taken), None)
        assert lane.last_in_hand == (taken[-1].number if taken else -1)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["offer", "take", "take", "take many", "available", "head", "done", "done", "back", "leave", "put off", "later"]),
        st.integers(0, 3),
        st.integers(1, 4),
        st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"?"]), min_size=1, max_size=4),
    ),
    max_size=60,
)  # fmt: skip


@given(STEPS, st.integers(1, 4), st.sampled_from([1, 2, 5, 1000]))
# After a retry of a list, one event of it fails and its key is put off: the others of the key wait, too.
@example(
    [
        ("offer", 0, 1, [b"a", b"a", b"a"]), ("take many", 0, 3, []), ("back", 0, 1, []), ("take", 0, 1, []),
        ("put off", 0, 2, []), ("take", 0, 1, []), ("later", 0, 1, []), ("later", 0, 1, []), ("take", 0, 1, []),
    ],
    1,
    1000,
)  # fmt: skip
# A link holds an event of its only key and asks for a list: it gets what waits behind it.
@example([("offer", 0, 1, [b"a", b"a"]), ("take", 0, 1, []), ("take many", 0, 2, [])], 1, 1000)
def test_what_is_handed_out_is_what_may_be(
    steps: list[tuple[str, int, int, list[bytes]]], count: int, max_ahead: int
) -> None:
    backlog = Backlog(capacity=1000, position=b"0-0", committed=b"0-0", lease=Lease(0, "me", 1))
    dispatcher = KeyDispatcher(backlog, ORIGIN, max_ahead, lambda: None)
    model = Model(max_ahead, count)
    with patch.object(trio, "current_time", lambda: model.now):
        carry_out(steps, model, dispatcher, [dispatcher.queue() for _ in range(count)])


def carry_out(  # noqa: C901  # a step each
    steps: list[tuple[str, int, int, list[bytes]]],
    model: Model,
    dispatcher: KeyDispatcher,
    lanes: list[LaneQueue],
) -> None:
    for step, drawn, many, keys in steps:
        which = drawn % model.lanes
        lane = lanes[which]
        if step == "offer":
            first = len(model.slots)
            model.slots += [Slot(first + i, None if key == b"?" else key) for i, key in enumerate(keys)]
            dispatcher.backlog.offer(
                [(b"%d-0" % (first + i + 1), [b"data", key]) for i, key in enumerate(keys)]
            )
        elif step == "take":
            event = lane.take()
            assert ([] if event is None else [event._number]) == model.take(which)
        elif step == "take many":
            assert [event._number for event in lane.take_many(many)] == model.take_many(which, many)
        elif step == "available":
            assert lane.available(many) == model.available(which, many)
        elif step == "head":
            wanted = model.head(which)
            if wanted is not None:
                assert lane.head == b"%d-0" % (wanted + 1)
        elif step == "done" and model.taken[which]:
            number = model.finish(which, min(many, len(model.taken[which])) - 1)
            before = lane.events_in_hand(number)
            lane.done_up_to(number)
            assert all(event._number not in model.taken[which] for event in before)
        elif step == "back":
            model.give_back(which)
            lane.give_back()
        elif step == "put off" and model.taken[which]:
            model.put_off(which, model.now + many)
            lane.put_off(many)
        elif step == "later":
            model.now += 1
            dispatcher.release_due()
        elif step == "leave":
            model.at_work.add(which)
            lane.leave()
        compare(model, dispatcher, lanes)


async def test_an_event_behind_one_that_an_idle_lane_has_left_out_wakes_that_lane() -> None:
    backlog = Backlog(capacity=1000, position=b"0-0", committed=b"0-0", lease=Lease(0, "me", 1))
    dispatcher = KeyDispatcher(backlog, ORIGIN, 1000, lambda: None)
    holder, other = dispatcher.queue(), dispatcher.queue()
    backlog.offer([(b"1-0", [b"data", b"a"])])
    assert holder.take() is not None
    backlog.offer([(b"2-0", [b"data", b"a"])])
    assert (other.available(1), holder.available(1), other.holds_any) == (0, 1, False)


@pytest.mark.parametrize("step", ["done", "given back"])
async def test_what_is_not_in_hand_cannot_be_done(step: str) -> None:
    backlog = Backlog(capacity=1000, position=b"0-0", committed=b"0-0", lease=Lease(0, "me", 1))
    dispatcher = KeyDispatcher(backlog, ORIGIN, 1000, lambda: None)
    lane = dispatcher.queue()
    backlog.offer([(b"1-0", [b"data", b"a"]), (b"2-0", [b"data", b"b"])])
    event = lane.take()
    assert event is not None
    if step == "done":
        lane.done_up_to(event._number)
    else:
        lane.give_back()
    lane.done_up_to(event._number)
    assert backlog.progress.count == (step == "done")
    assert dispatcher.in_hand == (step != "done")
