"""From a partition key to a number that is the same in every process, on every platform, for ever.

A key is written in a canonical form, a tag and a payload, and hashed with BLAKE3. The rule and test vectors
are published in ``docs/reference/hashing.rst``. Producers in other languages depend on them, and a change
here would move keys to other partitions and break their order.
"""

from __future__ import annotations

import enum
import math
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from blake3 import blake3

from runnel_trio.exceptions import Misconfigured

__all__ = ["SIMPLE_KEYS", "blake3_hasher", "canonical_key", "hash_of_form", "parse_key"]

_EPOCH = datetime(1970, 1, 1)  # the arithmetic below subtracts the offset itself
_MICROSECOND = timedelta(microseconds=1)


def blake3_hasher(key: Any) -> int:
    """The first eight bytes of the BLAKE3 hash of the key's canonical form, as a big-endian number.

    Raises:
        Misconfigured: the key is of a type that has no canonical form.

    Example:
        >>> blake3_hasher("N14228") % 16
        1
    """
    return hash_of_form(canonical_key(key))


def hash_of_form(form: bytes) -> int:
    """The same for a key of which only the canonical form is known."""
    return int.from_bytes(blake3(form).digest(8), "big")


#: Types whose equal keys have the same canonical form, so that results can be cached by key.
SIMPLE_KEYS = frozenset({int, str, bytes})


def canonical_key(key: Any) -> bytes:
    """One byte that tells the type, then the value; keys that Python calls equal, of one type, are equal.

    Raises:
        Misconfigured: the key is of a type that has no canonical form.

    Example:
        >>> [canonical_key(x) for x in (1, "1", b"1", True, None)]
        [b'i1', b's1', b'b1', b'B1', b'N']
    """
    form = _FORMS.get(key.__class__)
    return form(key) if form is not None else _inherited_form(key)


def parse_key(form: bytes) -> Any:
    """The key of a canonical form: of a subclass as one of its base, of an enum member its name.

    Raises:
        ValueError: it is none.

    Example:
        >>> [parse_key(canonical_key(x)) for x in (1, "1", b"1", True, None, (1, "a"))]
        [1, '1', b'1', True, None, (1, 'a')]
    """
    parse = _PARSERS.get(form[:1])
    if parse is None:
        raise ValueError(f"{form[:80]!r} is the form of no key")
    return parse(form[1:])


def _inherited_form(key: Any) -> bytes:
    """The form of an enum member, by name, or of an instance of a subclass, as one of its base class."""
    if isinstance(key, enum.Enum):
        return _enum(key)
    for base in type(key).__mro__:
        if base in _FORMS:
            return _FORMS[base](key)
    raise Misconfigured(
        f"a partition key of type {type(key).__name__} has no canonical form. Keys can be None, bool, int, "
        "float, str, bytes, Decimal, UUID, datetime, date, enum members, and tuples of these; for anything "
        "else give partition_by a callable, as in partition_by=lambda record: str(record.key)."
    )


def _float(key: float) -> bytes:
    if key == 0:
        key = 0.0  # equal to -0.0
    return b"f" + struct.pack(">d", math.nan if math.isnan(key) else key)


def _decimal(key: Decimal) -> bytes:
    sign, digits, exponent = key.as_tuple()
    if not isinstance(exponent, int):
        return b"d" + Decimal.__str__(key).encode()
    text = "".join(map(str, digits)).lstrip("0")
    significant = text.rstrip("0")
    if not significant:
        return b"d0"
    return f"d{'-' if sign else ''}{significant}E{exponent + len(text) - len(significant)}".encode()


def _datetime(key: datetime) -> bytes:
    offset = key.utcoffset()
    if offset is None:
        return b"T" + datetime.isoformat(key, timespec="microseconds").encode()
    return b"t%d" % ((key.replace(tzinfo=None) - _EPOCH - offset) // _MICROSECOND)


def _enum(key: enum.Enum) -> bytes:
    value = canonical_key(key.value) if isinstance(key, enum.Flag) else canonical_key(key.name)
    return b"e" + _prefixed(type(key).__name__.encode()) + _prefixed(value)


def _tuple(key: tuple[Any, ...]) -> bytes:
    return b"(" + b"".join(_prefixed(canonical_key(x)) for x in key)


def _prefixed(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


_FORMS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda _: b"N",
    bool: lambda key: b"B1" if key else b"B0",
    int: lambda key: b"i%d" % key,
    float: _float,
    str: lambda key: b"s" + str.encode(key, "utf-8", "surrogatepass"),
    bytes: lambda key: b"b" + key,
    Decimal: _decimal,
    UUID: lambda key: b"u" + key.bytes,
    datetime: _datetime,
    date: lambda key: b"D" + date.isoformat(key).encode(),
    tuple: _tuple,
}


def _parts(text: bytes) -> list[bytes]:
    """What `_prefixed` wrote, again and again."""
    at, parts = 0, []
    while at < len(text):
        size = int.from_bytes(text[at : at + 4], "big")
        parts.append(text[at + 4 : at + 4 + size])
        at += 4 + size
    if at != len(text):
        raise ValueError(f"{text[:80]!r} is cut off")
    return parts


def _parse_enum(text: bytes) -> Any:
    _, member = _parts(text)
    return parse_key(member)


_PARSERS: dict[bytes, Callable[[bytes], Any]] = {
    b"N": lambda _: None,
    b"B": lambda text: text == b"1",
    b"i": int,
    b"f": lambda text: struct.unpack(">d", text)[0],
    b"s": lambda text: text.decode("utf-8", "surrogatepass"),
    b"b": bytes,
    b"d": lambda text: Decimal(text.decode()),
    b"u": lambda text: UUID(bytes=text),
    b"t": lambda text: _EPOCH.replace(tzinfo=UTC) + int(text) * _MICROSECOND,
    b"T": lambda text: datetime.fromisoformat(text.decode()),
    b"D": lambda text: date.fromisoformat(text.decode()),
    b"e": _parse_enum,
    b"(": lambda text: tuple(map(parse_key, _parts(text))),
}
