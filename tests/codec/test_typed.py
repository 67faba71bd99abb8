"""Reading JSON straight into records means the same as the general way through dicts, or is not done."""

from __future__ import annotations

import dataclasses
import enum
import functools
import json
import sys
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runnel_trio._codec import (
    LZ4,
    DecodeError,
    FastJSONSerializer,
    Gzip,
    Record,
    RecordCodec,
    _extras,
    _record_codec,
    make_converter,
)
from runnel_trio._codec._fast._msgspec_read import msgspec_reader, quick_decoder
from runnel_trio._codec._hooks._lookup import reader
from runnel_trio._codec._hooks._traits import MsgspecRead, trait
from runnel_trio.interfaces import Compressor

Reader = Callable[[bytes], Any]
Size = NewType("Size", int)


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
    READ = 1
    WRITE = 2


class Lenient(enum.Enum):
    A = "a"

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return cls.A if value == "other" else None


class Item(Record):
    price: int
    name: str = "none"


class Tree(Record):
    children: list[Tree]


def quick_reader(cls: type[Any], converter: Any = None) -> Reader | None:
    steps = msgspec_reader(reader(converter or make_converter(), cls), msgspec)
    if steps is None:
        return None
    parse, build = steps
    return lambda payload: build(parse(payload))


def record_of(annotation: Any) -> type[Any]:
    """A Record with the single field ``x``."""
    return type("Holder", (Record,), {"__annotations__": {"x": annotation}})


def codecs_of(cls: type[Any], **options: Any) -> tuple[RecordCodec[Any], RecordCodec[Any]]:
    """With and without msgspec."""
    build = functools.partial(RecordCodec, cls, FastJSONSerializer(), make_converter(), **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_record_codec, "typed_parser", lambda _: None)
        general = build()
    return build(), general


def exactly(value: Any) -> Any:
    """A value and its types all the way down, NaN and the sign of zero included, to be compared."""
    if attrs.has(type(value)) or dataclasses.is_dataclass(value):
        return type(value), [(k, exactly(v)) for k, v in vars(value).items()]
    if isinstance(value, (list, tuple)):
        return type(value), [exactly(x) for x in value]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(repr(exactly(x)) for x in value)
    if isinstance(value, dict):
        return dict, [(exactly(k), exactly(v)) for k, v in value.items()]
    return type(value), repr(value), getattr(value, "is_safe", None)


def outcome(codec: RecordCodec[Any], payload: bytes) -> Any:
    """The record, or the error that a user sees."""
    try:
        return exactly(codec.decode([b"data", payload]))
    except DecodeError as error:
        return error.field, error.reason


def cases(table: dict[Any, list[str]]) -> list[tuple[Any, str]]:
    return [(annotation, text) for annotation, texts in table.items() for text in texts]


#: Annotation, JSON that is read at once.
TAKEN: dict[Any, list[str]] = {
    int: ["-0", " 1 ", str(2**63 - 1), str(-(2**63))],
    float: [
        "-0",
        "-0.0",
        "1",
        "1e2",
        "1e-400",
        "9007199254740993",
        "18446744073709551616",
        "1" * 300,
        "2.2250738585072011e-308",
        "0." + "0" * 400 + "1",
    ],
    bool: ["true"],
    None: ["null"],
    str: [r'"\ud83d\ude00\u0000\/"', '"\x7f"', '"é\U0001f600"'],
    datetime: [
        '"2024-05-01T12:30:00.123456"',
        '"2024-05-01T12:30:00.123456789Z"',
        '"2024-05-01T12:30:00.9999999"',
        '"2024-05-01 12:30:00,5"',
        '"2024-05-01t12:30:00"',
        '"2024-05-01T12:30:00-00:00"',
        '"2024-05-01T12:30:00+23:59:59.999999"',
        '"2024-05-01T12"',
        '"2024-W18-3T12:30"',
    ],
    date: ['"2024-05-01"', '"20240501"', '"2024-W01-1"'],
    time: ['"12:30:00.1234567Z"', '"T12"'],
    timedelta: ['"PT90.5S"', '"-P1DT1H"'],
    Decimal: ['"1.10"', '"NaN"', '"1_0"'],
    UUID: [
        '"12345678-1234-5678-1234-567812345678"',
        '"12345678123456781234567812345678"',
        '"ABCDEFab-1234-5678-1234-567812345678"',
    ],
    bytes: ['"YWI="'],
    Color: ['"red"'],
    Level: ["2"],
    Shape: ['"LINE"'],
    Perm: ["3"],
    Literal["a", "b"]: ['"b"'],
    Literal[1, "1", None, True]: ["true"],
    int | None: ["null"],
    datetime | None: ['"2024-05-01T12:30:00"'],
    int | str | None: ['"1"'],
    int | float: ["1.0"],
    float | str: ["5"],
    Annotated[Size, "unit"]: ["5"],
    list[int]: ["[ 1 , 2 ]"],
    list[list[float]]: ["[[1, 1.5], []]"],
    list[date]: ['["2024-05-01"]'],
    set[int]: ["[1, 1, 2]"],
    set[float]: ["[0.0, -0.0, 1]"],
    frozenset[str]: ['["a", "a"]'],
    tuple[int, ...]: ["[1, 2, 3]"],
    tuple[Decimal, ...]: ['["1", "2"]'],
    tuple[int, str]: ['[1, "a"]'],
    tuple[int, date]: ['[1, "2024-05-01"]'],
    dict[str, int]: [r'{"a": 1, "b": 2, "\u0061": 3}'],
    dict[str, date]: ['{"a": "2024-05-01"}'],
    Item: ['{"price": 1, "name": "x"}', '{"price": 1}', '{"price": 1, "price": 2}'],
    list[Item]: ['[{"name": "x", "price": 1}]'],
    dict[str, Item | None]: ['{"a": null, "b": {"price": 1}}'],
}

#: Annotation, JSON that is left to the general way.
LEFT: dict[Any, list[str]] = {
    int: [
        "1.0",
        "1e2",
        "-0.0",
        "true",
        '"1"',
        "01",
        "+1",
        "1E400",
        str(2**63),
        str(2**64),
        str(-(2**63) - 1),
        "9" * 400,
        f'"{2**70}"',
        "NaN",
    ],
    float: ["NaN", "Infinity", "1E400", "9" * 400, "true", '"NaN"', '"-Infinity"', '"1"', "1.", ".5"],
    bool: ["1", '"true"'],
    None: ["0"],
    str: ["1", r'"\ud800"', r'"\ud83d\u0041"', r'"\x"', '"\n"'],
    datetime: [
        '"2024-05-01"',
        '"2024-W18-3"',
        '"2024-05-01T23:59:60"',
        '"2024-05-01T12:30:00z"',
        '"2024-05-01T12:30:00+24:00"',
        '"10000-05-01T12:30:00"',
        "1714566600",
    ],
    date: ['"2024-05-01T00:00:00"'],
    time: ['"25:00"'],
    timedelta: ['"P1W"', "5"],
    Decimal: ["1.5", "1", '"x"'],
    UUID: [
        '"{12345678-1234-5678-1234-567812345678}"',
        '"urn:uuid:12345678-1234-5678-1234-567812345678"',
        '"1234567812345678-12345678-12345678"',
        '"x"',
    ],
    bytes: ['"YWI"', '"YW I="', '"é"'],
    Color: ['"green"'],
    Level: ["3", "1.0", "true"],
    Shape: ["[]"],
    Lenient: ['"other"'],
    Perm: [f'"{2**70}"'],
    Literal["a", "b"]: ['"c"'],
    Literal[1, "1", None]: ["true"],
    Literal[True]: ["1"],
    datetime | None: ['"2024-05-01"'],
    int | str | None: ["1.5"],
    int | str: ["true"],
    list[int]: ["[1, 2.0]", "[1,]", f"[{2**63}]", "null", "{}"],
    set[int]: ["[[]]"],
    tuple[int, str]: ["[1]", '[1, "a", 2]'],
    dict[str, int]: ['{"a": null}', "{1: 1}", '{"a": 1,}', r'{"\ud800": 1}', "[]"],
    Item: ["{}", "null", "[1]", '{"price": 1, "more": 1}', '{"price": 1, "price": "2"}'],
    list[Item]: ['[{"price": 1}, {"price": true}]'],
}


@pytest.mark.parametrize(("annotation", "text"), cases(TAKEN))
def test_what_is_read_at_once_is_read_as_in_the_general_way(annotation: Any, text: str) -> None:
    cls = record_of(annotation)
    payload = f'{{"x":{text}}}'.encode()
    _, general = codecs_of(cls)
    quick = quick_reader(cls)
    assert quick is not None
    assert exactly(quick(payload)) == outcome(general, payload)


@pytest.mark.parametrize(("annotation", "text"), cases(LEFT))
def test_what_is_not_surely_read_alike_is_left_to_the_general_way(annotation: Any, text: str) -> None:
    cls = record_of(annotation)
    payload = f'{{"x":{text}}}'.encode()
    quick = quick_reader(cls)
    assert quick is not None
    with pytest.raises(Exception):  # noqa: B017 (whatever it is)
        quick(payload)
    both, general = codecs_of(cls)
    assert outcome(both, payload) == outcome(general, payload)


WHOLE = [
    b"",
    b"null",
    b"[]",
    b'{"price":1}x',
    b'{"price":1}\0',
    b'\xef\xbb\xbf{"price":1}',
    b'{"price":1,"name":"\xff"}',
    b'{"price":1,"name":"\xed\xa0\x80"}',
    b'{"price":1,"\xff":1}',
    b'{"price":1,"more":"\xff"}',
    b'{"price":1,"more":1E400}',
    b'{"price":1,"more":"\\ud800 and more"}',
    b'{"price":1,"more":' + b"9" * 400 + b"}",
    b'{"price":1,"more":' + b"[" * 1500 + b"]" * 1500 + b"}",
    b'{"price":1,"more":NaN}',
    b'{"price":1,"more":{"a":1,}}',
    b'{"price":1,}',
    b'{"price":1 "name":"x"}',
    b'{"pr\\u0069ce":1,"name":"x"}',
    b' \t\r\n{ "price" : 1 } \n',
    b'\x0b{"price":1}',
]


@pytest.mark.parametrize("forbid_unknown", [False, True])
@pytest.mark.parametrize("payload", WHOLE)
def test_documents_with_a_fault_anywhere_are_judged_by_the_general_way(
    payload: bytes, forbid_unknown: bool
) -> None:
    both, general = codecs_of(Item, forbid_unknown=forbid_unknown)
    assert outcome(both, payload) == outcome(general, payload)


# What follows generates classes and documents.

SCALARS = [x for x in TAKEN if not isinstance(x, type(list[int]))]
STRINGS = sorted({text for _, text in (*cases(TAKEN), *cases(LEFT)) if text.startswith('"')})
NUMBERS = r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?"
TOKENS = (
    st.sampled_from(sorted({text for _, text in (*cases(TAKEN), *cases(LEFT))}))
    | st.integers(-(2**66), 2**66).map(str)
    | st.floats().map(repr)
    | st.from_regex(NUMBERS, fullmatch=True)
    | st.text(max_size=5).map(json.dumps)
    | st.datetimes().map(lambda x: f'"{x.isoformat()}"')
    | st.uuids().map(lambda x: f'"{x}"')
)


def fitting(annotation: Any) -> st.SearchStrategy[str]:
    """JSON that this type takes, most of the time."""
    known = TAKEN[annotation]
    special = {
        int: st.integers(-(2**63), 2**63).map(str),
        float: st.floats(allow_nan=False, allow_infinity=False).map(repr)
        | st.from_regex(NUMBERS, fullmatch=True),
        str: st.text(max_size=5).map(json.dumps) | st.sampled_from(STRINGS),
        datetime: st.datetimes(timezones=st.none() | st.just(UTC)).map(lambda x: f'"{x.isoformat()}"'),
        Decimal: st.decimals().map(lambda x: f'"{x}"'),
        bytes: st.binary(max_size=4).map(lambda x: json.dumps(b64encode(x).decode())),
    }
    return st.sampled_from(known) | special.get(annotation, st.sampled_from(known))


@attrs.frozen
class Sample:
    """An annotation, and documents for it."""

    annotation: Any
    documents: st.SearchStrategy[str]


def scalars() -> st.SearchStrategy[Sample]:
    return st.sampled_from(SCALARS).map(lambda x: Sample(x, fitting(x)))


def seldom(one: st.SearchStrategy[Any], other: st.SearchStrategy[Any], times: int) -> st.SearchStrategy[Any]:
    return st.sampled_from([*[other] * times, one]).flatmap(lambda x: x)


def perhaps_wrong(documents: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    # Not one_of(), which counts equal strategies once.
    return seldom(TOKENS, documents, 30)


@st.composite
def collections(draw: Callable[..., Any], inner: st.SearchStrategy[Sample]) -> Sample:
    one, other = draw(inner), draw(scalars())
    part, second = perhaps_wrong(one.documents), perhaps_wrong(other.documents)
    kind = draw(st.sampled_from(["list", "tuple", "pair", "set", "dict", "optional"]))
    if kind == "pair":
        pair = st.tuples(part, second).map(lambda x: f"[{x[0]},{x[1]}]")
        return Sample(tuple[one.annotation, other.annotation], pair)
    if kind == "set":
        return Sample(frozenset[other.annotation], arrays(second))
    if kind == "dict":
        return Sample(dict[str, one.annotation], objects(st.lists(st.tuples(keys(), part), max_size=4)))
    if kind == "optional":
        return Sample(Optional[one.annotation], st.just("null") | part)  # noqa: UP045 (it may be None)
    return Sample(list[one.annotation] if kind == "list" else tuple[one.annotation, ...], arrays(part))


def keys() -> st.SearchStrategy[str]:
    return st.text(max_size=3).map(json.dumps) | st.sampled_from(['"a"', r'"\u0061"'])


def arrays(part: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(part, max_size=4).map(lambda x: f"[{','.join(x)}]")


def objects(items: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return items.map(lambda x: f"{{{','.join(f'{k}:{v}' for k, v in x)}}}")


@st.composite
def records(draw: Callable[..., Any], inner: st.SearchStrategy[Sample]) -> Sample:
    """A Record of one to four fields, some with defaults, perhaps with a base; its documents lack some."""
    names = draw(
        st.lists(st.sampled_from(["a", "b", "_c", "class_", "f0", "ä"]), min_size=1, max_size=4, unique=True)
    )
    fields = {x: draw(inner) for x in names}
    bases = (
        draw(st.sampled_from([Record, type("Base", (Record,), {"__annotations__": {"z": int}, "z": 1})])),
    )
    namespace: dict[str, Any] = {"__annotations__": {x: y.annotation for x, y in fields.items()}}
    optional = draw(st.sets(st.sampled_from(names)))
    namespace |= {x: draw(st.sampled_from([None, attrs.Factory(list)])) for x in optional}
    if draw(st.sampled_from([False] * 4 + [True])):
        namespace["__attrs_post_init__"] = lambda self: None
    pairs = [st.tuples(st.just(json.dumps(x)), perhaps_wrong(y.documents)) for x, y in fields.items()]
    extra = st.tuples(st.sampled_from(['"z"', '"more"', *map(json.dumps, names)]), TOKENS)
    full = st.tuples(*pairs).map(list)
    documents = seldom(st.tuples(full, extra).map(lambda x: [*x[0], x[1]]), full, 12)
    documents = seldom(full.map(lambda x: x[1:]), documents, 12)
    return Sample(type("Made", bases, namespace), objects(documents.flatmap(st.permutations)))


def record_classes() -> st.SearchStrategy[Sample]:
    return records(st.recursive(scalars(), lambda x: collections(x) | records(x), max_leaves=4))


@st.composite
def mutated(draw: Callable[..., Any], documents: st.SearchStrategy[str]) -> bytes:
    """A document with a few bytes changed, put in or taken out."""
    payload = draw(documents).encode()
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(payload)))
        piece = draw(
            st.sampled_from([b"", *(bytes([x]) for x in b'0123456789-+.eE"\\{}[]:,untf \n\0\xff\xc3')])
        )
        payload = payload[:at] + piece + payload[at + draw(st.integers(0, 1)) :]
    return payload


@settings(max_examples=settings.default.max_examples // 2, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_both_ways_agree_on_every_document(data: st.DataObject) -> None:
    generated = data.draw(record_classes())
    quick = quick_reader(generated.annotation)
    assert quick is not None
    both, general = codecs_of(generated.annotation)
    for payload in data.draw(st.lists(mutated(generated.documents), min_size=1, max_size=8)):
        expected = outcome(general, payload)
        assert outcome(both, payload) == expected
        try:
            found = quick(payload)
        except Exception:  # then the general way decides, as above
            continue
        assert exactly(found) == expected


def quick_or_not(annotation: Any, converter: Any = None) -> bool:
    return quick_reader(record_of(annotation), converter) is not None


@pytest.mark.parametrize(
    "annotation", [Any, dict, list, list[Any], Item | int, dict[int, str], Tree, tuple[()]]
)
def test_types_that_are_not_told_apart_by_a_parser_are_read_the_general_way(annotation: Any) -> None:
    assert not quick_or_not(annotation)
    assert not quick_or_not(dict[str, list[annotation]])


@pytest.mark.parametrize(
    "annotation", [int, str, datetime, UUID, list[int], int | None, Color, Item, dict[str, int]]
)
def test_a_users_hook_is_never_passed_over(annotation: Any) -> None:
    converter = make_converter()
    if annotation in (list[int], dict[str, int]):
        converter.register_structure_hook_func(lambda x: x == annotation, lambda value, _: ("mine", value))
    else:
        converter.register_structure_hook(annotation, lambda value, _: ("mine", value))
    assert not quick_or_not(annotation, converter)
    assert not quick_or_not(list[tuple[str, annotation]], converter)
    codec = RecordCodec(record_of(annotation), FastJSONSerializer(), converter)
    assert codec.decode([b"data", b'{"x":null}']).x == ("mine", None)


def test_a_form_that_msgspec_does_not_know_is_read_the_general_way() -> None:
    @trait(msgspec_read=lambda _: MsgspecRead(list[int] | set[int], str))
    def hook(value: Any) -> str:
        return str(value)

    with pytest.raises(TypeError):
        msgspec.json.Decoder(list[int] | set[int])
    assert msgspec_reader(hook, msgspec) is None


def test_a_users_hook_for_keys_is_never_passed_over() -> None:
    converter = make_converter()
    converter.register_structure_hook(str, lambda value, _: value.upper())
    codec = RecordCodec(record_of(dict[str, int]), FastJSONSerializer(), converter)
    assert codec.decode([b"data", b'{"x":{"a":1}}']).x == {"A": 1}


def test_a_users_hook_for_the_record_is_never_passed_over() -> None:
    converter = make_converter()
    converter.register_structure_hook(Item, lambda value, _: Item(price=len(value)))
    codec = RecordCodec(Item, FastJSONSerializer(), converter)
    assert codec.decode([b"data", b'{"price":5}']) == Item(price=1)


@pytest.mark.parametrize("compressor", [Gzip(), LZ4()], ids=repr)
def test_compressed_entries_are_read_at_once_too(compressor: Compressor) -> None:
    codec = RecordCodec(Item, FastJSONSerializer(compressor), make_converter())
    assert codec.decode(codec.encode(Item(price=1))) == Item(price=1)
    with pytest.raises(DecodeError, match=r"^price: expected int, got str '1'"):
        codec.decode([b"data", compressor.compress(b'{"price":"1"}')])
    with pytest.raises(DecodeError, match=r"^data: FastJSONSerializer cannot read it: "):
        codec.decode([b"data", b'{"price":1}'])


def test_the_json_may_stand_anywhere_in_the_entry() -> None:
    codec = RecordCodec(Item, FastJSONSerializer(), make_converter())
    assert codec.decode([b"trace", b"1", b"data", b'{"price":1}']) == Item(price=1)
    with pytest.raises(DecodeError, match=r"^data: the entry has no such field"):
        codec.decode([])


def test_an_error_has_no_trace_of_the_quicker_way() -> None:
    codec = RecordCodec(Item, FastJSONSerializer(), make_converter())
    with pytest.raises(DecodeError) as caught:
        codec.decode([b"data", b'{"price":"1"}'])
    assert caught.value.__cause__ is None
    assert "msgspec" not in repr(caught.value.__context__)


def test_the_quicker_way_rests_while_every_entry_is_left_to_the_other() -> None:
    tried: list[bytes] = []

    def parse(payload: bytes) -> bytes:
        tried.append(payload)
        if payload == b"new":
            raise ValueError(payload)
        return payload

    decode = quick_decoder(b"data", parse, lambda struct: struct, lambda fields: fields[1], 100)
    entries = [b"new"] * 7 + [b"old"] + [b"new"] * 1010
    assert [decode([b"data", x]) for x in entries] == entries
    assert len(tried) == 8 + 8 + 2


def test_without_msgspec_the_fast_serializer_reads_by_orjson_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", None)
    monkeypatch.setattr("runnel_trio._codec._serialization.imported", _extras.imported.__wrapped__)
    monkeypatch.setattr(_record_codec, "quick_decoder", None)
    codec = RecordCodec(Item, FastJSONSerializer(), make_converter())
    assert codec.decode(codec.encode(Item(price=1))) == Item(price=1)
