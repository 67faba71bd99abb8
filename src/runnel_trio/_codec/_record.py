"""`Record`: the class that users declare, turned into an attrs class in place."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

import attrs

from runnel_trio._report._words import described
from runnel_trio.exceptions import Misconfigured

__all__ = [
    "PRIMITIVES",
    "Record",
    "alias_of",
    "check_primitive",
    "check_record",
    "resolve_annotations",
    "unwrapped",
]

PRIMITIVES = (int, float, bool, str, bytes)


@typing.dataclass_transform(kw_only_default=True, field_specifiers=(attrs.field,))
class Record:
    """Base class of a stream's records: declare fields by annotation, as in a dataclass.

    A subclass becomes an attrs class: keyword-only constructor, equality by value, a readable ``repr``. Write
    defaults as usual (``amount: int = 0``), mutable ones with a factory
    (``tags: list[str] = attrs.field(factory=list)``). Values are checked against the annotations when a
    record is sent and when it is read, not in the constructor.

    Records can be nested. With ``primitive=True``, every field of the record is stored as a separate field of
    the Redis entry, which Redis stores compactly and every Redis client can read. Only int, float, bool, str
    and bytes are allowed then. Subclasses of a primitive record are primitive too.

    Raises:
        Misconfigured: at the definition of the class: a mutable default, a field without annotation, or a
            type that a primitive record cannot hold.

    Example:
        >>> from datetime import datetime
        >>> from runnel_trio._codec import Record
        >>> class Order(Record):
        ...     order_id: int
        ...     created_at: datetime
        ...     item_ids: list[int]
        ...     note: str = ""
        >>> Order(order_id=1, created_at=datetime(2024, 5, 1), item_ids=[7, 8])
        Order(order_id=1, created_at=datetime.datetime(2024, 5, 1, 0, 0), item_ids=[7, 8], note='')

        >>> class UserAction(Record, primitive=True):
        ...     user_id: int
        ...     type: str
    """

    # Not annotated, because tools that resolve a record's annotations would look up these names in the
    # module where the class is public.
    _primitive = False

    def __init_subclass__(cls, *, primitive: bool | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if primitive is not None:
            cls._primitive = primitive
        try:
            # Without slots attrs changes the class in place; with them it would be replaced by a copy.
            attrs.define(cls, slots=False, kw_only=True, auto_attribs=True)
        except attrs.exceptions.UnannotatedAttributeError as error:
            raise Misconfigured(f"{cls.__name__}: {error}. Annotate it, as in `name: int`.") from None
        _refuse_mutable_defaults(cls)
        # The locals around the class statement, for string annotations that name local classes.
        if resolve_annotations(cls, sys._getframe(1).f_locals):
            check_primitive(cls)


def check_record(record: Any) -> None:
    """Refuse anything that is not a record class.

    Raises:
        Misconfigured: the message says what it is, and what to declare.
    """
    if isinstance(record, type) and issubclass(record, Record) and record is not Record:
        return
    if record is Record:
        raise Misconfigured(
            "Record has no fields: declare a class of your own, as in `class Order(Record):`."
        )
    if isinstance(record, Record):
        name = type(record).__name__
        raise Misconfigured(f"record={name}(…) is one record: give its class, {name}.")
    if isinstance(record, str):
        raise Misconfigured(f"record={record!r} is a text: give the class itself, without quotes.")
    if typing.get_origin(record) in {typing.Union, types.UnionType}:
        raise Misconfigured(
            f"record={record}: a stream has records of one class, and no union. Declare a stream for each, "
            "or one class with a field that says which it is."
        )
    if isinstance(record, type) and typing.get_origin(record) is None:
        name = record.__name__
        raise Misconfigured(f"{name} is not a Record: declare it as `class {name}(Record):`.")
    raise Misconfigured(f"record={record!r} is no class of records: declare one as `class Order(Record):`.")


def _refuse_mutable_defaults(cls: type[Any]) -> None:
    for field in attrs.fields(cls):
        default = field.default
        if field.inherited or default is attrs.NOTHING or type(default).__hash__ is not None:
            continue
        empty = default in ([], {}, set())
        factory = type(default).__name__ if empty else f"lambda: {described(default)}"
        raise Misconfigured(
            f"{cls.__name__}.{field.name}: the default {described(default)} would be shared by all records; "
            f"write attrs.field(factory={factory})."
        )


def resolve_annotations(cls: type[Any], names: dict[str, Any] | None = None) -> bool:
    """Turn string annotations into types, in place; returns False if a name is not known yet.

    Each class in the inheritance is resolved in its own module, so that a name means what the author of that
    class meant.

    Args:
        cls: an attrs class.
        names: looked up before the globals of the module that defines ``cls``.
    """
    if _is_resolved(cls):
        return True
    own = {**(names or {}), cls.__name__: cls}
    seen: set[str] = set()
    for base in cls.__mro__:
        annotations = _own_annotations(base)
        fields = [x for x in attrs.fields(cls) if x.name in annotations and x.name not in seen]
        seen.update(annotations)
        if not fields or _is_resolved(base):
            continue
        holder = type(base.__name__, (), {"__annotations__": annotations, "__module__": base.__module__})
        try:
            attrs.resolve_types(holder, localns=own if base is cls else {base.__name__: base}, attribs=fields)
        except NameError:
            return False
    # attrs' own mark. Without it, attrs and cattrs would look the names up again, without `names`.
    cls.__attrs_types_resolved__ = cls
    return True


def _own_annotations(cls: type[Any]) -> Mapping[str, Any]:
    """The annotations of this class without its bases, as far as their names are known now."""
    if sys.version_info >= (3, 14):  # PEP 649: computed by a function of the class, and not always stored
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    found: Mapping[str, Any] = cls.__dict__.get("__annotations__", {})
    return found


def _is_resolved(cls: type[Any]) -> bool:
    return cls.__dict__.get("__attrs_types_resolved__") is cls


def check_primitive(cls: type[Any]) -> None:
    """Refuse a primitive record with a field of another type.

    Raises:
        Misconfigured: the message names the class, the field and its type.
    """
    if not cls._primitive:
        return
    for field in attrs.fields(cls):
        if unwrapped(field.type) not in PRIMITIVES:
            raise Misconfigured(
                f"{cls.__name__}.{field.name}: {_type_name(field.type)} cannot be a field of a primitive "
                "record (only int, float, bool, str and bytes can); choose one of them or leave out "
                "primitive=True."
            )


def alias_of(annotation: Any) -> Any:
    """The type that a ``NewType``, an ``Annotated`` or a ``type`` statement stands for; None for others."""
    if isinstance(annotation, typing.NewType):
        return annotation.__supertype__
    if typing.get_origin(annotation) is typing.Annotated:
        return annotation.__origin__
    return getattr(annotation, "__value__", None) if type(annotation).__name__ == "TypeAliasType" else None


def unwrapped(annotation: Any) -> Any:
    """The type behind any number of aliases."""
    while (target := alias_of(annotation)) is not None:
        annotation = target
    return annotation


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
