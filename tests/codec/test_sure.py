"""What a look says can be written, is written."""

from __future__ import annotations

import enum
import functools
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runnel_trio import FastJSONSerializer, Gzip, JSONSerializer, Record, RecordInvalid
from runnel_trio._codec import RecordCodec, make_converter

SERIALIZERS = [JSONSerializer(), FastJSONSerializer()]


class Place(Record):
    name: str
    codes: list[str]


class Everything(Record):
    number: int
    share: float
    flag: bool
    text: str
    nothing: None
    when: datetime
    day: date
    clock: time
    lasted: timedelta
    price: Decimal
    uid: UUID
    blob: bytes
    place: Place
    places: list[Place]
    maybe: int | None
    maybe_place: Place | None
    words: tuple[str, ...]
    days: set[date]
    table: list[list[int]]


def everything(**changes: Any) -> Everything:
    there = Place(name="Zoë", codes=["a", "ü"])
    values: dict[str, Any] = {
        "number": 1,
        "share": 0.5,
        "flag": True,
        "text": "x",
        "nothing": None,
        "when": datetime(2026, 1, 1),
        "day": date(2026, 1, 1),
        "clock": time(1, 2),
        "lasted": timedelta(1),
        "price": Decimal("1.10"),
        "uid": UUID(int=1),
        "blob": b"\xff",
        "place": there,
        "places": [there],
        "maybe": None,
        "maybe_place": there,
        "words": ("a", "b"),
        "days": {date(2026, 1, 1)},
        "table": [[1], [2, 3]],
    }
    return Everything(**{**values, **changes})


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=repr)
def test_a_record_of_plain_types_is_sure(serializer: Any) -> None:
    codec = RecordCodec(Everything, serializer, make_converter())
    records = [everything(), everything(text="日本", maybe=7, maybe_place=None)]
    assert codec.prepared(records) is not None
    assert len(codec.values(records)) == 2


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=repr)
@pytest.mark.parametrize(
    "changes",
    [
        {"number": "1"},
        {"number": 2**70},
        {"share": 1},
        {"share": float("nan")},
        {"text": "\ud800"},
        {"place": Place(name="x", codes=["\udfff"])},
        {"places": [Place(name="x", codes=[]), None]},
        {"when": datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
        {"maybe": "x"},
        {"maybe_place": Place(name=None, codes=[])},  # type: ignore[arg-type]
        {"words": ["a"]},
        {"words": ("a", 1)},
        {"table": [[1], ["x"]]},
    ],
    ids=repr,
)
def test_what_may_not_fit_is_not_sure_wherever_it_stands(serializer: Any, changes: dict[str, Any]) -> None:
    codec = RecordCodec(Everything, serializer, make_converter())
    assert codec.prepared([everything(), everything(**changes), everything()]) is None


def test_a_field_that_is_not_set_and_a_record_of_another_class_are_not_sure() -> None:
    codec = RecordCodec(Place, FastJSONSerializer(), make_converter())
    assert codec.prepared([object.__new__(Place)]) is None
    assert codec.prepared([everything()]) is None  # type: ignore[list-item]


def test_nothing_is_sure_of_which_users_or_compressors_have_a_part() -> None:
    class Kind(enum.Enum):
        ONE = 1

    class Other(Record):
        kind: Kind

    mine = make_converter()
    mine.register_unstructure_hook(str, str.upper)
    place = Place(name="x", codes=[])
    assert RecordCodec(Place, FastJSONSerializer(), mine).prepared([place]) is None
    assert RecordCodec(Place, JSONSerializer(compressor=Gzip()), make_converter()).prepared([place]) is None
    assert RecordCodec(Other, JSONSerializer(), make_converter()).prepared([Other(kind=Kind.ONE)]) is None


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=())),
    st.binary(),
    st.datetimes(timezones=st.sampled_from([None, timezone.utc, timezone(timedelta(minutes=7))])),  # noqa: UP017 (as users write it)
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(),
    st.uuids(),
    st.builds(Place, name=st.text(st.characters(exclude_categories=())), codes=st.just(["x"])),
)
either = st.one_of(
    anything, st.lists(anything, max_size=10), st.lists(st.integers(), min_size=8, max_size=12)
)
names = st.sampled_from(list(Everything.__annotations__))


@functools.cache
def codec_of(serializer: Any) -> RecordCodec[Everything]:
    return RecordCodec(Everything, serializer, make_converter())


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=repr)
@settings(max_examples=settings.default.max_examples * 4)
@given(changes=st.dictionaries(names, either, max_size=3))
def test_whatever_is_sure_is_written(serializer: Any, changes: dict[str, Any]) -> None:
    codec = codec_of(serializer)
    records = [everything(**changes)]
    try:
        written = len(codec.values(records)) == 1
    except RecordInvalid:
        written = False
    assert written or codec.prepared(records) is None
