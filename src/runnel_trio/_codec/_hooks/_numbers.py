"""Hooks for int, float, bool, str and None: JSON's own types, checked strictly.

Two kinds of numbers have no JSON form that every reader understands, and are stored as strings: ints beyond
64 bits signed, and floats that are not finite.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Collection
from types import ModuleType
from typing import Annotated, Any

from runnel_trio._codec._fast._precheck import Precheck, encodable
from runnel_trio._codec._hooks._traits import Hook, Mismatch, MsgspecRead, refuse, trait

__all__ = [
    "INT_MAX",
    "INT_MIN",
    "NATIVE",
    "exact_float",
    "exact_int",
    "int64",
    "read_bool",
    "read_float",
    "read_int",
    "read_none",
    "read_str",
    "write_bool",
    "write_float",
    "write_int",
    "write_none",
    "write_str",
]

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
_INT64 = f"{{v}}.__class__ is int and {INT_MIN} <= {{v}} <= {INT_MAX}"
# Below this length a loop is quicker than the two passes at C speed.
_SHORT = 8
_BIG = re.compile(r"-?[1-9][0-9]{18,}")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}

_all_ints = frozenset({int}).issuperset
_all_floats = frozenset({float}).issuperset
_all_bools = frozenset({bool}).issuperset
_all_strs = frozenset({str}).issuperset


def plain_ints(values: Collection[Any]) -> bool:
    """Whether all are ints of at most 64 bits."""
    if len(values) < _SHORT:
        for x in values:  # noqa: SIM110 (all() over a generator takes twice as long)
            if x.__class__ is not int or not INT_MIN <= x <= INT_MAX:
                return False
        return True
    if not _all_ints(map(type, values)):
        return False
    try:
        array("q", values)  # 64 bits signed
    except OverflowError:
        return False
    return True


def plain_floats(values: Collection[Any]) -> bool:
    """Whether all are finite floats."""
    return _all_floats(map(type, values)) and all(map(math.isfinite, values))


def plain_bools(values: Collection[Any]) -> bool:
    """Whether all are bools."""
    return _all_bools(map(type, values))


def plain_strs(values: Collection[Any]) -> bool:
    """Whether all are strings."""
    return _all_strs(map(type, values))


def int64(msgspec: ModuleType) -> Any:
    """The form of an int for msgspec, which reads any number of digits, where orjson makes a float."""
    return Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]


@trait(
    exact=int,
    inline=_INT64,
    plain=plain_ints,
    precheck=Precheck(_INT64, each=plain_ints),
)
def write_int(value: Any) -> int | str:
    """An int as itself, or as a string when it needs more than 64 bits."""
    if value.__class__ is not int:
        value = exact_int(value)
    return value if INT_MIN <= value <= INT_MAX else str(value)


def exact_int(value: Any) -> int:
    """An int, or an instance of any subclass except bool, as an int."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise refuse("int", value)
    return int.__index__(value)


@trait(
    exact=int,
    inline="{v}.__class__ is int",
    plain=lambda values: _all_ints(map(type, values)),
    msgspec_read=lambda msgspec: MsgspecRead(int64(msgspec)),
)
def read_int(value: Any, _: Any = None) -> int:
    """The inverse of `write_int`."""
    if value.__class__ is int:
        return value
    if value.__class__ is str and _BIG.fullmatch(value) and not INT_MIN <= (big := int(value)) <= INT_MAX:
        return big
    raise refuse("int", value)


@trait(
    exact=float,
    inline="{v}.__class__ is float and -1e999 < {v} < 1e999",
    plain=plain_floats,
    precheck=Precheck("{v}.__class__ is float and -1e999 < {v} < 1e999", each=plain_floats),
)
def write_float(value: Any) -> float | str:
    """A float, or an int that has an exact float, as a float; as a string when it is not finite."""
    number = exact_float(value)
    if math.isfinite(number):
        return number
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def exact_float(value: Any) -> float:
    """A float, an instance of a subclass, or an int that has an exact float, as a float."""
    if isinstance(value, float):
        return float.__float__(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise refuse("float", value)
    try:
        converted = float(value)
    except OverflowError:
        raise Mismatch("expected float, got an int that is too large for one") from None
    if converted != value:
        raise Mismatch(f"expected float, got int {value}, which no float equals; annotate the field as int")
    return converted


@trait(
    exact=float,
    inline="{v}.__class__ is float",
    plain=lambda values: _all_floats(map(type, values)),
    msgspec_read=lambda _: MsgspecRead(float),
)
def read_float(value: Any, _: Any = None) -> float:
    """The inverse of `write_float`; a JSON number without fraction is a float as well."""
    if value.__class__ is float:
        return value
    if value.__class__ is int:
        return float(value)
    if value.__class__ is str and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    raise refuse("float", value)


@trait(
    exact=bool,
    inline="{v}.__class__ is bool",
    plain=plain_bools,
    precheck=Precheck("{v}.__class__ is bool", each=plain_bools),
)
def write_bool(value: Any) -> bool:
    """A bool as itself; refuses everything else."""
    if value.__class__ is bool:
        return value
    raise refuse("bool", value)


@trait(
    exact=bool, inline="{v}.__class__ is bool", plain=plain_bools, msgspec_read=lambda _: MsgspecRead(bool)
)
def read_bool(value: Any, _: Any = None) -> bool:
    """The inverse of `write_bool`."""
    return write_bool(value)


@trait(
    exact=str,
    inline="{v}.__class__ is str",
    plain=plain_strs,
    precheck=Precheck(
        "{v}.__class__ is str and ({v}.isascii() or encodable({v}))",
        each=lambda values: plain_strs(values) and encodable("".join(values)),
    ),
)
def write_str(value: Any) -> str:
    """A string as itself, or a plain string from an instance of a subclass; refuses everything else."""
    if isinstance(value, str):
        return str.__str__(value)
    raise refuse("str", value)


@trait(exact=str, inline="{v}.__class__ is str", plain=plain_strs, msgspec_read=lambda _: MsgspecRead(str))
def read_str(value: Any, _: Any = None) -> str:
    """The inverse of `write_str`."""
    return write_str(value)


@trait(exact=type(None), inline="{v} is None", precheck=Precheck("{v} is None"))
def write_none(value: Any) -> None:
    """None as itself; refuses everything else."""
    if value is not None:
        raise refuse("None", value)


@trait(exact=type(None), inline="{v} is None", msgspec_read=lambda _: MsgspecRead(None))
def read_none(value: Any, _: Any = None) -> None:
    """The inverse of `write_none`."""
    write_none(value)


#: type → (write, read). JSON itself distinguishes these types.
NATIVE: dict[type, tuple[Hook, Hook]] = {
    type(None): (write_none, read_none),
    bool: (write_bool, read_bool),
    int: (write_int, read_int),
    float: (write_float, read_float),
    str: (write_str, read_str),
}
