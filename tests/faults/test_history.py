"""The checker itself: every violation is seen, and what may happen is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_history import (
    Committed,
    Diary,
    Handled,
    Journal,
    Move,
    check_groups,
    check_lost,
    check_order,
    check_repeats,
    check_sent,
    check_single,
    commands,
)


def entry(n: int, xid: int | None = None) -> tuple[bytes, dict[bytes, bytes]]:
    return b"%d-0" % (xid or n), {b"data": b'{"key": "a", "n": %d}' % n}


STORED = {0: [entry(n) for n in range(1, 7)]}
ACKED = [("a", n) for n in range(1, 7)]


def did(*spans: tuple[int, int, int]) -> list[Handled]:
    """Epoch, and the first and the last that it handled."""
    return [
        Handled(0, epoch, f"w{epoch}", f"{n}-0", "a", n)
        for epoch, first, last in spans
        for n in range(first, last + 1)
    ]


def test_a_takeover_that_repeats_a_little_is_no_violation() -> None:
    handled, journal = did((1, 1, 4), (2, 3, 6)), Journal(starts={(0, 1): "0-0", (0, 2): "2-0"})
    assert not list(check_order(handled, STORED, journal))
    assert not list(check_lost(ACKED, handled))
    assert not list(check_repeats(handled, 2))


@pytest.mark.parametrize(
    "handled",
    [
        did((1, 1, 2), (2, 4, 6)),  # left out
        did((1, 1, 2), (1, 2, 6)),  # one again within an epoch
        did((1, 1, 2), (1, 4, 6)),  # left out within an epoch
        did((1, 2, 6)),
        did((1, 1, 4), (2, 4, 6)),  # begins elsewhere than at the cursor
    ],
)
def test_an_order_that_is_not_the_logs_is_seen(handled: list[Handled]) -> None:
    journal = Journal(starts={(0, 1): "0-0", (0, 2): "2-0"})
    assert list(check_order(handled, STORED, journal))


def test_what_is_lost_or_repeated_too_often_is_seen() -> None:
    assert list(check_lost(ACKED, did((1, 1, 5)))) == ["L 1 of 6 lost: [('a', 6)]"]
    assert list(check_repeats(did((1, 1, 4), (2, 3, 6)), 1)) == ["D 2 repeated, and at most 1 may be"]


def test_what_is_stored_twice_or_out_of_order_or_not_at_all_is_seen() -> None:
    assert not list(check_sent(ACKED, STORED))
    assert list(check_sent(ACKED, {0: [*STORED[0], entry(6, 7)]}))
    assert list(check_sent(ACKED, {0: [*STORED[0][:4], entry(6, 7), entry(5, 8)]}))
    assert list(check_sent(ACKED, {0: STORED[0][:-1]}))


MOVES = [Move(0, 1, "2-0"), Move(0, 2, "4-0")]


@pytest.mark.parametrize(
    ("moves", "commits", "owners"),
    [
        ([*MOVES, Move(0, 2, "3-0")], [], {}),
        ([*MOVES, Move(0, 2, "4-0")], [], {}),
        ([*MOVES, Move(0, 1, "5-0")], [], {}),
        (MOVES, [Committed(0, 1, "w1", "2-0", "4-0", "committed")], {}),
        (MOVES, [Committed(0, 2, "w1", "2-0", "4-0", "committed")], {(0, 2): "w2"}),
    ],
)
def test_a_second_hand_on_a_cursor_is_seen(
    moves: list[Move], commits: list[Committed], owners: dict[tuple[int, int], str]
) -> None:
    assert not list(check_single([], [], Journal(MOVES)))
    assert list(check_single([], commits, Journal(moves, {}, owners)))


def test_an_epoch_of_two_is_seen() -> None:
    two = [Handled(0, 1, "one", "1-0", "a", 1), Handled(0, 1, "two", "2-0", "a", 2)]
    assert list(check_single(two, [], Journal())) == ["S partition 0: epoch 1 has more than one owner"]


@pytest.mark.parametrize(("lag", "pending"), [(1, 0), (None, 0), (0, 1)])
def test_what_is_not_acknowledged_is_seen(lag: int | None, pending: int) -> None:
    assert list(check_groups({0: [{"lag": lag, "pending": pending}]}))


def test_a_journal_that_is_cut_off_is_read_as_far_as_it_goes() -> None:
    whole = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n"
    assert list(commands(whole + whole)) == [["GET", "a"]] * 2
    for end in range(len(whole)):
        assert list(commands(whole + whole[:end])) == [["GET", "a"]]


def test_a_journal_tells_epochs_cursors_and_owners(tmp_path: Path) -> None:
    def command(*words: str) -> str:
        return f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)

    log, lease = "runnel:{app:3}:orders:log", "runnel:{app:3}:orders:lease:note"
    path = tmp_path / "a.1.incr.aof"
    path.write_text(
        command("XGROUP", "CREATE", log, "note", "0", "MKSTREAM", "ENTRIESREAD", "0")
        + command("HSET", lease, "owner", "one", "epoch", "7", "unclean", "0")
        + command("XGROUP", "SETID", log, "note", "5-0", "ENTRIESREAD", "1")
        + command("XGROUP", "SETID", log, "other", "6-0", "ENTRIESREAD", "1")
        + command("HSET", lease, "owner", "two", "epoch", "8", "unclean", "1")
    )
    journal = Journal.read([path])
    assert journal.moves == [Move(3, 7, "5-0")]
    assert journal.starts == {(3, 7): "0-0", (3, 8): "5-0"}
    assert journal.owners == {(3, 7): "one", (3, 8): "two"}


def test_a_diary_keeps_its_kinds_apart(tmp_path: Path) -> None:
    diary = Diary(tmp_path / "diary")
    assert diary.count() == 0
    diary.write("handled", 0, 1, "me", "1-0", "a", 5)
    diary.write("committed", 0, 1, "me", "0-0", "1-0", "fenced")
    assert diary.handled() == [Handled(0, 1, "me", "1-0", "a", 5)]
    assert diary.commits() == [Committed(0, 1, "me", "0-0", "1-0", "fenced")]
