"""What msgspec writes straight from records is what the general way writes."""

from __future__ import annotations

import dataclasses
import functools
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runnel_trio import FastJSONSerializer, JSONSerializer, Record, RecordInvalid
from runnel_trio._codec import RecordCodec, make_converter


@attrs.define
class Slotted:
    name: str
    _hidden: int = 0


@attrs.frozen(slots=False)
class Frozen:
    value: float


@dataclasses.dataclass
class Plain:
    days: list[date]


class Below(Record):
    slotted: Slotted
    frozen: Frozen | None
    plains: tuple[Plain, ...]


class Whole(Record):
    text: str
    number: int
    share: float
    when: datetime
    clock: time
    lasted: timedelta
    maybe_lasted: timedelta | None
    price: Decimal
    uid: UUID
    blob: bytes
    flags: list[bool]
    words: frozenset[str]
    below: Below
    several: list[Below]


finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**63), 2**63 - 1)
text = st.text()
below = st.builds(
    Below,
    slotted=st.builds(Slotted, name=text, hidden=whole),
    frozen=st.none() | st.builds(Frozen, value=finite),
    plains=st.lists(st.builds(Plain, days=st.lists(st.dates(), max_size=2)), max_size=2).map(tuple),
)
wholes = st.builds(
    Whole,
    text=text,
    number=whole,
    share=finite,
    when=st.datetimes(timezones=st.sampled_from([None, UTC])),
    clock=st.times(),
    lasted=st.timedeltas(),
    maybe_lasted=st.none() | st.timedeltas(),
    price=st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from([Decimal("NaN"), Decimal("-Infinity")]),
    uid=st.uuids(),
    blob=st.binary(max_size=20),
    flags=st.lists(st.booleans(), max_size=9),
    words=st.frozensets(text, max_size=3),
    below=below,
    several=st.lists(below, max_size=2),
)


@functools.cache
def codec_of(record: type[Record], serializer: Any) -> RecordCodec[Any]:
    return RecordCodec(record, serializer, make_converter())


@settings(max_examples=settings.default.max_examples * 2)
@given(records=st.lists(wholes, min_size=1, max_size=3))
def test_it_means_what_the_standard_librarys_json_means(records: list[Whole]) -> None:
    fast, slow = codec_of(Whole, FastJSONSerializer()), codec_of(Whole, JSONSerializer())
    prepared = fast.prepared(records)
    assert prepared is not None
    written = fast.written(prepared)
    expected = slow.values(records)
    assert repr([json.loads(x) for x in written]) == repr([json.loads(x) for x in expected])
    assert written == fast.values(records) == [x for record in records for x in fast.values([record])]


class Small(Record):
    key: int
    text: str = ""


def test_only_the_fields_are_written_and_as_they_were_when_it_looked() -> None:
    codec = codec_of(Small, FastJSONSerializer())
    record = Small(key=1, text="a\nb")
    record.note = object()  # type: ignore[attr-defined]
    prepared = codec.prepared([record, record])
    assert prepared is not None
    record.text = "changed"
    assert codec.written(prepared) == [b'{"key":1,"text":"a\\nb"}'] * 2


def test_a_subclass_is_not_taken_for_its_base() -> None:
    class More(Small):
        other: int

    codec = codec_of(Small, FastJSONSerializer())
    with pytest.raises(RecordInvalid, match="other would be lost"):
        codec.values([Small(key=1), More(key=2, other=3)])


@pytest.mark.parametrize("serializer", [JSONSerializer(), FastJSONSerializer()], ids=repr)
def test_utc_is_written_alike_by_all_and_another_zone_keeps_its_offset(serializer: Any) -> None:
    class Moment(Record):
        at: datetime
        by: Any = None

    codec = RecordCodec(Moment, serializer, make_converter())
    at = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    assert codec.values([Moment(at=at)]) == [b'{"at":"2026-01-02T03:04:05.000006Z","by":null}']
    assert codec.decode((b"data", codec.values([Moment(at=at)])[0])).at == at
    away = at.astimezone(datetime.fromisoformat("2026-01-01T00:00+05:30").tzinfo)
    assert b"08:34:05.000006+05:30" in codec.values([Moment(at=away)])[0]


def test_what_is_changed_under_its_hands_is_refused_and_not_written_wrongly() -> None:
    class Holder(Record):
        items: list[str]

    codec = codec_of(Holder, FastJSONSerializer())
    record = Holder(items=["x"])
    prepared = codec.prepared([record])
    assert prepared is not None
    record.items.append("\ud800")
    with pytest.raises(RecordInvalid, match="Holder"):
        codec.written(prepared)
    with pytest.raises(RecordInvalid, match="Holder"):
        codec.values([record])


def test_large_ones_are_refused_alone_and_among_others() -> None:
    codec = RecordCodec(Small, FastJSONSerializer(), make_converter(), max_event_bytes=100)
    large = Small(key=1, text="x" * 100)
    for records in ([large], [Small(key=0), large]):
        with pytest.raises(RecordInvalid, match="max_event_bytes"):
            codec.values(records)
