"""Whatever a generated Record holds comes back equal, of the same types, through every serializer.

The first half of the file generates Record classes: random fields, types, nesting, bases and defaults.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import keyword
from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NewType, Optional, Union
from uuid import UUID

import attrs
import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runnel_trio._codec import (
    LZ4,
    FastJSONSerializer,
    Gzip,
    JSONSerializer,
    Record,
    RecordCodec,
    make_converter,
)
from runnel_trio.interfaces import Compressor, Serializer

UserId = NewType("UserId", int)
OFFSETS = st.integers(-1439, 1439).map(lambda x: timezone(timedelta(minutes=x)))


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shape(enum.Enum):
    DOT = ()
    LINE = (1, 2)


class Perm(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Name(str, enum.Enum):  # noqa: UP042 (what users have who support older Pythons)
    A = "a"
    B = "b"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
FLOATS = st.floats(allow_nan=False)
INTS = (
    st.integers()
    | st.integers(-(2**80), 2**80)
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64])
)

#: annotation, strategy of its values. All are hashable, so that they can be keys and members of sets.
SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, INTS),
    (float, FLOATS),
    (bool, st.booleans()),
    (str, TEXT),
    (bytes, st.binary(max_size=8)),
    (datetime, st.datetimes() | st.datetimes(timezones=OFFSETS)),
    (date, st.dates()),
    (time, st.times() | st.times(timezones=OFFSETS)),
    (timedelta, st.timedeltas()),
    (Decimal, st.decimals(allow_nan=False)),
    (UUID, st.uuids()),
    (Color, st.sampled_from(Color)),
    (Level, st.sampled_from(Level)),
    (Shape, st.sampled_from(Shape)),
    (Perm, st.sampled_from([Perm(0), Perm.READ, Perm.WRITE, Perm.READ | Perm.WRITE])),
    (Name, st.sampled_from(Name)),
    (UserId, INTS),
    (Literal[1, "1", None], st.sampled_from([1, "1", None])),
    (Literal[True, Color.RED], st.sampled_from([True, Color.RED])),
    (int | str | None, INTS | TEXT | st.none()),
    (Union[bool, float, str], st.booleans() | FLOATS | TEXT),  # noqa: UP007 (both spellings)
    (Optional[datetime], st.none() | st.datetimes()),  # noqa: UP045 (both spellings)
]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@attrs.frozen
class MsgspecRead:
    """An annotation, and the values that it takes."""

    annotation: Any
    values: st.SearchStrategy[Any]


def scalars() -> st.SearchStrategy[MsgspecRead]:
    return st.sampled_from([MsgspecRead(*x) for x in SCALARS])


@st.composite
def collections(draw: Callable[..., Any], inner: st.SearchStrategy[MsgspecRead]) -> MsgspecRead:
    """A collection of what ``inner`` draws."""
    one, key = draw(inner), draw(scalars())
    kind = draw(st.sampled_from(["list", "tuple", "pair", "set", "frozenset", "dict", "optional"]))
    if kind == "list":
        return MsgspecRead(list[one.annotation], st.lists(one.values, max_size=10))
    if kind == "tuple":
        return MsgspecRead(tuple[one.annotation, ...], st.lists(one.values, max_size=3).map(tuple))
    if kind == "pair":
        return MsgspecRead(tuple[one.annotation, key.annotation], st.tuples(one.values, key.values))
    if kind == "set":
        return MsgspecRead(set[key.annotation], st.sets(key.values, max_size=3))
    if kind == "frozenset":
        return MsgspecRead(frozenset[key.annotation], st.frozensets(key.values, max_size=3))
    if kind == "dict":
        return MsgspecRead(
            dict[key.annotation, one.annotation], st.dictionaries(key.values, one.values, max_size=3)
        )
    return MsgspecRead(Optional[one.annotation], st.none() | one.values)  # noqa: UP045


@st.composite
def records(
    draw: Callable[..., Any], inner: st.SearchStrategy[MsgspecRead], prefix: str = "R"
) -> MsgspecRead:
    """A Record class of one to five fields, some with defaults, perhaps on a base class with a field."""
    names = st.from_regex(r"[a-z][a-z_0-9]{0,6}", fullmatch=True).filter(lambda x: not keyword.iskeyword(x))
    fields = {x: draw(inner) for x in draw(st.lists(names, min_size=1, max_size=5, unique=True))}
    base = Record
    if draw(st.booleans()):
        base = type(f"{prefix}Base", (Record,), {"__annotations__": {"zz_base": int}, "zz_base": 7})
    namespace: dict[str, Any] = {"__annotations__": {x: y.annotation for x, y in fields.items()}}
    for name in draw(st.sets(st.sampled_from(sorted(fields)))):
        value = draw(fields[name].values)
        namespace[name] = attrs.field(factory=lambda value=value: value)
    cls = type(prefix, (base,), namespace)
    return MsgspecRead(
        cls, st.fixed_dictionaries({x: y.values for x, y in fields.items()}).map(lambda x: cls(**x))
    )


@st.composite
def unions(draw: Callable[..., Any], inner: st.SearchStrategy[MsgspecRead]) -> MsgspecRead:
    """A union of two Records and an int."""
    first, second = draw(records(inner, "First")), draw(records(inner, "Second"))
    return MsgspecRead(Union[first.annotation, second.annotation, int], first.values | second.values | INTS)  # noqa: UP007


def types() -> st.SearchStrategy[MsgspecRead]:
    """Any type that a field can have."""
    leaves = (
        scalars()
        | st.just(MsgspecRead(Any, JSON))
        | st.just(MsgspecRead(dict, st.dictionaries(TEXT, JSON, max_size=2)))
    )
    return st.recursive(leaves, lambda x: collections(x) | records(x) | unions(x), max_leaves=6)


def record_classes() -> st.SearchStrategy[MsgspecRead]:
    """A Record class as a stream may have it."""
    return records(types())


def primitive_records() -> st.SearchStrategy[MsgspecRead]:
    """A primitive Record class."""
    forms = [MsgspecRead(*x) for x in SCALARS if x[0] in (int, float, bool, str, bytes, UserId)]
    return records(st.sampled_from(forms)).map(_made_primitive)


def _made_primitive(one: MsgspecRead) -> MsgspecRead:
    cls = type("Flat", (one.annotation,), {"__annotations__": {}}, primitive=True)
    values = one.values.map(lambda x: cls(**attrs.asdict(x, recurse=False)))
    return MsgspecRead(cls, values)


quick = settings(
    max_examples=settings.default.max_examples // 4,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@dataclasses.dataclass(frozen=True)
class Spelled(Serializer):
    """A user's serializer, with another spelling of the same JSON."""

    compressor: Compressor | None = None

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value, allow_nan=False, indent=1).encode()

    def loads(self, value: bytes) -> Any:
        return json.loads(value)


SERIALIZERS = [
    kind(compressor=compressor)
    for kind in (JSONSerializer, FastJSONSerializer, Spelled)
    for compressor in (None, Gzip(level=1), LZ4())
]


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same type all the way down."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Record):
        return all(same(getattr(one, x.name), getattr(other, x.name)) for x in attrs.fields(type(one)))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, (set, frozenset)):
        return one == other and {(type(x), x) for x in one} == {(type(x), x) for x in other}
    if hasattr(one, "utcoffset") and one.utcoffset() != other.utcoffset():
        return False
    return bool(one == other)


@quick
@given(data=st.data())
def test_every_record_comes_back_as_it_was_through_every_serializer(data: st.DataObject) -> None:
    generated = data.draw(record_classes())
    records, converter = data.draw(st.lists(generated.values, min_size=2, max_size=4)), make_converter()
    for serializer in SERIALIZERS:
        codec = RecordCodec(generated.annotation, serializer, converter)
        for record in records:
            assert same(codec.decode([*codec.encode(record)]), record), serializer


@quick
@given(data=st.data())
def test_both_serializers_write_the_same_json(data: st.DataObject) -> None:
    generated = data.draw(record_classes())
    record = data.draw(generated.values)
    converter = make_converter()
    slow = RecordCodec(generated.annotation, JSONSerializer(), converter).encode(record)[1]
    fast = RecordCodec(generated.annotation, FastJSONSerializer(), converter).encode(record)[1]
    # Only the exponents of floats are spelled otherwise (1e+16, 1e16).
    assert same(json.loads(slow), json.loads(fast))
    assert same(orjson.loads(slow), orjson.loads(fast))


@quick
@given(data=st.data())
def test_the_plain_form_is_json_and_the_same_for_every_serializer(data: st.DataObject) -> None:
    generated = data.draw(record_classes())
    record = data.draw(generated.values)
    converter = make_converter()
    plain = converter.unstructure(record)
    assert same(json.loads(json.dumps(plain, allow_nan=False)), plain)
    assert same(converter.structure(plain, generated.annotation), record)
    assert same(
        orjson.loads(RecordCodec(generated.annotation, FastJSONSerializer(), converter).encode(record)[1]),
        plain,
    )


@settings(quick, max_examples=settings.default.max_examples // 2)
@given(data=st.data())
def test_every_primitive_record_comes_back_as_it_was(data: st.DataObject) -> None:
    generated = data.draw(primitive_records())
    codec = RecordCodec(generated.annotation, JSONSerializer(), make_converter())
    for record in data.draw(st.lists(generated.values, min_size=1, max_size=4)):
        encoded = codec.encode(record)
        assert all(type(x) is bytes for x in encoded)
        assert same(codec.decode(encoded), record)
        pairs = list(zip(encoded[::2], encoded[1::2], strict=True))
        assert same(codec.decode([x for pair in reversed(pairs) for x in pair]), record)
