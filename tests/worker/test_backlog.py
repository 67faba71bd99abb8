"""The backlog: bounded, in order, and nothing falls out between the steps."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from runnel_trio._broker._values import Lease
from runnel_trio._rules._ahead import read_ahead
from runnel_trio._worker._member._backlog import Backlog


def entries(first: int, count: int) -> list[tuple[bytes, list[bytes]]]:
    return [(b"%d-0" % n, [b"data", b"x"]) for n in range(first, first + count)]


def backlog(capacity: int = 10, rooms: list[int] | None = None) -> Backlog:
    seen = [] if rooms is None else rooms
    return Backlog(
        capacity=capacity,
        position=b"0-0",
        committed=b"0-0",
        lease=Lease(3, "me", 1),
        on_room=lambda: seen.append(1),
    )


def test_room_is_told_once_when_a_chunk_fits_again() -> None:
    rooms: list[int] = []
    log = backlog(10, rooms)
    log.offer(entries(1, 5))
    assert log.has_room
    log.offer(entries(6, 5))
    assert not log.has_room
    for taken in range(1, 11):
        log.take()
        assert len(rooms) == (taken >= 5)
    assert log.position == b"10-0"


@pytest.mark.parametrize("first", [1, 2, 3, 5])
@pytest.mark.parametrize("at_once", [1, 2, 7])
def test_room_is_told_whoever_cleared_how_many_before_more_was_offered(first: int, at_once: int) -> None:
    rooms: list[int] = []
    log = backlog(10, rooms)
    log.offer(entries(1, first))
    log.allow(100)
    log.offer(entries(1 + first, 5))
    while log.waiting:
        had, told = log.has_room, len(rooms)
        if log.allowance <= 0:
            log.allow(100)
        log.take_many(at_once)
        assert len(rooms) - told == (log.has_room and not had)


def test_entries_left_out_on_the_way_are_done_with_the_next() -> None:
    log = backlog()
    log.offer(entries(1, 4))
    for _ in range(3):
        log.take()
    log.done(2)
    assert (log.processed, log.unacknowledged) == (b"3-0", 3)
    commit = log.commit()
    assert (commit.previous, commit.last, commit.entries_read, commit.read_to) == (b"0-0", b"3-0", 3, b"4-0")
    log.acknowledged(commit)
    assert (log.committed, log.unacknowledged, log.entries_read) == (b"3-0", 0, 3)


def test_what_is_recounted_while_a_commit_is_under_way_stays_so() -> None:
    log = backlog()
    log.offer(entries(1, 4))
    log.take_many(2)
    log.done(1)
    commit = log.commit()
    log.recount(14)
    log.acknowledged(commit)
    assert log.read == 14
    log.take()
    log.done(2)
    assert log.commit().entries_read == 13


def test_what_is_handed_out_again_by_a_link_is_not_done_again() -> None:
    log = backlog()
    log.offer(entries(1, 4))
    for _ in range(3):
        log.take()
    log.done(1)
    log.done(0)
    assert (log.processed, log.in_hand) == (b"2-0", 1)


def test_a_closed_backlog_hands_out_nothing_and_takes_nothing() -> None:
    log = backlog()
    log.offer(entries(1, 4))
    log.close()
    log.offer(entries(5, 1))
    assert log.waiting == 0
    assert not log.has_room
    assert log.position == b"4-0"


def test_of_large_entries_fewer_wait() -> None:
    log = Backlog(
        capacity=1000, most_bytes=10_000, position=b"0-0", committed=b"0-0", lease=Lease(3, "me", 1)
    )
    assert log.chunk <= 16, "nothing is known of them yet"
    for size, most in ((10, 715), (1000, 9), (20_000, 1), (10, 715)):
        xid = int(log.position.partition(b"-")[0]) + 1
        log.offer([(b"%d-0" % xid, [b"data", b"x" * size])])
        assert log.chunk == max(1, most // 2 if most < 715 else 333), size
    log.grow(100)
    log.offer([(b"9-0", [b"data", b"x" * 20_000])])
    assert log.chunk == 100, "a batch must fit"


def test_sizes_are_told_by_a_few_of_many() -> None:
    log = Backlog(
        capacity=1000, most_bytes=10_000, position=b"0-0", committed=b"0-0", lease=Lease(3, "me", 1)
    )
    mixed = [(b"%d-0" % n, [b"data", b"x" * (196 if n % 2 else 1796)]) for n in range(1, 501)]
    log.offer(mixed)
    assert 3 <= log.chunk <= 25


def test_a_batch_larger_than_the_capacity_makes_it_grow() -> None:
    rooms: list[int] = []
    log = backlog(2, rooms)
    log.offer(entries(1, 2))
    log.grow(8)
    for waiting in range(3, 9):
        assert log.has_room, "for the rest of the batch"
        log.offer(entries(waiting, 1))
    assert rooms == [1]


@given(st.lists(st.sampled_from(["offer", "take", "take many", "done", "commit", "give_back"]), max_size=60))
def test_whatever_happens_the_order_holds_and_each_entry_is_done_once(steps: list[str]) -> None:
    log, offered, done = backlog(1000), 0, 0
    in_hand: list[bytes] = []
    acknowledged = 0
    for step in steps:
        if step == "offer":
            log.offer(entries(offered + 1, 2))
            offered += 2
        elif step == "take" and log.waiting:
            in_hand.append(log.take()[1][0])
        elif step == "take many":
            in_hand += [xid for _, (xid, _) in log.take_many(3)]
        elif step == "done" and in_hand:
            log.done(log.last_in_hand)
            done += len(in_hand)
            in_hand.clear()
        elif step == "commit":
            commit = log.commit()
            assert commit.last == b"%d-0" % done
            log.acknowledged(commit)
            acknowledged = done
        elif step == "give_back":
            log.give_back()
            in_hand.clear()
        assert in_hand == [b"%d-0" % n for n in range(done + 1, done + len(in_hand) + 1)]
        assert [xid for _, (xid, _) in log.entries_in_hand(log.last_in_hand)] == in_hand
        assert log.unacknowledged == done - acknowledged
        assert log.processed == b"%d-0" % done
        assert log.read == offered
        assert log.waiting == offered - done - len(in_hand)


async def test_a_waiting_source_is_woken_by_an_offer_and_by_the_end() -> None:
    log, woken = backlog(), []

    async def source() -> None:
        for _ in range(2):
            await log.changed()
            woken.append(log.waiting)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(source)
        await wait_all_tasks_blocked()
        log.offer(entries(1, 1))
        await wait_all_tasks_blocked()
        assert woken == [1]
        log.close()
    assert woken == [1, 0]


def test_what_was_done_ahead_and_is_not_read_yet_stays_in_the_lease() -> None:
    left = b"0-0 5 3-0:4-0,1-0:1-0"  # 3-0 to 7-0, and 8-0 to 9-0
    log = Backlog(capacity=2, position=b"0-0", committed=b"0-0", lease=Lease(3, "me", 1), left_ahead=left)
    log.offer(entries(1, 4))
    assert (log.waiting, log.unacknowledged) == (2, 0), "two of them are skipped"
    log.take()
    log.done(0)
    commit = log.commit()
    assert (commit.last, log.unacknowledged) == (b"1-0", 1)
    seen = read_ahead(commit.ahead or b"", commit.last)
    assert [n for n in range(1, 12) if b"%d-0" % n in seen] == [3, 4, 5, 6, 7, 8, 9]
    log.offer(entries(5, 2))  # while the commit is under way
    log.acknowledged(commit)
    assert (log.unacknowledged, log.waiting) == (0, 1)
    log.offer(entries(7, 5))
    assert (log.unacknowledged, log.waiting) == (0, 3), "10-0 and 11-0 are new"
    log.take()
    log.done(1)
    commit = log.commit()
    assert (commit.last, commit.ahead) == (b"9-0", b"")


def test_what_was_done_ahead_stays_also_when_all_that_was_read_is_done() -> None:
    log = Backlog(
        capacity=2, position=b"0-0", committed=b"0-0", lease=Lease(3, "me", 1), left_ahead=b"0-0 1 5-0"
    )
    log.offer(entries(1, 2))
    log.take_many(2)
    log.done(1)
    commit = log.commit()
    assert (commit.last, commit.ahead) == (b"2-0", b"2-0 1 3-0")
    log.acknowledged(commit)
    log.offer(entries(3, 3))
    assert log.waiting == 2


def test_the_cursor_passes_what_was_done_ahead_though_nothing_follows_it() -> None:
    told: list[int] = []
    log = Backlog(
        capacity=2, position=b"0-0", committed=b"0-0", lease=Lease(3, "me", 1), left_ahead=b"0-0 3 2-0:2-0",
        on_passed=lambda: told.append(log.progress.prefix),
    )  # fmt: skip
    log.offer(entries(1, 2))
    log.take()
    log.done(0)
    commit = log.commit()
    log.acknowledged(commit)
    assert (commit.last, commit.ahead, told) == (b"2-0", b"2-0 2 0-1:2-0", [])
    log.offer(entries(3, 2))
    assert (told, log.unacknowledged) == ([4], 2)
    commit = log.commit()
    assert (commit.last, commit.ahead) == (b"4-0", b"")
