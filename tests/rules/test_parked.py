"""What is kept of parked keys is read as it was written, and anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio import Backoff, Misconfigured
from runnel_trio._rules._parked import Facts, Head, pack_entry, parse_value, unpack_entry, write_value

numbers = st.integers(0, 2**53)
heads = st.builds(Head, *[numbers] * 6)
facts = st.builds(
    Facts, key=st.text(), hash=st.integers(-(2**70), 2**70), error=st.text(), traceback=st.text(),
    reason=st.text(), by=st.text(),
)  # fmt: skip


@given(heads, facts)
def test_a_value_is_read_as_it_was_written(head: Head, known: Facts) -> None:
    assert parse_value(write_value(head, known)) == (head, known)


@given(st.from_regex(rb"\d+-\d+", fullmatch=True), st.lists(st.binary()))
def test_an_entry_is_read_as_it_was_written(xid: bytes, fields: list[bytes]) -> None:
    assert unpack_entry(pack_entry(xid, fields)) == (xid, fields)


@pytest.mark.parametrize("text", [b"", b"1-0", b"1-0 3:ab,", b"1-0 2:abc", b"1-0 x:ab,", b"1-0 2:ab,7"])
def test_what_is_no_entry_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        unpack_entry(text)


@pytest.mark.parametrize(
    "text", [b"", b"1 2 3 4 5 6", b"1 2 3 4 5 {}", b"1 2 3 4 5 6 []", b"1 2 3 4 5 6 {}", b"1 2 3 4 5 6 x"]
)
def test_what_is_no_value_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_value(text)


def test_fields_that_later_versions_add_are_no_fault() -> None:
    assert parse_value(b'1 1 0 0 0 0 {"hash": 1, "key": "a", "new": [1]}')[1] == Facts(key="a", hash=1)


@given(st.integers(1, 200), st.booleans())
def test_pauses_grow_to_the_longest(number: int, jitter: bool) -> None:
    backoff = Backoff(delay=1, factor=2, maximum=100, jitter=jitter)
    pause, whole = backoff.pause(number), min(100.0, 2.0 ** min(number - 1, 64))
    assert pause is not None
    assert (whole / 2 if jitter else whole) <= pause <= whole


def test_after_the_last_pause_there_is_none() -> None:
    backoff = Backoff(tries=2)
    assert [backoff.pause(n) is None for n in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize("wrong", [{"delay": -1}, {"factor": 0.5}, {"maximum": -1}, {"tries": 0}])
def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(Misconfigured):
        Backoff(**wrong)  # type: ignore[arg-type]  # whole numbers among them
