"""`Record`: an attrs class made in place, from plain annotations."""

from __future__ import annotations

import sys
import types
from datetime import datetime
from typing import Any, ClassVar, NewType

import attrs
import pytest

from runnel_trio._codec import JSONSerializer, Record, RecordCodec, make_converter
from runnel_trio.exceptions import Misconfigured

UserId = NewType("UserId", int)


class Node(Record):
    value: int
    children: list[Node] = attrs.field(factory=list)
    later: Later | None = None


class Later(Record):
    kind: ClassVar[str] = "later"
    at: datetime


def codec_of(cls: type[Any], **options: Any) -> RecordCodec[Any]:
    return RecordCodec(cls, JSONSerializer(), make_converter(), **options)


def test_the_reference_example_is_an_attrs_class() -> None:
    class Order(Record):
        order_id: int
        created_at: datetime
        amount: int
        item_ids: list[int]

    order = Order(order_id=1, created_at=datetime(2024, 5, 1), amount=2, item_ids=[3])
    assert attrs.has(Order)
    assert order == Order(order_id=1, created_at=datetime(2024, 5, 1), amount=2, item_ids=[3])
    assert order != attrs.evolve(order, amount=3)
    assert repr(order) == (
        "Order(order_id=1, created_at=datetime.datetime(2024, 5, 1, 0, 0), amount=2, item_ids=[3])"
    )
    with pytest.raises(TypeError, match="positional"):
        Order(1, datetime(2024, 5, 1), 2, [3])  # type: ignore[misc]  # the point of the test
    codec = codec_of(Order)
    assert codec.decode(codec.encode(order)) == order


def test_the_class_is_not_replaced() -> None:
    seen = []

    class Watching(Record):
        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            seen.append(cls)

    class Child(Watching, primitive=True):
        x: int

        def cell(self) -> Any:
            return __class__  # type: ignore[name-defined]

    assert seen == [Child]
    assert Child(x=1).cell() is Child
    assert Child._primitive


def test_a_child_without_default_may_follow_a_base_with_one() -> None:
    class Base(Record):
        kind: str = "base"

    class Child(Base):
        size: int

    codec = codec_of(Child)
    assert codec.decode(codec.encode(Child(size=1))) == Child(kind="base", size=1)
    assert [x.name for x in attrs.fields(Child)] == ["kind", "size"]


def test_attrs_fields_keep_their_converters_and_validators() -> None:
    class Checked(Record):
        size: int = attrs.field(validator=attrs.validators.gt(0))
        tags: list[str] = attrs.field(factory=list)

    with pytest.raises(ValueError, match="'size' must be > 0"):
        Checked(size=0)
    assert Checked(size=1).tags is not Checked(size=1).tags


@pytest.mark.parametrize(
    ("default", "factory"),
    [
        ([], "list"),
        ({}, "dict"),
        (set(), "set"),
        ([1], "lambda: [1]"),
        (Later(at=datetime(2024, 5, 1)), "lambda"),
    ],
    ids=repr,
)
def test_a_mutable_default_is_refused(default: Any, factory: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        type("Basket", (Record,), {"__annotations__": {"items": list}, "items": default})
    assert str(caught.value).startswith(f"Basket.items: the default {default!r} would be shared")
    assert f"attrs.field(factory={factory}" in str(caught.value)


def test_a_field_needs_an_annotation() -> None:
    with pytest.raises(Misconfigured, match="Basket.*Annotate it"):
        type("Basket", (Record,), {"items": attrs.field()})


def test_a_record_may_contain_itself_and_what_is_declared_later() -> None:
    codec = codec_of(Node)
    tree = Node(value=1, children=[Node(value=2, later=Later(at=datetime(2024, 5, 1)))])
    assert codec.decode(codec.encode(tree)) == tree
    with pytest.raises(ValueError, match=r"Node.children\[0\].children\[0\].value: expected int"):
        codec.encode(Node(value=1, children=[Node(value=2, children=[Node(value="x")])]))  # type: ignore[arg-type]  # wrong


def test_annotations_that_are_strings_may_name_local_classes() -> None:
    class Local(Record):
        x: int

    class Holder(Record):
        one: Local
        many: dict[str, list[Local]]

    codec = codec_of(Holder)
    holder = Holder(one=Local(x=1), many={"a": [Local(x=2)]})
    assert codec.decode(codec.encode(holder)) == holder


def test_a_name_that_never_appears_is_reported_at_first_use() -> None:
    class Holder(Record):
        one: Nowhere  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(
        Misconfigured, match="Holder: an annotation of Holder cannot be resolved: name 'Nowhere'"
    ):
        codec_of(Holder)


def test_each_base_is_resolved_where_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    head = "from __future__ import annotations\nfrom runnel_trio._codec import Record\n"
    base = _module(monkeypatch, "base_module", head + "Size = int\nclass Base(Record):\n    size: Size\n")
    child = "from base_module import Base\nSize = str\nclass Child(Base):\n    name: Size\n"
    found = _module(monkeypatch, "child_module", head + child)
    assert base.Size is int
    assert {x.name: x.type for x in attrs.fields(found.Child)} == {"size": int, "name": str}
    codec = codec_of(found.Child)
    assert codec.decode(codec.encode(found.Child(size=1, name="a"))) == found.Child(size=1, name="a")


def _module(monkeypatch: pytest.MonkeyPatch, name: str, source: str) -> Any:
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(source, vars(module))
    return module


def test_unknown_fields_are_ignored_and_missing_ones_filled() -> None:
    class Old(Record):
        order_id: int
        gone: str = ""

    class New(Record):
        order_id: int
        currency: str = "EUR"
        tags: list[str] = attrs.field(factory=lambda: ["new"])
        total: int = attrs.field(default=attrs.Factory(lambda self: self.order_id * 2, takes_self=True))

    stored = codec_of(Old).encode(Old(order_id=1))
    assert codec_of(New).decode(stored) == New(order_id=1, currency="EUR", tags=["new"], total=2)
    assert codec_of(Old).decode(codec_of(New).encode(New(order_id=2))) == Old(order_id=2)


def test_unknown_fields_can_be_forbidden_at_every_depth() -> None:
    class Inner(Record):
        x: int = 0

    class Outer(Record):
        inner: Inner
        either: Inner | int = 5

    codec = codec_of(Outer, forbid_unknown=True)
    assert codec.decode(codec.encode(Outer(inner=Inner(x=1), either=Inner()))).either == Inner()
    with pytest.raises(Exception, match=r"^more: Outer has no such field; it has inner"):
        codec.decode([b"data", b'{"inner":{"x":1},"either":5,"more":2}'])
    with pytest.raises(Exception, match=r"^inner\.more: Inner has no such field"):
        codec.decode([b"data", b'{"inner":{"more":1}}'])


def test_a_missing_field_without_default_is_named() -> None:
    class Order(Record):
        order_id: int
        amount: int

    with pytest.raises(Exception, match=r"^amount: missing, and it has no default"):
        codec_of(Order).decode([b"data", b'{"order_id":1}'])


def test_many_documents_become_records_with_hooks_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Place(Record):
        number: int

    codec = RecordCodec(Place, JSONSerializer(), make_converter())
    assert codec.from_plain({"number": 1}) == Place(number=1)
    monkeypatch.setattr(codec.converter, "copy", None)
    assert codec.from_plain({"number": 2}) == Place(number=2)
