"""The cursor's arithmetic: what is lost, and what count to go on from."""

import pytest

from runnel_trio._rules._cursor import (
    ORIGIN,
    LogState,
    heal_entries_read,
    is_after,
    is_behind_the_end,
    lost,
    parse_id,
)


def state(**changes: object) -> LogState:
    """100 entries 1-0 … 100-0, all there, 40 of them acknowledged."""
    values = {
        "cursor": b"40-0",
        "entries_read": 40,
        "length": 100,
        "entries_added": 100,
        "last_id": b"100-0",
        "max_deleted": ORIGIN,
        "first_id": b"1-0",
        "newest": b"100-0",
    }
    return LogState(**(values | changes))  # type: ignore[arg-type]  # the names are checked by attrs


def test_ids_are_compared_as_numbers() -> None:
    assert is_after(b"10-0", b"9-5")
    assert is_after(b"9-10", b"9-9")
    assert not is_after(b"9-9", b"9-9")
    assert parse_id(b"7") == (7, 0)
    with pytest.raises(ValueError):
        parse_id(b"x-1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 0),
        ({"length": 70, "first_id": b"31-0"}, 0),
        ({"length": 50, "first_id": b"51-0"}, 10),
        ({"length": 0, "first_id": ORIGIN}, 60),
        ({"length": 51, "first_id": b"51-0", "entries_added": 101, "last_id": b"101-0"}, 10),
        ({"length": 50, "first_id": b"51-0", "entries_read": -1}, 0),
    ],
)
def test_lost_counts_what_left_the_log_unprocessed(changes: dict[str, object], expected: int) -> None:
    assert lost(state(**changes)) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"entries_read": -1, "cursor": b"100-0"}, 100),
        ({"entries_read": -1, "cursor": ORIGIN}, 0),
        ({"entries_read": -1, "length": 50, "first_id": b"51-0"}, 50),
        ({"entries_read": -1}, -1),
        ({}, 40),
    ],
)
def test_entries_read_heals_where_the_log_knows_better(changes: dict[str, object], expected: int) -> None:
    assert heal_entries_read(state(**changes)) == expected


@pytest.mark.parametrize(
    ("cursor", "read", "expected"),
    [(b"9-0", 9, False), (b"9-0", -1, False), (b"8-0", 10, True), (b"9-1", -1, True)],
)
def test_a_cursor_behind_the_end_speaks_of_another_history(cursor: bytes, read: int, expected: bool) -> None:
    assert is_behind_the_end(cursor, read, b"9-0", 9) is expected
