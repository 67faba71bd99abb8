"""A value of a wrong type is refused in both directions, and the error says where it stands."""

from __future__ import annotations

import dataclasses
import enum
import json
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest

from runnel_trio._codec import (
    DecodeError,
    FastJSONSerializer,
    JSONSerializer,
    Record,
    RecordCodec,
    make_converter,
)
from runnel_trio.exceptions import Misconfigured, RecordInvalid
from runnel_trio.interfaces import Serializer

Meters = NewType("Meters", float)
SERIALIZERS = [JSONSerializer(), FastJSONSerializer()]
NOW = datetime(2024, 5, 1, 12, 30)


class Color(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Shape(enum.Enum):
    DOT = ()


class Item(Record):
    price: int


class Gift(Item):
    wish: str = ""


class Wrapped(Item):
    pass


class Card(Record):
    text: str


@attrs.define
class Place:
    city: str
    _code: int = 0


@dataclasses.dataclass
class Point:
    x: int
    tags: list[str] = dataclasses.field(default_factory=list)


def codec_of(annotation: Any, serializer: Serializer = SERIALIZERS[0]) -> RecordCodec[Any]:
    """The codec of a Record with the single field ``x``."""
    cls = type("Holder", (Record,), {"__annotations__": {"x": annotation}})
    return RecordCodec(cls, serializer, make_converter())


# Annotation, a wrong value, its path, what the reason says.
WRONG_TO_SEND = [
    (int, True, "x", "expected int, got bool True"),
    (int, "1", "x", "expected int, got str '1'"),
    (int, 1.0, "x", "expected int, got float 1.0"),
    (int, None, "x", "expected int, got None"),
    (float, True, "x", "expected float, got bool True"),
    (float, "1.5", "x", "expected float, got str '1.5'"),
    (float, 2**53 + 1, "x", "which no float equals"),
    (float, 10**400, "x", "too large"),
    (Meters, "1.5", "x", "expected float, got str '1.5'"),
    (Annotated[int, "unit"], "1", "x", "expected int, got str '1'"),
    (bool, 1, "x", "expected bool, got int 1"),
    (str, b"a", "x", "expected str, got bytes b'a'"),
    (str, 1, "x", "expected str, got int 1"),
    (bytes, "a", "x", "expected bytes, got str 'a'"),
    (bytes, bytearray(b"a"), "x", "expected bytes, got bytearray"),
    (datetime, "2024-05-01T00:00:00", "x", "expected datetime, got str"),
    (datetime, date(2024, 5, 1), "x", "expected datetime, got date"),
    (date, NOW, "x", "expected date, got datetime"),
    (time, NOW, "x", "expected time, got datetime"),
    (time, time(1, tzinfo=ZoneInfo("Europe/Berlin")), "x", "depends on the date"),
    (timedelta, 5, "x", "expected timedelta, got int 5"),
    (Decimal, 1.5, "x", "expected Decimal, got float 1.5"),
    (UUID, "x", "x", "expected UUID, got str 'x'"),
    (Color, "red", "x", "expected Color ('red'), got str 'red'"),
    (Level, 1, "x", "expected Level (1), got int 1"),
    (Shape, (), "x", "expected Shape (DOT), got tuple ()"),
    (Literal[1, "a"], True, "x", "expected 1 or 'a', got bool True"),
    (Literal[1, "a"], [], "x", "expected 1 or 'a', got list []"),
    (Literal[True], 1, "x", "expected True, got int 1"),
    (int | None, "1", "x", "expected int, got str '1'"),
    (int | str | None, 1.5, "x", "expected int | str | None, got float 1.5"),
    (int | str, True, "x", "expected int | str, got bool True"),
    (list[int], (1,), "x", "expected list, got tuple (1,)"),
    (list[int], [1, 2, True], "x[2]", "expected int, got bool True"),
    (list[int], [*range(20), "20"], "x[20]", "expected int, got str '20'"),
    (list[int], [1] * 7 + [None], "x[7]", "expected int, got None"),
    (list[int], [1] * 6 + [None], "x[6]", "expected int, got None"),
    (list[str], ["a", None], "x[1]", "expected str, got None"),
    (list[bool], [True, 0], "x[1]", "expected bool, got int 0"),
    (list[float], [1.0, "x"], "x[1]", "expected float, got str 'x'"),
    (tuple[int, ...], [1], "x", "expected tuple, got list [1]"),
    (tuple[int, ...], (1, "x"), "x[1]", "expected int"),
    (tuple[int, str], (1, 2), "x[1]", "expected str, got int 2"),
    (tuple[int, str], (1,), "x", "expected tuple of 2, got tuple (1,)"),
    (set[int], [1], "x", "expected set, got list [1]"),
    (set[int], {"a"}, "x[0]", "expected int, got str 'a'"),
    (frozenset[int], {1}, "x", "expected frozenset, got set {1}"),
    (dict[str, int], {"a": 1, "b": "c"}, "x['b']", "expected int, got str 'c'"),
    (dict[str, int], {1: 1}, "x[1 as key]", "expected str, got int 1"),
    (dict[str, int], [], "x", "expected dict, got list []"),
    (dict[int, str], {1: "a", "2": "b"}, "x['2' as key]", "expected int, got str '2'"),
    (dict[int, list[int]], {1: [1, None]}, "x[1][1]", "expected int, got None"),
    (dict[int, int], [[1, 2]], "x", "expected dict, got list"),
    (Item, {"price": 1}, "x", "expected Item, got dict"),
    (Item, Item(price="5"), "x.price", "expected int, got str '5'"),
    (Item, Gift(price=1), "x", "its subclass Gift, whose wish would be lost"),
    (list[Item], [Item(price=1), Item(price=2), Item(price="x")], "x[2].price", "expected int, got str 'x'"),
    (dict[str, list[Item]], {"a": [Item(price=None)]}, "x['a'][0].price", "expected int, got None"),
    (Item | Card, Item(price="x"), "x.price", "expected int, got str 'x'"),
    (Item | Card | None, 5, "x", "got int 5"),
    (Place, Place(city=1), "x.city", "expected str, got int 1"),
    (Place, Place(city="a", code="b"), "x._code", "expected int, got str 'b'"),
    (Point, Point(x=1, tags=["a", 2]), "x.tags[1]", "expected str, got int 2"),
    (Any, {"a": [1, (2,)]}, "x['a'][1]", "expected a JSON value"),
    (Any, {"a": {1: 2}}, "x['a']", "expected a str as key, got 1"),
    (Any, float("nan"), "x", "expected a JSON value"),
    (Any, 2**64, "x", "expected a JSON value"),
    (list, [NOW], "x[0]", "expected a JSON value"),
    (None | Literal["a"], "b", "x", "expected 'a', got str 'b'"),
]


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=repr)
@pytest.mark.parametrize(("annotation", "value", "path", "reason"), WRONG_TO_SEND, ids=repr)
def test_a_wrong_value_is_not_sent(
    annotation: Any, value: Any, path: str, reason: str, serializer: Serializer
) -> None:
    codec = codec_of(annotation, serializer)
    with pytest.raises(RecordInvalid) as caught:
        codec.encode(codec.record(x=value))
    assert (caught.value.record, caught.value.path) == ("Holder", path)
    assert reason in caught.value.reason
    assert str(caught.value) == f"Holder.{path}: {caught.value.reason}"


# Annotation, a stored plain form, the path of what is wrong with it, what the reason says.
WRONG_TO_READ = [
    (int, True, "x", "expected int, got bool True"),
    (int, "1", "x", "expected int, got str '1'"),
    (int, "9223372036854775807", "x", "expected int, got str"),
    (int, "x" * 100, "x", "xxx..."),
    (int, 1.0, "x", "expected int, got float 1.0"),
    (int, None, "x", "expected int, got None"),
    (float, "1.5", "x", "expected float, got str '1.5'"),
    (float, "nan", "x", "expected float, got str 'nan'"),
    (float, True, "x", "expected float, got bool True"),
    (bool, 1, "x", "expected bool, got int 1"),
    (str, 1, "x", "expected str, got int 1"),
    (bytes, "a", "x", "expected bytes in base64, got str 'a'"),
    (bytes, "a===", "x", "expected bytes in base64"),
    (bytes, 5, "x", "expected bytes in base64, got int 5"),
    (datetime, "yesterday", "x", "expected datetime in ISO 8601, got str 'yesterday'"),
    (datetime, "2024-05-01", "x", "expected datetime in ISO 8601"),
    (datetime, 1714521600, "x", "expected datetime in ISO 8601, got int"),
    (date, "2024-05-01T00:00:00", "x", "expected date in ISO 8601"),
    (time, "25:00", "x", "expected time in ISO 8601"),
    (timedelta, "P", "x", "expected timedelta as an ISO 8601 duration"),
    (timedelta, "PT", "x", "expected timedelta as an ISO 8601 duration"),
    (timedelta, "P99999999999D", "x", "expected timedelta"),
    (timedelta, 5, "x", "expected timedelta"),
    (Decimal, 1.5, "x", "expected Decimal as a string, got float 1.5"),
    (Decimal, "one", "x", "expected Decimal as a string, got str 'one'"),
    (UUID, "one", "x", "expected UUID, got str 'one'"),
    (Color, "blue", "x", "expected Color ('red'), got str 'blue'"),
    (Level, True, "x", "expected Level (1), got bool True"),
    (Level, 1.0, "x", "expected Level (1), got float 1.0"),
    (Shape, "LINE", "x", "expected Shape (DOT), got str 'LINE'"),
    (Literal[1], True, "x", "expected 1, got bool True"),
    (Literal[True], 1, "x", "expected True, got int 1"),
    (Literal["a"], ["a"], "x", "expected 'a', got list"),
    (int | None, "1", "x", "expected int, got str '1'"),
    (int | str, None, "x", "expected int | str, got None"),
    (int | str, [1], "x", "expected int | str, got list [1]"),
    (int | str, {"_type": "float", "value": 1.0}, "x", "got an object with '_type' 'float'"),
    (list[int], {"0": 1}, "x", "expected list, got dict"),
    (list[int], [1, "2"], "x[1]", "expected int, got str '2'"),
    (set[int], [1, None], "x[1]", "expected int, got None"),
    (tuple[int, str], [1, 2], "x[1]", "expected str, got int 2"),
    (tuple[int, str], [1, "a", 3], "x", "expected list of 2"),
    (dict[str, int], {"a": "b"}, "x['a']", "expected int, got str 'b'"),
    (dict[str, int], [], "x", "expected object, got list []"),
    (dict[int, str], {"1": "a"}, "x", "expected list of pairs, got dict"),
    (dict[int, str], [[1, "a"], [2]], "x[1]", "expected pair, got list [2]"),
    (dict[int, str], [[1, "a"], ["2", "b"]], "x[1][0]", "expected int, got str '2'"),
    (dict[int, str], [[1, 2]], "x[0][1]", "expected str, got int 2"),
    (Item, [1], "x", "expected Item as an object, got list [1]"),
    (Item, {}, "x.price", "missing, and it has no default"),
    (list[Item], [{"price": 1}, {"price": "x"}], "x[1].price", "expected int, got str 'x'"),
    (Item | Card, {"price": 1}, "x", "got an object without '_type'"),
    (Item | Card, {"_type": "Gift"}, "x", "got an object with '_type' 'Gift'"),
    (Item | Card, {"_type": "Card", "text": 1}, "x.text", "expected str, got int 1"),
    (Place, {"city": 1}, "x.city", "expected str, got int 1"),
    (Point, {"x": 1, "tags": [1]}, "x.tags[0]", "expected str, got int 1"),
]


@pytest.mark.parametrize("serializer", SERIALIZERS, ids=repr)
@pytest.mark.parametrize(("annotation", "plain", "path", "reason"), WRONG_TO_READ, ids=repr)
def test_a_wrong_entry_is_not_read(
    annotation: Any, plain: Any, path: str, reason: str, serializer: Serializer
) -> None:
    codec = codec_of(annotation, serializer)
    with pytest.raises(DecodeError) as caught:
        codec.decode([b"data", json.dumps({"x": plain}).encode()])
    assert caught.value.field == path
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("annotation", "value", "plain"),
    [
        (int, 2**63 - 1, 2**63 - 1),
        (int, 2**63, "9223372036854775808"),
        (int, -(2**70), "-1180591620717411303424"),
        (list[int], [2**63], ["9223372036854775808"]),
        (list[int], [*range(9), 2**63], [*range(9), "9223372036854775808"]),
        (float, float("inf"), "Infinity"),
        (float, float("-inf"), "-Infinity"),
        (float, 5, 5.0),
        (bytes, b"\xff", "/w=="),
        (datetime, NOW, "2024-05-01T12:30:00"),
        (time, time(12, 30, 0, 5), "12:30:00.000005"),
        (timedelta, timedelta(minutes=1, microseconds=500000), "PT60.5S"),
        (timedelta, timedelta(microseconds=-1), "-PT0.000001S"),
        (timedelta, timedelta.min, "-PT86399999913600S"),
        (timedelta, timedelta.max, "PT86399999999999.999999S"),
        (Decimal, Decimal("1.50"), "1.50"),
        (Shape, Shape.DOT, "DOT"),
        (Level, Level.LOW, 1),
        (dict[int, str], {1: "a"}, [[1, "a"]]),
        (dict[Color, int], {Color.RED: 1}, [["red", 1]]),
        (int | str, 2**63, {"_type": "int", "value": "9223372036854775808"}),
        (float | str, float("inf"), {"_type": "float", "value": "Infinity"}),
        (Item | Card | None, Card(text="a"), {"_type": "Card", "text": "a"}),
        (Item | Card | None, None, None),
        (Item | int, 5, 5),
        (Place, Place("Ulm", 89), {"city": "Ulm", "_code": 89}),
    ],
    ids=repr,
)
def test_the_stored_form_is_as_documented(annotation: Any, value: Any, plain: Any) -> None:
    codec = codec_of(annotation)
    stored = codec.encode(codec.record(x=value))
    assert json.loads(stored[1]) == {"x": plain}
    assert codec.decode(stored).x == value


@pytest.mark.parametrize(
    ("annotation", "plain", "value"),
    [
        (float, 1, 1.0),
        (datetime, "2024-05-01T12:30:00Z", datetime.fromisoformat("2024-05-01T12:30:00+00:00")),
        (timedelta, "P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        (float | str, 3, 3.0),
    ],
    ids=repr,
)
def test_other_writers_have_some_freedom(annotation: Any, plain: Any, value: Any) -> None:
    found = codec_of(annotation).decode([b"data", json.dumps({"x": plain}).encode()]).x
    assert found == value
    assert type(found) is type(value)


def test_nan_survives() -> None:
    codec = codec_of(float)
    assert codec.decode(codec.encode(codec.record(x=float("nan")))).x != 0
    assert codec.encode(codec.record(x=float("nan")))[1] == b'{"x":"NaN"}'


def test_subclasses_of_scalars_are_stored_as_their_base() -> None:
    codec = codec_of(list[int])
    assert codec.encode(codec.record(x=[Level.LOW])) == (b"data", b'{"x":[1]}')
    text = codec_of(dict[str, str])
    found = text.decode(
        text.encode(text.record(x={type("Text", (str,), {})("a"): type("Text", (str,), {})("b")}))
    )
    assert [(type(k), type(v)) for k, v in found.x.items()] == [(str, str)]


def test_a_record_of_another_class_is_refused() -> None:
    codec = RecordCodec(Item, JSONSerializer(), make_converter())
    with pytest.raises(RecordInvalid, match=r"^Item: expected Item, got Card Card\(text='a'\)$"):
        codec.encode(Card(text="a"))  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(RecordInvalid, match="its subclass Gift, whose wish would be lost"):
        codec.encode(Gift(price=1))
    assert codec.encode(Wrapped(price=1)) == codec.encode(Item(price=1))


def test_a_field_that_was_deleted_is_named() -> None:
    codec, record = codec_of(int), Item(price=1)
    record = codec.record(x=1)
    del record.x
    with pytest.raises(RecordInvalid) as caught:
        codec.encode(record)
    assert (caught.value.path, caught.value.reason) == ("x", "is not set")


def test_a_value_that_contains_itself_is_refused() -> None:
    codec, value = codec_of(Any), []
    value.append(value)
    with pytest.raises(RecordInvalid, match="contains itself"):
        codec.encode(codec.record(x=value))


class Unknown:
    pass


class MyInt(int):
    pass


class Odd(Record):
    _type: int


@pytest.mark.parametrize(
    ("annotation", "path", "reason"),
    [
        (Unknown, "x", "Unknown has no stored form"),
        (list[Unknown], "x[]", "Unknown has no stored form"),
        (dict[str, tuple[int, Unknown]], "x[][1]", "Unknown has no stored form"),
        (dict[Unknown, int], "x[key]", "Unknown has no stored form"),
        (datetime | str, "x", "datetime has no JSON type of its own"),
        (list[int] | int, "x", "list[int] has no JSON type of its own"),
        (int | Meters | Annotated[int, "other"], "x", "two members are stored as int"),
        (MyInt, "x", "a subclass of int would come back as int"),
        (Literal["red", Color.RED], "x", "would be stored alike"),
        (object, "x", "object has no stored form"),
        (Annotated[int, []], "x", "cannot be looked up"),
    ],
    ids=repr,
)
def test_a_type_without_a_stored_form_is_refused_when_the_stream_is_declared(
    annotation: Any, path: str, reason: str
) -> None:
    with pytest.raises(Misconfigured) as caught:
        codec_of(annotation)
    assert str(caught.value).startswith(f"Holder.{path}: ")
    assert reason in str(caught.value)


def test_the_path_of_such_a_type_leads_through_records() -> None:
    cls = type("Inner", (Record,), {"__annotations__": {"deep": list[Unknown]}})
    with pytest.raises(Misconfigured, match=r"^Holder\.x\[\]\.deep\[\]: Unknown has no stored form"):
        codec_of(list[cls])


def test_members_of_a_union_need_different_names() -> None:
    other = type("Item", (Record,), {"__annotations__": {"size": int}})
    with pytest.raises(Misconfigured, match="names of its classes must differ"):
        codec_of(Item | other)


def test_a_field_cannot_have_the_name_of_the_tag() -> None:
    codec = codec_of(Odd | Card)
    with pytest.raises(RecordInvalid, match="must be an object without a field '_type'"):
        codec.encode(codec.record(x=Odd(type=1)))


def test_only_a_record_can_be_stored() -> None:
    with pytest.raises(Misconfigured, match="Unknown is not a Record"):
        RecordCodec(Unknown, JSONSerializer(), make_converter())  # type: ignore[type-var]  # the point of the test
