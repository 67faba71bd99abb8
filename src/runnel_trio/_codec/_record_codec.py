"""`RecordCodec`: converts between a record and the fields of its entry; the hottest code of the library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from types import ModuleType
from typing import Any, Generic, TypeAlias, TypeVar

import attrs
from cattrs import Converter

from runnel_trio._codec._bounds import bounded_compress, bounded_decompress, too_large
from runnel_trio._codec._fast._msgspec_read import msgspec_reader, quick_decoder
from runnel_trio._codec._fast._msgspec_write import msgspec_writer, written_at_once
from runnel_trio._codec._fast._precheck import Precheck, PrecheckAll
from runnel_trio._codec._hooks._fields import fields_of, unresolved
from runnel_trio._codec._hooks._lookup import native_datetimes, reader, writer
from runnel_trio._codec._hooks._traits import (
    Hook,
    Mismatch,
    Unsupported,
    hinted,
    locate,
    precheck_of,
    refuse,
    traits_of,
)
from runnel_trio._codec._primitive import primitive_hooks
from runnel_trio._codec._record import Record, check_primitive, check_record, resolve_annotations
from runnel_trio._codec._serialization import (
    FastJSONSerializer,
    JSONSerializer,
    functions_of,
    gives_loose,
    typed_parser,
)
from runnel_trio._report._redaction import legible
from runnel_trio._report._words import summary
from runnel_trio.exceptions import Misconfigured, RecordInvalid
from runnel_trio.interfaces import Serializer

__all__ = ["DecodeError", "RecordCodec"]

R = TypeVar("R", bound=Record)
_Values: TypeAlias = Callable[[Sequence[R]], list[bytes]]
_Decode: TypeAlias = Callable[[Sequence[bytes]], R]
_Prepared: TypeAlias = Callable[[Sequence[R]], Sequence[Any] | None]
_Written: TypeAlias = Callable[[Sequence[Any]], list[bytes]]
_Functions: TypeAlias = tuple[tuple[bytes, ...], _Prepared[R], _Written, _Values[R], _Decode[R]]

_DATA = b"data"
#: The most characters of a foreign text that an error shows.
_TOLD = 400


class DecodeError(Exception):
    """An entry cannot be read; the caller knows which one, and says so in a `DeserializationError`.

    Attributes:
        field: where the fault is, as in ``items[2].price``; empty if it is the entry as a whole.
        reason: what is wrong.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


@attrs.define(eq=False)
class RecordCodec(Generic[R]):
    """Turns records of one class into the fields of entries and back.

    ``values``, ``decode`` and the others are functions made for this record, serializer and converter: the
    hooks that the converter has now are built in.

    Attributes:
        record: the class.
        serializer: the serializer with its compressor; not used for a primitive record.
        converter: from `make_converter`, with users' hooks.
        forbid_unknown: whether to refuse a stored field that the record does not have, in nested records
            too. By default it is ignored, so that producers can be deployed before consumers.
        max_event_bytes: how many bytes an entry may have, both stored and decompressed; larger ones are
            neither written nor read.
        names: the names of the fields that each entry has.
        prepared: records → what `written` takes, if all of them are certain to encode; else None. It takes
            at most half of the time of `values`.
        written: prepared records → what `values` gives. Fails only for a record that is too large, or has
            been changed meanwhile.
        values: records → their values, entry by entry. It raises RecordInvalid with the path of the value
            that does not fit, also if a serializer or compressor fails.
        decode: ``(field, value, field, value, …)`` → record. Raises DecodeError.

    Raises:
        Misconfigured: the class cannot be stored; the message names the field, and what to do.

    Example:
        >>> from runnel_trio._codec import JSONSerializer, Record, RecordCodec, make_converter
        >>> class Order(Record):
        ...     order_id: int
        ...     item_ids: list[int]
        >>> codec = RecordCodec(Order, JSONSerializer(), make_converter())
        >>> codec.encode(Order(order_id=1, item_ids=[2, 3]))
        (b'data', b'{"order_id":1,"item_ids":[2,3]}')
        >>> codec.decode([b"data", b'{"order_id":1,"item_ids":[]}'])
        Order(order_id=1, item_ids=[])
        >>> codec.encode(Order(order_id=1, item_ids=[2, "3"]))
        Traceback (most recent call last):
        runnel_trio.exceptions.RecordInvalid: Order.item_ids[1]: expected int, got str '3'
    """

    record: type[R]
    serializer: Serializer
    converter: Converter
    forbid_unknown: bool = attrs.field(default=False, kw_only=True)
    max_event_bytes: int = attrs.field(default=1 << 53, kw_only=True)
    names: tuple[bytes, ...] = attrs.field(init=False, repr=False)
    prepared: Callable[[Sequence[R]], Sequence[Any] | None] = attrs.field(init=False, repr=False)
    written: Callable[[Sequence[Any]], list[bytes]] = attrs.field(init=False, repr=False)
    values: Callable[[Sequence[R]], list[bytes]] = attrs.field(init=False, repr=False)
    decode: Callable[[Sequence[bytes]], R] = attrs.field(init=False, repr=False)
    _readers: dict[bool, Hook] = attrs.field(factory=dict, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        check_record(self.record)
        name = self.record.__name__
        if not resolve_annotations(self.record):
            raise Misconfigured(f"{name}: {unresolved(self.record)}")
        check_primitive(self.record)
        try:
            self.names, self.prepared, self.written, self.values, self.decode = (
                _primitive(self) if self.record._primitive else _serialized(self)
            )
        except Unsupported as error:
            raise Misconfigured(f"{name}{error.path}: {error.reason}.") from None

    @property
    def is_primitive(self) -> bool:
        """Whether each field of the record is a field of the entry."""
        return self.record._primitive

    def encode(self, record: R) -> tuple[bytes, ...]:
        """An entry: ``(field, value, field, value, …)``.

        Raises:
            RecordInvalid: as `values` does.
        """
        return tuple(chain.from_iterable(zip(self.names, self.values([record]), strict=True)))

    def plain(self, record: R) -> Any:
        """The plain form of a record, as a JSON document holds it; for a primitive record too.

        Raises:
            Exception: it does not fit its types.
        """
        return writer(self.converter, self.record)(record)

    def reader_of(self, name: str) -> Hook | None:
        """The hook: plain form of a field → its value; may raise anything. None if there is no such field."""
        found = next((x for x in fields_of(self.record) if x.name == name), None)
        return None if found is None else reader(self.converter, found.annotation)

    def from_plain(self, plain: Any, *, forbid_unknown: bool = False) -> R:
        """A record from its plain form, as a JSON document holds it; for a primitive record too.

        Raises:
            RecordInvalid: it does not fit; the message has the path of the value that does not.
        """
        strict = forbid_unknown or self.forbid_unknown
        if strict not in self._readers:
            self._readers[strict] = reader(self.converter.copy(forbid_extra_keys=strict), self.record)
        read = self._readers[strict]
        try:
            found: R = read(plain)
        except Exception as error:
            where = _located(read, plain, error)
            raise RecordInvalid(self.record.__name__, *where) from _foreign(error)
        return found


def _primitive(codec: RecordCodec[R]) -> _Functions[R]:
    most, name = codec.max_event_bytes, codec.record.__name__
    names, write, read = primitive_hooks(codec.record, forbid_unknown=codec.forbid_unknown, most=most)

    def values(records: Sequence[R]) -> list[bytes]:
        found: list[bytes] = []
        try:
            for record in records:
                found += write(record)
        except Exception as error:
            failed = records[len(found) // len(names)]
            where = _located(write, failed, error)
            raise RecordInvalid(name, *hinted(codec.record, failed, where)) from _foreign(error)
        if sum(map(len, found)) > most:  # only if all together are too large can one of them be
            entries = zip(*[map(len, found)] * len(names), strict=True)
            _refuse_large(codec, map(sum, entries))
        return found

    def decode(fields: Sequence[bytes]) -> R:
        try:
            found: R = read(fields)
        except Exception as error:
            raise DecodeError(*_located(read, fields, error)) from _foreign(error)
        return found

    return names, _unprepared, values, values, decode


def _serialized(codec: RecordCodec[R]) -> _Functions[R]:
    dumps, loads, native = functions_of(codec.serializer)
    if not native:
        dumps = _bytes_only(dumps)
    write = _writer(codec, native=native)
    read = reader(codec.converter.copy(forbid_extra_keys=codec.forbid_unknown), codec.record)
    msgspec = typed_parser(codec.serializer)
    quick = msgspec_reader(read, msgspec) if msgspec else None
    compressor = getattr(codec.serializer, "compressor", None)
    if compressor is not None:
        dumps = _chained(dumps, _bytes_only(bounded_compress(compressor, codec.max_event_bytes)))
        decompress = bounded_decompress(compressor, codec.max_event_bytes)
        loads = _chained(decompress, loads)
        quick = quick and (_chained(decompress, quick[0]), quick[1])
    decode = _decoder(codec, read, loads)
    if quick is not None:
        decode = quick_decoder(_DATA, *quick, decode, codec.max_event_bytes)
    values = _writing(codec, write, dumps)
    precheck = None if compressor else precheck_of(write)
    return (_DATA,), *_written_later(codec, precheck, msgspec, values), decode


def _written_later(
    codec: RecordCodec[R], precheck: Precheck | None, msgspec: ModuleType | None, values: _Values[R]
) -> tuple[_Prepared[R], _Written, _Values[R]]:
    """The functions `prepared`, `written` and `values` of the codec."""
    ours = type(codec.serializer) in (FastJSONSerializer, JSONSerializer)
    if precheck is None or precheck.each is None or not ours:
        return _unprepared, values, values
    if msgspec is None or precheck.msgspec_write is None:
        return partial(_looked_at, precheck.each), values, values
    msgspec_write, most = msgspec_writer(precheck.msgspec_write, msgspec), codec.max_event_bytes

    def written(rows: Sequence[Any]) -> list[bytes]:
        try:
            found = msgspec_write.written(rows)
        except Exception as error:
            raise RecordInvalid(codec.record.__name__, "", _described(error)) from error
        if max(map(len, found), default=0) > most:
            _refuse_large(codec, map(len, found))
        return found

    return msgspec_write.prepared, written, written_at_once(msgspec_write, written, values, most)


def _looked_at(test: PrecheckAll, records: Sequence[R]) -> Sequence[R] | None:
    try:
        return records if test(records) else None
    except AttributeError:  # a field is not set
        return None


def _unprepared(_: Sequence[Any]) -> None:
    """`RecordCodec.prepared` where nothing is known about the records."""


def _writer(codec: RecordCodec[R], *, native: bool) -> Hook:
    # A copy, because the converter remembers the hooks that it has made, and these may be special.
    converter = codec.converter.copy()
    token = native_datetimes.set(native)
    try:
        write = writer(converter, codec.record)
    finally:
        native_datetimes.reset(token)
    return write if traits_of(write) else _instances_only(codec.record, write)


def _instances_only(record: type[Record], write: Hook) -> Hook:
    """A user's hook for the whole record, limited to instances: it might accept anything."""

    def checked(value: Any) -> Any:
        if not isinstance(value, record):
            raise refuse(record.__name__, value)
        return write(value)

    return checked


def _writing(codec: RecordCodec[R], write: Hook, dumps: Callable[[Any], bytes]) -> _Values[R]:
    name, serializer = codec.record.__name__, type(codec.serializer).__name__
    joined, most = b"".join, codec.max_event_bytes

    # Two functions, each with its loop: a call for each record would take a tenth of the time.
    def values(records: Sequence[R]) -> list[bytes]:
        try:
            found = [dumps(write(record)) for record in records]
        except Exception as error:
            raise refused(records, error) from _foreign(error)
        if max(map(len, found), default=0) > most:
            _refuse_large(codec, map(len, found))
        return found

    def settled(records: Sequence[R]) -> list[bytes]:
        try:
            found = [joined((dumps(write(record)), b"")) for record in records]
        except Exception as error:
            raise refused(records, error) from _foreign(error)
        if max(map(len, found), default=0) > most:
            _refuse_large(codec, map(len, found))
        return found

    def refused(records: Sequence[R], error: Exception) -> RecordInvalid:
        """The error of the first record that fails again."""
        for record in records:
            found = _located(write, record, None) or _unserializable(serializer, write(record), dumps)
            if found is not None:
                return RecordInvalid(name, *hinted(codec.record, record, found))
        return RecordInvalid(name, "", _described(error))

    return settled if gives_loose(codec.serializer) else values


def _refuse_large(codec: RecordCodec[Any], sizes: Iterable[int]) -> None:
    for size in sizes:
        if size > codec.max_event_bytes:
            raise RecordInvalid(codec.record.__name__, "", too_large(size, codec.max_event_bytes).reason)


def _decoder(codec: RecordCodec[R], read: Hook, loads: Callable[[bytes], Any]) -> _Decode[R]:
    serializer, most = type(codec.serializer).__name__, codec.max_event_bytes

    def decode(fields: Sequence[bytes]) -> R:
        try:
            payload = fields[1] if fields[0] == _DATA else _payload(fields, most)
            if len(payload) > most:
                raise too_large(len(payload), most)
            found: R = read(loads(payload))
        except Exception as error:
            raise _unreadable(fields, error) from _foreign(error)
        return found

    def _unreadable(fields: Sequence[bytes], error: Exception) -> DecodeError:
        try:
            plain = loads(_payload(fields, most))
        except Mismatch as missing:
            return DecodeError("data", missing.reason)
        except Exception as fault:  # a user's serializer may raise anything
            return DecodeError("data", f"{serializer} cannot read it: {_described(fault)}")
        return DecodeError(*_located(read, plain, error))

    return decode


def _payload(fields: Sequence[bytes], most: int) -> bytes:
    for name, value in zip(fields[::2], fields[1::2], strict=False):
        if name == _DATA:
            if len(value) > most:
                raise too_large(len(value), most)
            return value
    raise Mismatch("the entry has no such field; was it written by something else?")


def _located(hook: Hook, value: Any, error: Exception | None) -> Any:
    """The path and the reason of a fault; of ``error``, if it does not occur again; None without either."""
    found = locate(hook, value)
    if found is None:
        return error and ("", _described(error))
    return legible(found[0].removeprefix("."), _TOLD), legible(found[1], _TOLD)


def _unserializable(serializer: str, plain: Any, dumps: Callable[[Any], bytes]) -> tuple[str, str] | None:
    """The first field that cannot be written on its own, and why; None if all can be written."""
    try:
        dumps(plain)
    except Exception as error:  # a user's serializer may raise anything
        for name, value in plain.items() if isinstance(plain, dict) else ():
            try:
                dumps({name: value})
            except Exception as fault:
                return str(name), f"{serializer} cannot write it: {_described(fault)}"
        return "", f"{serializer} cannot write it: {_described(error)}"
    return None


def _described(error: Exception) -> str:
    return error.reason if isinstance(error, Mismatch) else legible(summary(error), _TOLD)


def _foreign(error: Exception) -> Exception | None:
    """The error to show as the cause: none for our own Mismatch, whose text is shown already."""
    return None if isinstance(error, Mismatch) else error


def _chained(first: Callable[[Any], Any], second: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: second(first(value))


def _bytes_only(function: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A user's ``function``, checked: without this, only consumers would notice that it returns a str."""

    def checked(value: Any) -> bytes:
        found = function(value)
        if not isinstance(found, bytes):
            raise Mismatch(f"{function.__qualname__} must return bytes, not {type(found).__name__}")
        return found

    return checked
