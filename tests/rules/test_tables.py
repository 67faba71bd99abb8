"""What is stored of a table's entries is read as it was written, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._rules._tables import TableValue, deadline_of, entry_field, living, split_field

pairs = st.lists(st.tuples(st.binary(), st.binary())).map(lambda x: [part for pair in x for part in pair])
times = st.integers(0, 2**53)
values = st.builds(
    TableValue,
    pairs | st.binary().map(lambda x: [b"data", x]),
    times,
    st.none() | st.integers(-(2**300), 2**300),
    st.integers(1, 255),
)


@given(values)
def test_a_value_is_read_as_it_was_written(value: TableValue) -> None:
    read = TableValue.parse(value.packed)
    assert (list(read.fields), read.deadline, read.hash, read.version) == (
        list(value.fields), value.deadline, value.hash, value.version,
    )  # fmt: skip
    assert deadline_of(value.packed) == value.deadline


@given(st.binary(), st.binary())
def test_a_field_is_read_as_it_was_written(key: bytes, subkey: bytes) -> None:
    assert split_field(entry_field(key, subkey)) == (key, subkey)


@given(st.tuples(st.binary(), st.binary()), st.tuples(st.binary(), st.binary()))
def test_two_entries_have_two_fields(one: tuple[bytes, bytes], other: tuple[bytes, bytes]) -> None:
    assert (entry_field(*one) == entry_field(*other)) is (one == other)


@given(values, times)
def test_an_entry_is_over_from_its_deadline_on(value: TableValue, now: int) -> None:
    is_over = 0 < value.deadline <= now
    assert living(value.packed, now) == (None if is_over else value.packed)


@pytest.mark.parametrize("field", [b"", b"sAda", b"5:sAda", b":sAda", b"x:sAda", b"-1:sAda"])
def test_what_is_no_field_is_refused(field: bytes) -> None:
    with pytest.raises(ValueError):
        split_field(field)


HEAD = b"\x01" + bytes(8) + b"\x01"


@pytest.mark.parametrize(
    "packed",
    [
        b"", HEAD[:9], b"\x00" + HEAD[1:], b"\x09" + HEAD[1:], b"\x80" + HEAD[1:],
        b"\x03" + HEAD[1:] + b"3:ab,", b"\x03" + HEAD[1:] + b"1:a,", b"\x05" + HEAD[1:], b"\x05" + HEAD[1:] + b"\x02a",
    ],
)  # fmt: skip
def test_what_is_no_value_of_this_version_is_refused(packed: bytes) -> None:
    with pytest.raises(ValueError):
        TableValue.parse(packed)


def test_the_stored_bytes_are_these() -> None:
    """What is stored is read by the versions of years to come: see docs/reference/formats."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "formats.rst").read_text(encoding="utf-8")
    plain = TableValue((b"data", b'{"spent":3}')).packed
    assert plain == HEAD + b'{"spent":3}'
    assert plain.hex(" ") in page
    due = TableValue((b"data", b"{}"), deadline=1764330000000, hash=-300, version=2)
    assert due.packed == bytes.fromhex("050000019aca434e800202fed4") + b"{}"
    several = TableValue((b"a", b"1", b"b", b"22"))
    assert several.packed == b"\x03" + HEAD[1:] + b"1:a,1:1,1:b,2:22,"
