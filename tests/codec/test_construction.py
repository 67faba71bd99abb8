"""Records are read as their constructors make them, whether these are called or not."""

from __future__ import annotations

import dataclasses
import json
from datetime import date
from typing import Any, ClassVar, Self

import attrs
import msgspec
import pytest

from runnel_trio._codec import (
    DecodeError,
    FastJSONSerializer,
    JSONSerializer,
    Record,
    RecordCodec,
    make_converter,
)
from runnel_trio._codec._fast._msgspec_read import msgspec_reader
from runnel_trio._codec._hooks._construction import only_sets_fields
from runnel_trio._codec._hooks._lookup import reader


class Item(Record):
    price: int
    name: str = "none"


class Converted(Record):
    x: int = attrs.field(converter=lambda x: x + 1)


class Validated(Record):
    x: int = attrs.field(validator=attrs.validators.gt(0))


class Counted(Record):
    x: int
    made: ClassVar[int] = 0

    def __attrs_post_init__(self) -> None:
        type(self).made += 1


class Prepared(Record):
    x: int

    def __attrs_pre_init__(self) -> None:
        self.before = True


class Derived(Record):
    x: int
    twice: int = attrs.field(init=False, default=attrs.Factory(lambda self: self.x * 2, takes_self=True))


class Grown(Record):
    x: int
    twice: int = attrs.field(default=attrs.Factory(lambda self: self.x * 2, takes_self=True))


class Owned(Record):
    x: int

    def __init__(self, x: int, y: str = "own") -> None:
        self.__attrs_init__(x=x * 10)
        self.y = y


class Watched(Record):
    x: int

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, [value])


class Counting(type):
    def __call__(cls, **values: Any) -> Any:
        return super().__call__(**{k: v + 1 for k, v in values.items()})


class Metered(Record, metaclass=Counting):
    x: int


class Made(Record):
    x: int

    def __new__(cls, **_: Any) -> Self:
        made = super().__new__(cls)
        made.mark = 1
        return made


class Named(Record):
    _x: int = 3
    other: str = attrs.field(default="o", alias="another")


class Filled(Item):
    x: int = 5
    tags: list[str] = attrs.field(factory=list)
    on: date | None = None


@attrs.frozen
class Slotted:
    x: int
    _y: list[int] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        self._y.append(self.x)


@dataclasses.dataclass
class Data:
    x: int
    y: list[int] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.y.append(self.x)


CALLED = [Converted, Validated, Counted, Prepared, Derived, Owned, Watched, Metered, Made]
STORED = [Item, Named, Filled, Grown]


def quick_reader(cls: type[Any]) -> Any:
    steps = msgspec_reader(reader(make_converter(), cls), msgspec)
    assert steps is not None
    parse, build = steps
    return lambda payload: build(parse(payload))


def test_a_constructor_is_left_out_only_where_it_does_nothing_else() -> None:
    assert not [x for x in (*CALLED, Slotted, Data) if only_sets_fields(x)]
    assert [x for x in STORED if only_sets_fields(x)] == STORED


@pytest.mark.parametrize("serializer", [JSONSerializer(), FastJSONSerializer()], ids=repr)
@pytest.mark.parametrize("text", ['{"x":4}', '{"x":-1}', "{}", '{"_x":4,"other":"p","price":1}'])
@pytest.mark.parametrize("cls", [*CALLED, *STORED], ids=lambda x: x.__name__)
def test_a_record_is_read_as_its_constructor_makes_it(cls: type[Any], text: str, serializer: Any) -> None:
    names = {x.name: x.alias for x in attrs.fields(cls) if x.init}
    codec = RecordCodec(cls, serializer, make_converter())
    try:
        expected = cls(**{names[k]: v for k, v in json.loads(text).items() if k in names})
    except (TypeError, ValueError):
        with pytest.raises(DecodeError):
            codec.decode([b"data", text.encode()])
    else:
        found = codec.decode([b"data", text.encode()])
        assert type(found) is cls
        assert list(vars(found).items()) == list(vars(expected).items())


@pytest.mark.parametrize("cls", [Slotted, Data])
def test_other_classes_in_a_record_are_made_by_their_constructors(cls: type[Any]) -> None:
    holder = type("Holder", (Record,), {"__annotations__": {"x": list[cls]}})  # type: ignore[valid-type]  # a value
    expected = holder(x=[cls(x=1), cls(x=2, y=[3])])
    text = b'{"x":[{"x":1},{"x":2,"%s":[3]}]}' % ("_y" if cls is Slotted else "y").encode()
    codec = RecordCodec(holder, FastJSONSerializer(), make_converter())
    assert codec.decode([b"data", text]) == expected
    full = text.replace(b'{"x":1}', b'{"x":1,"_y":[]}' if cls is Slotted else b'{"x":1,"y":[]}')
    assert quick_reader(holder)(full) == expected


def test_a_factory_makes_a_new_value_for_each_record() -> None:
    quick = quick_reader(Filled)
    first, second = quick(b'{"price":1}'), quick(b'{"price":1}')
    assert first == second == Filled(price=1)
    assert first.tags is not second.tags


def test_nothing_is_put_on_users_classes() -> None:
    before = set(vars(Filled))
    quick_reader(Filled)
    assert set(vars(Filled)) == before
