"""Whether a processor is through with a partition; tests/broker/test_drained_rule.py holds the brokers to it."""

from __future__ import annotations

import pytest

from runnel_trio._rules._cursor import ORIGIN, LogState
from runnel_trio._rules._drained import holds_up, is_behind, is_needed, lag

#: Five entries, 1-0 to 5-0, were stored. Which of them are there: length, first and newest.
WHOLE, TRIMMED, EMPTY = (5, b"1-0", b"5-0"), (3, b"3-0", b"5-0"), (0, ORIGIN, ORIGIN)
WITHOUT_NEWEST, WITHOUT_OLDEST = (4, b"1-0", b"4-0"), (4, b"2-0", b"5-0")


def state(there: tuple[int, bytes, bytes], cursor: bytes, read: int) -> LogState:
    length, first, newest = there
    return LogState(
        cursor=cursor, entries_read=read, length=length, entries_added=5, last_id=b"5-0", max_deleted=ORIGIN,
        first_id=first, newest=newest,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("there", "cursor", "read", "expected"),
    [
        (WHOLE, ORIGIN, 0, 5),
        (WHOLE, b"2-0", 2, 3),
        (WHOLE, b"5-0", 5, 0),
        (WHOLE, b"9-0", 5, 0),  # a failover has lost what was acknowledged
        (WHOLE, ORIGIN, -1, 5),
        (WHOLE, b"2-0", -1, 5),  # not known: all that are there
        (WHOLE, b"5-0", -1, 0),
        (TRIMMED, ORIGIN, 0, 3),  # what is gone is not to be done any more
        (TRIMMED, b"2-0", -1, 3),
        (TRIMMED, b"4-0", 4, 1),
        (EMPTY, ORIGIN, 0, 0),
        (EMPTY, b"2-0", -1, 0),
        (WITHOUT_NEWEST, b"4-0", 4, 0),
        (WITHOUT_NEWEST, b"2-0", 2, 3),
        (WITHOUT_OLDEST, ORIGIN, 0, 4),
        (WHOLE, b"4-0", 5, 1),  # the count says otherwise, and the id decides
    ],
)
def test_who_is_behind_and_by_how_much(
    there: tuple[int, bytes, bytes], cursor: bytes, read: int, expected: int
) -> None:
    found = state(there, cursor, read)
    assert lag(found) == expected
    assert is_behind(found) is (expected > 0)


@pytest.mark.parametrize(
    ("cursor", "stands_still", "expected"),
    [(b"5-0", False, False), (b"4-0", False, True), (b"5-0", True, True), (b"4-0", True, True)],
)
def test_what_stands_still_holds_up_also_where_nothing_waits(
    cursor: bytes, stands_still: bool, expected: bool
) -> None:
    assert holds_up(state(WHOLE, cursor, 5), stands_still=stands_still, is_owing=False) is expected


def test_what_is_still_to_leave_holds_up() -> None:
    assert holds_up(state(WHOLE, b"5-0", 5), stands_still=False, is_owing=True)


@pytest.mark.parametrize(
    ("there", "cursors", "expected"),
    [
        (WHOLE, [b"5-0"], False),
        (WHOLE, [b"5-0", b"5-0"], False),
        (WHOLE, [b"5-0", b"4-0"], True),
        (WHOLE, [], True),
        (EMPTY, [], False),
        (EMPTY, [b"2-0"], False),
        (WITHOUT_NEWEST, [b"4-0"], False),
    ],
)
def test_a_log_is_needed_by_who_is_behind_and_without_a_cursor_by_who_is_to_come(
    there: tuple[int, bytes, bytes], cursors: list[bytes], expected: bool
) -> None:
    assert is_needed(state(there, ORIGIN, 0), cursors) is expected
