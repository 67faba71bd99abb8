"""Users' own hooks on the converter are used in both directions, and their failures find their path."""

from __future__ import annotations

import decimal
import functools
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import Any, NewType

import attrs
import cattrs
import pytest

from runnel_trio._codec import (
    DecodeError,
    FastJSONSerializer,
    JSONSerializer,
    Record,
    RecordCodec,
    configure_converter,
    make_converter,
)
from runnel_trio.exceptions import Misconfigured, RecordInvalid
from runnel_trio.interfaces import Serializer

Cents = NewType("Cents", int)


class Visit(Record):
    source: IPv4Address
    at: datetime


class Trip(Record):
    visits: list[Visit]


class Price(Record):
    amount: Cents
    plain: int


class Either(Record):
    x: datetime | str


both = pytest.mark.parametrize("serializer", [JSONSerializer(), FastJSONSerializer()], ids=repr)


def with_addresses() -> cattrs.Converter:
    converter = make_converter()
    converter.register_unstructure_hook(IPv4Address, lambda x: x.exploded)
    converter.register_structure_hook(IPv4Address, lambda value, _: IPv4Address(value))
    return converter


@both
def test_a_hook_for_another_type(serializer: Serializer) -> None:
    codec = RecordCodec(Trip, serializer, with_addresses())
    trip = Trip(visits=[Visit(source=IPv4Address("10.0.0.1"), at=datetime(2024, 5, 1, tzinfo=UTC))])
    assert codec.encode(trip)[1] == b'{"visits":[{"source":"10.0.0.1","at":"2024-05-01T00:00:00Z"}]}'
    assert codec.decode(codec.encode(trip)) == trip


@both
def test_its_failure_is_found_and_kept_as_the_cause(serializer: Serializer) -> None:
    codec = RecordCodec(Trip, serializer, with_addresses())
    with pytest.raises(RecordInvalid) as wrong:
        codec.encode(Trip(visits=[Visit(source="10.0.0.1", at=datetime(2024, 5, 1))]))  # type: ignore[arg-type]  # wrong
    assert (wrong.value.path, wrong.value.reason) == (
        "visits[0].source",
        "AttributeError: 'str' object has no attribute 'exploded'",
    )
    assert isinstance(wrong.value.__cause__, AttributeError)
    with pytest.raises(DecodeError) as bad:
        codec.decode([b"data", b'{"visits":[{"source":"10.0.0.256","at":"2024-05-01T00:00:00"}]}'])
    assert bad.value.field == "visits[0].source"
    assert bad.value.reason.startswith("AddressValueError: ")


@both
def test_a_hook_replaces_the_librarys(serializer: Serializer) -> None:
    converter = make_converter()
    converter.register_unstructure_hook(datetime, lambda x: x.timestamp())
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromtimestamp(value, UTC))
    cls = type("Event", (Record,), {"__annotations__": {"at": datetime}})
    codec = RecordCodec(cls, serializer, converter)
    event = cls(at=datetime(2024, 5, 1, tzinfo=UTC))
    assert codec.encode(event) == (b"data", b'{"at":1714521600.0}')
    assert codec.decode(codec.encode(event)) == event


def test_a_hook_for_a_newtype_leaves_its_base_alone() -> None:
    converter = make_converter()
    converter.register_unstructure_hook(Cents, lambda x: f"{decimal.Decimal(x) / 100}")
    converter.register_structure_hook(Cents, lambda value, _: Cents(int(decimal.Decimal(value) * 100)))
    codec = RecordCodec(Price, JSONSerializer(), converter)
    assert codec.encode(Price(amount=Cents(150), plain=150))[1] == b'{"amount":"1.5","plain":150}'
    assert codec.decode([b"data", b'{"amount":"1.5","plain":150}']) == Price(amount=Cents(150), plain=150)


def test_hooks_make_an_ambiguous_union_possible() -> None:
    converter = make_converter()
    converter.register_unstructure_hook(
        datetime | str, lambda x: ["t", x.isoformat()] if isinstance(x, datetime) else ["s", x]
    )
    converter.register_structure_hook(
        datetime | str, lambda value, _: datetime.fromisoformat(value[1]) if value[0] == "t" else value[1]
    )
    codec = RecordCodec(Either, FastJSONSerializer(), converter)
    for value in (datetime(2024, 5, 1), "2024-05-01"):
        assert codec.decode(codec.encode(Either(x=value))) == Either(x=value)


def test_a_hook_for_the_record_itself() -> None:
    converter = make_converter()
    converter.register_unstructure_hook(Price, lambda x: [x.amount, x.plain])
    converter.register_structure_hook(Price, lambda value, cls: cls(amount=value[0], plain=value[1]))
    codec = RecordCodec(Price, JSONSerializer(), converter)
    assert codec.encode(Price(amount=Cents(1), plain=2)) == (b"data", b"[1,2]")
    assert codec.decode([b"data", b"[1,2]"]) == Price(amount=Cents(1), plain=2)
    with pytest.raises(RecordInvalid, match="expected Price, got Either"):
        codec.encode(Either(x=""))  # type: ignore[arg-type]  # the point of the test


def test_a_hook_that_asks_for_another_still_gets_a_string() -> None:
    """Although orjson is handed datetimes as they are."""

    @attrs.define
    class Stamp:
        at: datetime

    def factory(_: Any, converter: cattrs.Converter) -> Callable[[Any], Any]:
        inner = converter.get_unstructure_hook(datetime)
        return lambda x: "at " + inner(x.at)

    converter = make_converter()
    converter.register_unstructure_hook_factory(lambda t: t is Stamp, factory)
    converter.register_structure_hook(Stamp, lambda value, _: Stamp(datetime.fromisoformat(value[3:])))
    cls = type("Event", (Record,), {"__annotations__": {"stamp": Stamp, "at": datetime}})
    codec, event = (
        RecordCodec(cls, FastJSONSerializer(), converter),
        cls(stamp=Stamp(datetime.min), at=datetime.min),
    )
    assert codec.encode(event)[1] == b'{"stamp":"at 0001-01-01T00:00:00","at":"0001-01-01T00:00:00"}'
    assert codec.decode(codec.encode(event)) == event


def test_a_hook_in_one_direction_only_is_not_enough() -> None:
    converter = make_converter()
    converter.register_unstructure_hook(IPv4Address, str)
    with pytest.raises(Misconfigured, match=r"^Trip\.visits\[\]\.source: IPv4Address has no stored form"):
        RecordCodec(Trip, JSONSerializer(), converter)


def test_hooks_are_taken_when_the_codec_is_made() -> None:
    converter = with_addresses()
    codec = RecordCodec(Visit, JSONSerializer(), converter)
    before = codec.encode(Visit(source=IPv4Address("10.0.0.1"), at=datetime.min))
    converter.register_unstructure_hook(IPv4Address, lambda _: "other")
    assert codec.encode(Visit(source=IPv4Address("10.0.0.1"), at=datetime.min)) == before


def test_a_converter_of_ones_own_can_be_configured() -> None:
    converter = cattrs.Converter()
    configure_converter(converter)
    codec = RecordCodec(Price, JSONSerializer(), converter)
    assert codec.decode(codec.encode(Price(amount=Cents(1), plain=2))) == Price(amount=Cents(1), plain=2)
    with pytest.raises(DecodeError, match="plain: expected int"):
        codec.decode([b"data", b'{"amount":1,"plain":"2"}'])


def test_the_converter_serves_direct_calls_as_well() -> None:
    converter = make_converter()
    price = Price(amount=Cents(1), plain=2)
    assert converter.unstructure(price) == {"amount": 1, "plain": 2}
    assert converter.structure({"amount": 1, "plain": 2}, Price) == price
    assert converter.structure([1, 2], list[Cents]) == [1, 2]
    assert converter.structure(5, Cents) == 5


def test_codecs_of_one_converter_do_not_disturb_each_other() -> None:
    cls = type("Event", (Record,), {"__annotations__": {"at": datetime}})
    inner = type("Inner", (Record,), {"__annotations__": {"event": cls}})
    converter, event = make_converter(), cls(at=datetime(2024, 5, 1))
    expected = (b"data", b'{"at":"2024-05-01T00:00:00"}')
    for serializer in (FastJSONSerializer(), JSONSerializer(), FastJSONSerializer()):
        assert RecordCodec(cls, serializer, converter).encode(event) == expected
        assert converter.unstructure(event) == {"at": "2024-05-01T00:00:00"}
        assert converter.unstructure(inner(event=event)) == {"event": {"at": "2024-05-01T00:00:00"}}


def test_the_plain_form_shares_no_list_with_the_record() -> None:
    cls = type("Numbers", (Record,), {"__annotations__": {"short": list[int], "more": dict[str, int]}})
    numbers = cls(short=[1], more={"a": 1})
    plain = make_converter().unstructure(numbers)
    plain["short"].append(2)
    plain["more"].clear()
    assert numbers == cls(short=[1], more={"a": 1})


@both
def test_a_hook_that_wraps_ours_is_used(serializer: Serializer) -> None:
    converter = make_converter()
    ours = converter.get_structure_hook(datetime)

    @functools.wraps(ours)
    def in_the_first_year(value: Any, kind: Any) -> Any:
        return ours(value, kind).replace(year=1)

    converter.register_structure_hook(datetime, in_the_first_year)
    holder = type("Holder", (Record,), {"__annotations__": {"x": list[datetime]}})
    codec = RecordCodec(holder, serializer, converter)
    assert codec.decode([b"data", b'{"x":["2024-05-01T12:30:00"]}']).x == [datetime(1, 5, 1, 12, 30)]
