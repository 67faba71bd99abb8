"""Primitive records: each field of the record is a field of the Redis entry."""

from __future__ import annotations

import enum
from typing import Any, NewType

import attrs
import pytest

from runnel_trio._codec import DecodeError, JSONSerializer, Record, RecordCodec, make_converter
from runnel_trio.exceptions import Misconfigured, RecordInvalid

UserId = NewType("UserId", int)


class Action(enum.IntEnum):
    CLICK = 1


class UserAction(Record, primitive=True):
    user_id: UserId
    type: str


class Everything(Record, primitive=True):
    i: int = 0
    f: float = 0.0
    b: bool = False
    s: str = ""
    y: bytes = b""


class Afterwards(Record, primitive=True):
    user_id: Identifier


class Wrong(Record, primitive=True):
    amount: Amount


Identifier = NewType("Identifier", int)
Amount = list[int]


def codec_of(cls: type[Any], **options: Any) -> RecordCodec[Any]:
    return RecordCodec(cls, JSONSerializer(), make_converter(), **options)


def test_the_reference_example() -> None:
    codec, action = codec_of(UserAction), UserAction(user_id=UserId(12), type="x")
    assert codec.encode(action) == (b"user_id", b"12", b"type", b"x")
    assert codec.decode([b"user_id", b"12", b"type", b"x"]) == action


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ({"i": -(2**70)}, b"-1180591620717411303424"),
        ({"i": Action.CLICK}, b"1"),
        ({"f": 0.1}, b"0.1"),
        ({"f": 3}, b"3.0"),
        ({"f": float("-inf")}, b"-inf"),
        ({"b": True}, b"1"),
        ({"b": False}, b"0"),
        ({"s": "Zoë"}, "Zoë".encode()),
        ({"y": b"\x00\xff"}, b"\x00\xff"),
    ],
    ids=repr,
)
def test_the_stored_form_is_as_documented(values: dict[str, Any], stored: bytes) -> None:
    codec, record = codec_of(Everything), Everything(**values)
    encoded = codec.encode(record)
    assert dict(zip(encoded[::2], encoded[1::2], strict=True))[next(iter(values)).encode()] == stored
    assert codec.decode(encoded) == record


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("i", True, "expected int, got bool True"),
        ("i", "1", "expected int, got str '1'"),
        ("f", "1.5", "expected float, got str '1.5'"),
        ("f", True, "expected float, got bool True"),
        ("b", 1, "expected bool, got int 1"),
        ("s", b"a", "expected str, got bytes b'a'"),
        ("s", "\ud800", "UnicodeEncodeError: 'utf-8' codec can't encode"),
        ("y", "a", "expected bytes, got str 'a'"),
        ("y", None, "expected bytes, got None"),
    ],
)
def test_a_wrong_value_is_not_sent(name: str, value: Any, reason: str) -> None:
    with pytest.raises(RecordInvalid) as caught:
        codec_of(Everything).encode(Everything(**{name: value}))
    assert (caught.value.record, caught.value.path) == ("Everything", name)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        *(
            ("i", x, "expected int in decimal")
            for x in (b"", b"-", b"x", b"1.0", b" 1", b"1_0", b"+1", b"--1")
        ),
        *(("f", x, "expected float") for x in (b"", b"x", b" 1.0", b"1_0.0", b"1,5")),
        *(("b", x, "expected bool as 1 or 0") for x in (b"", b"2", b"true", b"01")),
        ("s", b"a\xff", r"expected UTF-8, got b'\xff' at byte 1"),
    ],
)
def test_a_wrong_entry_is_not_read(name: str, value: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        codec_of(Everything).decode([name.encode(), value])
    assert caught.value.field == name
    assert reason in caught.value.reason


def test_order_of_fields_does_not_matter_and_the_rest_is_ignored_or_forbidden() -> None:
    entry = [b"type", b"x", b"more\xff", b"y", b"user_id", b"1"]
    assert codec_of(UserAction).decode(entry) == UserAction(user_id=UserId(1), type="x")
    with pytest.raises(DecodeError, match="UserAction has no such field"):
        codec_of(UserAction, forbid_unknown=True).decode(entry)


def test_missing_fields_are_filled_or_named() -> None:
    assert codec_of(Everything).decode([b"i", b"5"]) == Everything(i=5)
    with pytest.raises(DecodeError, match=r"^type: missing, and it has no default"):
        codec_of(UserAction).decode([b"user_id", b"1"])
    with pytest.raises(DecodeError, match=r"^user_id: missing"):
        codec_of(UserAction).decode([b"data", b"{}"])
    with pytest.raises(DecodeError, match="in turn"):
        codec_of(UserAction).decode([b"user_id"])


def test_another_class_is_refused() -> None:
    with pytest.raises(RecordInvalid, match=r"^UserAction: expected UserAction, got Everything"):
        codec_of(UserAction).encode(Everything())


def test_children_are_primitive_unless_they_say_otherwise() -> None:
    class Child(UserAction):
        page: str = ""

    class Rich(UserAction, primitive=False):
        tags: list[str] = attrs.field(factory=list)

    child = Child(user_id=UserId(1), type="x", page="y")
    assert codec_of(Child).encode(child) == (b"user_id", b"1", b"type", b"x", b"page", b"y")
    assert codec_of(Rich).encode(Rich(user_id=UserId(1), type="x"))[0] == b"data"
    with pytest.raises(Misconfigured, match=r"Child2\.tags: list"):
        type("Child2", (UserAction,), {"__annotations__": {"tags": list}})


@pytest.mark.parametrize("annotation", [list[int], int | None, dict, UserAction, Any, Action])
def test_another_type_is_refused_when_the_class_is_made(annotation: Any) -> None:
    with pytest.raises(Misconfigured) as caught:
        type("Flat", (Record,), {"__annotations__": {"ok": int, "field": annotation}}, primitive=True)
    name = (
        annotation.__name__
        if type(annotation) in (type, enum.EnumType)
        else str(annotation).removeprefix("typing.")
    )
    assert str(caught.value).startswith(f"Flat.field: {name} cannot be a field of a primitive record")


def test_a_type_whose_name_comes_later_is_checked_at_first_use() -> None:
    assert codec_of(Afterwards).encode(Afterwards(user_id=Identifier(1))) == (b"user_id", b"1")
    with pytest.raises(Misconfigured, match=r"Wrong.amount: list\[int\] cannot be a field of a primitive"):
        codec_of(Wrong)
