"""Entries that nobody who uses this library would write: for the tests of the suite, and for hours of fuzzing."""

from __future__ import annotations

import enum
import gzip
import json
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import lz4.frame
from hypothesis import strategies as st

from runnel_trio import LZ4, FastJSONSerializer, Gzip, JSONSerializer, Record
from runnel_trio._codec import RecordCodec, make_converter
from runnel_trio.interfaces import Serializer

#: Small, so that what is too large is made in no time.
MOST = 1 << 16


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: float = 0.0


class Node(Record):
    """Contains itself: as deep as its JSON."""

    name: str
    children: list[Node]


class Everything(Record):
    number: int
    share: float
    flag: bool
    text: str
    blob: bytes
    when: datetime
    day: date
    clock: time
    lasted: timedelta
    price: Decimal
    uid: UUID
    colour: Colour
    point: Point
    maybe: int | None
    words: tuple[str, ...]
    days: set[date]
    table: list[list[int]]
    by_name: dict[str, float]
    by_number: dict[int, str]
    anything: Any


class Plain(Record, primitive=True):
    user: str
    n: int = 0
    share: float = 0.0
    flag: bool = False
    blob: bytes = b""


EVERYTHING = Everything(
    number=1,
    share=0.5,
    flag=True,
    text="Zoë",
    blob=b"\xff\x00",
    when=datetime(2026, 1, 2, 3, 4),
    day=date(2026, 1, 2),
    clock=time(3, 4),
    lasted=timedelta(seconds=1.5),
    price=Decimal("1.10"),
    uid=UUID(int=7),
    colour=Colour.RED,
    point=Point(1, 2.0),
    maybe=None,
    words=("a", "b"),
    days={date(2026, 1, 2)},
    table=[[1], [2, 3]],
    by_name={"a": 1.0},
    by_number={1: "a"},
    anything={"a": [None]},
)
RECORDS: list[Record] = [
    EVERYTHING,
    Node(name="a", children=[Node(name="b", children=[])]),
    Plain(user="Ada", n=7),
]
SERIALIZERS: list[Serializer] = [
    kind(compressor)
    for kind in (JSONSerializer, FastJSONSerializer)
    for compressor in (None, Gzip(level=1), LZ4())
]


def codec_of(record: type[Record], serializer: Serializer, *, strict: bool = False) -> RecordCodec[Any]:
    return RecordCodec(record, serializer, make_converter(), forbid_unknown=strict, max_event_bytes=MOST)


#: As the JSON of numbers, texts and names, which a JSON library of Python would not write.
WORDS = st.sampled_from(
    [
        *("NaN", "Infinity", "-Infinity", "1e999", "-1e-999", "1E+4", "-0", "-0.0", "01", "1.", "0x1", "+1"),
        *("9" * 19, "9" * 30, "9" * 5000, "-" + "9" * 400, "1." + "0" * 500 + "1", "true", "null", "nil"),
        *(
            r'"\ud800"',
            r'"\udfff\ud800"',
            r'"\ud83d\ude00"',
            r'"\u0000"',
            '"\x01"',
            '"\x1b[2J"',
            '"a\nb"',
            '"',
            "'a'",
        ),
        *('"9999-99-99"', '"P9999999999999999999D"', '"PT1e9S"', '"1e999999999999"', '"sNaN"', '"=="', '"{"'),
        *('"2026-01-02T03:04:05.123456789Z"', '"24:00:00"', '"-1-01-01"', "[]", "{}", "[[]]", '{"":0}', ""),
    ]
)
VALUES = st.recursive(
    WORDS | st.integers().map(json.dumps) | st.floats().map(json.dumps) | st.text().map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda x: f"[{','.join(x)}]")
        | st.dictionaries(st.text(max_size=3).map(json.dumps), inner, max_size=3).map(
            lambda x: "{" + ",".join(f"{a}:{b}" for a, b in x.items()) + "}"
        )
    ),
    max_leaves=12,
)
DEEP = st.builds(
    lambda before, after, inner, depth: before * depth + inner + after * depth,
    st.sampled_from(["[", '{"a":', '{"name":"a","children":[']),
    st.sampled_from(["]", "}", "]}", ""]),
    VALUES,
    st.integers(1, 2500),
)


def changed(record: type[Record]) -> st.SearchStrategy[bytes]:
    """The JSON of a good record, in which some fields are others, or not there, or more than there should be."""
    good = next(x for x in RECORDS if type(x) is record)
    plain = codec_of(record, JSONSerializer()).plain(good)
    names = st.sampled_from([*plain, "name", "more", "$type", "_type", ""]) | st.text(max_size=4)
    return st.builds(
        lambda others, gone: (
            "{"
            + ",".join(
                f"{json.dumps(k)}:{v}"
                for k, v in {**{k: json.dumps(v) for k, v in plain.items() if k != gone}, **others}.items()
            )
            + "}"
        ).encode(errors="surrogatepass"),
        st.dictionaries(names, VALUES, max_size=3),
        names | st.just("nothing"),
    )


def documents(record: type[Record]) -> st.SearchStrategy[bytes]:
    """What a serializer may be given to read."""
    return st.one_of(
        changed(record),
        VALUES.map(lambda x: x.encode(errors="surrogatepass")),
        DEEP.map(lambda x: x.encode(errors="surrogatepass")),
        st.binary(max_size=200),
        st.just(b" " * (MOST + 1)),
    )


def _bomb(data: bytes) -> bytes:
    return data + b" " * (4 * MOST)


def payloads(record: type[Record]) -> st.SearchStrategy[bytes]:
    """What may stand in the field ``data``: compressed in one way or another, whole or damaged."""
    document = documents(record)
    whole = st.one_of(
        document,
        document.map(gzip.compress),
        document.map(lz4.frame.compress),
        document.map(lambda x: lz4.frame.compress(x, block_linked=True, content_checksum=True)),
        document.map(_bomb).map(gzip.compress),
        document.map(_bomb).map(lz4.frame.compress),
        document.map(lambda x: b"".join(map(gzip.compress, (x[:3], b"", x[3:])))),
        document.map(lambda x: gzip.compress(x) + b"\0\0" + gzip.compress(b" ")),
        document.map(lambda x: lz4.frame.compress(x) * 2),
    )
    return whole | st.builds(
        _damaged, whole, st.integers(0, 1 << 20), st.binary(max_size=4), st.integers(0, 4)
    )


def _damaged(data: bytes, at: int, other: bytes, less: int) -> bytes:
    at %= len(data) + 1
    return data[:at] + other + data[at + less :]


def _paired(fields: dict[bytes, bytes]) -> list[bytes]:
    return [x for pair in fields.items() for x in pair]


def entries(record: type[Record]) -> st.SearchStrategy[list[bytes]]:
    """Fields and values in turn."""
    names = st.sampled_from([b"data", b":trace", b"user", b"n", b"share", b"flag", b"blob"]) | st.binary(
        max_size=5
    )
    value = payloads(record) | st.sampled_from(
        [b"1", b"0", b"1e5", b"nan", b"9" * 5000, b" 1", b"\xff", b"\xed\xa0\x80"]
    )
    given = st.dictionaries(names, value, max_size=7).map(_paired)
    plain = st.tuples(*[value] * 5).map(
        lambda x: [b"user", x[0], b"n", x[1], b"share", x[2], b"flag", x[3], b"blob", x[4]]
    )
    return st.one_of(
        payloads(record).map(lambda x: [b"data", x]), given, plain, given.map(lambda x: [b"data", b"", *x])
    )
