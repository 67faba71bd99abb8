"""What is done ahead of the cursor is read as it was written, and never taken for that of another cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._rules._ahead import MOST_BYTES, Ahead, read_ahead, write_ahead

IDS = st.lists(
    st.tuples(st.integers(0, 2**50), st.integers(0, 2**20)), min_size=1, max_size=40, unique=True
).map(sorted)


def xid(parsed: tuple[int, int]) -> bytes:
    return b"%d-%d" % parsed


@given(IDS, st.data())
def test_what_was_written_is_read(ids: list[tuple[int, int]], data: st.DataObject) -> None:
    cursor, *ids = ids
    done = data.draw(st.lists(st.booleans(), min_size=len(ids), max_size=len(ids)))
    runs: list[tuple[bytes, bytes, int]] = []
    for i, found in enumerate(ids):
        if done[i] and i and done[i - 1]:
            runs[-1] = (runs[-1][0], xid(found), runs[-1][2] + 1)
        elif done[i]:
            runs.append((xid(found), xid(found), 1))
    field, written = write_ahead(xid(cursor), runs)
    ahead = read_ahead(field, xid(cursor))
    assert (written, ahead.count) == (len(runs), sum(done))
    assert [xid(found) in ahead for found in ids] == done
    assert xid(cursor) not in ahead


def test_it_has_its_limit_and_says_how_much_it_holds() -> None:
    runs = [(b"%d-0" % n, b"%d-0" % (n + 1), 2) for n in range(10, 30_000, 3)]
    field, written = write_ahead(b"5-0", runs)
    assert MOST_BYTES - 30 < len(field) <= MOST_BYTES
    assert 0 < written < len(runs)
    ahead = read_ahead(field, b"5-0")
    assert ahead.count == 2 * written
    assert runs[written - 1][1] in ahead
    assert runs[written][0] not in ahead
    assert write_ahead(b"5-0", runs, most=20) == (b"", 0)
    assert write_ahead(b"5-0", []) == (b"", 0)


@pytest.mark.parametrize(
    "field",
    [b"", b"5-0", b"5-0 1", b"5-0 x 1-0", b"5-0 1 1-x", b"5-0 1 1-0 2-0", b"6-0 1 1-0", b"5-00 1 1-0", b"\xff\xfe"],
)  # fmt: skip
def test_what_is_of_another_cursor_or_not_ours_holds_nothing(field: bytes) -> None:
    assert read_ahead(field, b"5-0") == Ahead()


def test_golden() -> None:
    """docs/reference/formats: what was written once is read for ever."""
    field = b"1764330000000-5 4 3-0:2-2,18-0"
    runs = [
        (b"1764330000003-0", b"1764330000005-2", 3),
        (b"1764330000023-0", b"1764330000023-0", 1),
    ]
    assert write_ahead(b"1764330000000-5", runs) == (field, 2)
    ahead = read_ahead(field, b"1764330000000-5")
    assert [b"1764330000005-2" in ahead, b"1764330000005-3" in ahead] == [True, False]


@given(IDS, st.data())
def test_what_is_left_of_an_owner_before_stays_whatever_fits(
    ids: list[tuple[int, int]], data: st.DataObject
) -> None:
    cursor, *ids = ids
    at = data.draw(st.integers(0, len(ids)))
    most = data.draw(st.integers(300, 1200))
    old = [(xid(found), xid(found), 1) for found in ids]
    left = read_ahead(write_ahead(xid(cursor), old)[0], xid(cursor))
    read_to = xid(ids[at - 1]) if at else xid(cursor)
    left = left.behind(read_to, at)
    assert left.count == len(ids) - at
    field, written = write_ahead(xid(cursor), old[:at], left, most=most)
    ahead = read_ahead(field, xid(cursor))
    assert [xid(found) in ahead for found in ids] == [n < written or n >= at for n in range(len(ids))]
    assert ahead.count == written + len(ids) - at
    assert written == at or len(field) > most - 80
