"""What is stored together with an acknowledgement: with the commit of its event, once, and never without it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio import App, Record
from runnel_trio._broker._values import Batch, Lease, Output, StreamSpec
from runnel_trio._worker._member._backlog import Backlog


class Note(Record):
    """Only its stream is needed."""

    n: int


def spec(count: int = 4) -> StreamSpec:
    return App("test").stream("aside", Note, partition_by="n", partition_count=count).spec


def output(n: int, stream: StreamSpec | None = None) -> Output:
    return Output(stream or spec(), 3, Batch((b"data",), (b"%d" % n,)))


@pytest.fixture
def backlog() -> Backlog:
    log = Backlog(capacity=100, position=b"0-0", committed=b"0-0", lease=Lease(3, "me", 1))
    log.offer([(b"%d-0" % n, [b"data", b"x"]) for n in range(1, 51)])
    return log


def test_effects_leave_with_the_commit_that_acknowledges_their_event(backlog: Backlog) -> None:
    numbers = [backlog.take()[0] for _ in range(3)]
    backlog.done(numbers[0])
    assert backlog.commit().outputs == ()
    backlog.done(numbers[1], [output(1), output(2)])
    commit = backlog.commit()
    assert (commit.last, list(commit.outputs)) == (b"2-0", [output(1), output(2)])
    backlog.done(numbers[2], [output(3)])
    backlog.acknowledged(commit)
    assert list(backlog.commit().outputs) == [output(3)]


def test_what_found_no_room_is_in_the_next_commit_again(backlog: Backlog) -> None:
    backlog.done(backlog.take()[0], [output(1)])
    first = backlog.commit()
    backlog.refused(1.0)
    assert backlog.commit() == first


def test_effects_of_a_turn_that_fails_are_gone(backlog: Backlog) -> None:
    backlog.take()
    failed = backlog.take()[0]
    backlog.give_back()
    backlog.done(failed, [output(1)])  # too late: it is not in hand any more
    assert (backlog.commit().outputs, backlog.unacknowledged) == ((), 0)
    for _ in range(2):
        backlog.done(backlog.take()[0])
    assert (backlog.commit().outputs, backlog.unacknowledged) == ((), 2)


def test_effects_follow_their_stream_to_its_present_partitions(backlog: Backlog) -> None:
    before, now = spec(4), spec(2)
    backlog.done(backlog.take()[0], [output(1, before)])
    for _ in range(2):
        backlog.effects.redirect({before: now}, backlog.number)
    (moved,) = backlog.commit().outputs
    assert (moved.stream, moved.partition, moved.batch) == (now, 1, output(1).batch)


@given(
    st.lists(st.sampled_from(["take", "done", "done aside", "give back", "commit", "refused"]), max_size=50)
)
def test_each_effect_is_stored_once_and_in_the_order_of_its_event(steps: list[str]) -> None:
    log = Backlog(capacity=100, position=b"0-0", committed=b"0-0", lease=Lease(3, "me", 1))
    log.offer([(b"%d-0" % n, [b"data", b"x"]) for n in range(1, 61)])
    in_hand: list[int] = []
    aside: list[int] = []
    stored: list[Any] = []
    for step in steps:
        if step == "take" and log.waiting:
            in_hand.append(log.take()[0])
        elif step.startswith("done") and in_hand:
            number = in_hand.pop(0)
            log.done(number, [output(number)] if step == "done aside" else [])
            aside += [number] if step == "done aside" else []
        elif step == "give back":
            log.give_back()
            in_hand.clear()
        elif step == "commit":
            commit = log.commit()
            stored += commit.outputs
            assert log.acknowledged(commit) >= len(commit.outputs)
        elif step == "refused":
            log.commit()
            log.refused(1.0)
    while log.unacknowledged:
        commit = log.commit()
        stored += commit.outputs
        log.acknowledged(commit)
    assert stored == [output(n) for n in aside]


def test_a_commit_without_room_is_tried_again_with_fewer_outputs(backlog: Backlog) -> None:
    for _ in range(8):
        number = backlog.take()[0]
        backlog.done(number, [output(number)])
    sizes, stored = [], []
    for fits in (False, False, False, True, True, True):
        commit = backlog.commit()
        sizes.append(len(commit.outputs))
        if not fits:
            backlog.refused(1.0)
        else:
            stored += commit.outputs
            assert commit.last == b"%d-0" % len(stored)
            assert commit.entries_read == len(stored)
            backlog.acknowledged(commit)
    assert sizes == [8, 4, 2, 1, 2, 4]
    assert stored == [output(n) for n in range(7)]
    assert (backlog.unacknowledged, backlog.has_committed(6), backlog.has_committed(7)) == (1, True, False)
