"""Serializers that come with the library. Both write the same JSON, so a stream can switch between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import attrs

from runnel_trio._codec._extras import imported
from runnel_trio.exceptions import Misconfigured
from runnel_trio.interfaces import Compressor, Serializer

__all__ = [
    "FastJSONSerializer",
    "JSONSerializer",
    "default_serializer",
    "functions_of",
    "gives_loose",
    "typed_parser",
]


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


# NaN is refused, because other readers refuse it; the converter stores it as a string.
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False)
# No reader may accept more than the other: which entries can be read must not depend on what is installed.
_decoder = json.JSONDecoder(parse_constant=_no_number)


def _reused(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """``encoder.encode`` with one C encoder for all calls instead of one for each: 1.5 µs instead of 2.

    json does not promise how it makes a C encoder. Where this way fails (PyPy has none), nothing is changed.
    """
    options = (
        encoder.key_separator,
        encoder.item_separator,
        encoder.sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )
    try:
        chunks = json.encoder.c_make_encoder(  # type: ignore[attr-defined]  # not in the stubs
            None, encoder.default, json.encoder.encode_basestring, encoder.indent, *options
        )
        chunks({"a": [1.5, "b"]}, 0)
    except (AttributeError, TypeError):
        return encoder.encode
    join = "".join
    return lambda value: join(chunks(value, 0))


_encode = _reused(_encoder)


@attrs.frozen
class JSONSerializer(Serializer):
    """JSON by the standard library: compact, UTF-8.

    Attributes:
        compressor: applied to the JSON; None stores it as it is.

    Example:
        >>> from runnel_trio._codec import Gzip, JSONSerializer
        >>> JSONSerializer().dumps({"name": "Zoë", "ids": [1, 2]}).decode()
        '{"name":"Zoë","ids":[1,2]}'
        >>> JSONSerializer(compressor=Gzip())
        JSONSerializer(compressor=Gzip(level=6))
    """

    compressor: Compressor | None = None

    def dumps(self, value: Any) -> bytes:
        """JSON. A lone surrogate has no UTF-8, and raises UnicodeEncodeError."""
        return _encode(value).encode()

    def loads(self, value: bytes) -> Any:
        """The value; raises ValueError for anything that is not JSON in UTF-8."""
        text = value.decode()
        try:
            found, end = _decoder.raw_decode(text)
        except ValueError:
            found, end = None, -1
        # decode() looks for white space on both sides, which is rare and takes 0.3 µs.
        found = found if end == len(text) else _decoder.decode(text)
        if "\\u" in text:  # an escaped lone surrogate is not text; orjson refuses it too
            _encode(found).encode()
        return found


@attrs.frozen
class FastJSONSerializer(Serializer):
    """JSON by orjson, many times faster. Needs the ``fast`` extra.

    Where msgspec is installed too, most records are read from the bytes by it, with the same results and
    errors, in less than half the time.

    Attributes:
        compressor: applied to the JSON; None stores it as it is.

    Raises:
        Misconfigured: the package ``orjson`` is not installed.

    Example:
        >>> from runnel_trio._codec import FastJSONSerializer
        >>> FastJSONSerializer().loads(b'{"ids":[1,2]}')
        {'ids': [1, 2]}
    """

    compressor: Compressor | None = None

    def __attrs_post_init__(self) -> None:
        _orjson()

    def dumps(self, value: Any) -> bytes:
        """JSON. A lone surrogate has no UTF-8, and raises TypeError."""
        orjson = _orjson()
        written: bytes = orjson.dumps(value, option=orjson.OPT_UTC_Z)
        return written

    def loads(self, value: bytes) -> Any:
        """The value; raises ValueError for anything that is not JSON in UTF-8."""
        return _orjson().loads(value)


def _orjson() -> ModuleType:
    return imported("orjson", "FastJSONSerializer")


def default_serializer() -> Serializer:
    """`FastJSONSerializer` where orjson is installed, else `JSONSerializer`."""
    try:
        return FastJSONSerializer()
    except Misconfigured:
        return JSONSerializer()


def functions_of(serializer: Serializer) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any], bool]:
    """``dumps``, ``loads``, and whether ``dumps`` writes datetimes itself, in the form of the converter."""
    if type(serializer) is FastJSONSerializer:
        orjson = _orjson()
        return partial(orjson.dumps, option=orjson.OPT_UTC_Z), orjson.loads, True
    return serializer.dumps, serializer.loads, False


def typed_parser(serializer: Serializer) -> ModuleType | None:
    """The module msgspec, if it is installed and can read what this serializer writes."""
    if type(serializer) is not FastJSONSerializer:
        return None
    try:
        return imported("msgspec", "FastJSONSerializer")
    except Misconfigured:  # without msgspec, orjson does the same in twice the time
        return None


def gives_loose(serializer: Serializer) -> bool:
    """Whether each result is a block of 1 KiB that was cut to size, as orjson's are.

    Thousands of these that wait to be sent leave the heap full of holes, and each takes new pages from the
    system. A copy costs 0.05 µs and saves up to 2 µs for each record.
    """
    return type(serializer) is FastJSONSerializer and serializer.compressor is None
