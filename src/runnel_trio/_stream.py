"""Streams: declared once, sent to from anywhere in a Trio program.

A send looks at everything first, so that a record which does not fit its types is refused before anything
leaves. Many records whose encoding cannot fail (see `_codec._sure`) are encoded while the server works on
those of another partition, but all of them before the first wait: what other tasks do to a record then is
not seen. Each partition's records leave in chunks, one chunk of a partition at a time: the next one goes
when the one before is stored, whatever happened on the way, so that order holds within a partition.
"""

from __future__ import annotations

import logging
import math
import random
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, takewhile
from operator import attrgetter
from typing import Any, Generic, TypeVar

import attrs
import trio

from runnel_trio._broker._protocol import Batch, Broker, StreamSpec
from runnel_trio._broker._shared import Connection
from runnel_trio._codec import SIMPLE_KEYS, DecodeError, Record, RecordCodec, blake3_hasher
from runnel_trio._event import Event
from runnel_trio._portal import Portal
from runnel_trio._rules._cursor import ORIGIN, is_after
from runnel_trio._telemetry import report
from runnel_trio._words import counted
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import DeserializationError, Misconfigured, StreamFull

__all__ = ["Stream"]

R = TypeVar("R", bound=Record)

#: What one script call may carry: more would hold up everybody else on the server.
_CHUNK_RECORDS = 1000
_CHUNK_BYTES = 1 << 20
#: Records from which on a look at them first is worth it.
_MANY = 64
#: Seconds between two looks for room: doubling from the first to the second.
_FIRST_LOOK, _LAST_LOOK = 0.005, 0.25
#: Looks without room after which it is told.
_PATIENT_LOOKS = 8

#: For all streams of the process.
_portal = Portal()

_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_HIGHEST = 2**64 - 1


@attrs.define(eq=False, kw_only=True)
class Stream(Generic[R]):
    """A set of partitions, together one stream of events. Made by `App.stream`.

    Attributes:
        spec: what the broker knows of it.
        record: the class of its records.
        partition_by: attribute, or function of a record, that gives the partition key.
        hasher: partition key → whole number.
        codec: between records and entries.
        connect: holds the broker open, with this stream declared to it.
    """

    spec: StreamSpec
    record: type[R]
    partition_by: str | Callable[[R], Any]
    hasher: Callable[[Any], int]
    codec: RecordCodec[R]
    connect: Callable[[StreamSpec], Connection] = attrs.field(repr=False)
    _numbers_of: Callable[[Iterable[R]], list[int]] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._numbers_of = _numbering(self)

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def partition_count(self) -> int:
        """How many partitions it has."""
        return self.spec.partition_count

    def __repr__(self) -> str:
        where = f"{self.spec.app}.{self.name}"
        return f"<Stream {where} of {self.record.__name__}, {counted(self.partition_count, 'partition')}>"

    def partition_of(self, record: R) -> int:
        """The number of the partition that a record belongs to.

        Example:
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> orders = App("example").stream("orders", Order, partition_by="order_id", partition_count=16)
            >>> orders.partition_of(Order(order_id=7)) == orders.partition_of(Order(order_id=7))
            True

        Raises:
            Misconfigured: the partition key cannot be had, or not be hashed.
        """
        return self._numbers_of([record])[0]

    def key_of(self, record: R) -> Any:
        """The partition key of a record, as ``partition_by`` says."""
        return _key_function(self.partition_by)(record)

    async def send(self, *records: R, stream_ids: Iterable[str | bytes] | None = None) -> None:
        """Store records, each in the partition of its key, in the order given.

        A retry after a lost connection stores nothing twice. When a partition is full, `overflow` decides:
        ``"block"`` waits for room (bound it with a Trio timeout), ``"error"`` raises, ``"trim"`` lets the
        oldest events go.

        Args:
            *records: instances of the stream's record class.
            stream_ids: ids for the records (``"<milliseconds>-<sequence>"``, rising within a partition, or
                ``"*"``), as many as there are records. By default the server gives them.

        Raises:
            RecordInvalid: a record does not fit its types; nothing was sent.
            StreamFull: no room, with ``overflow="error"``; says which records were not stored.
            Misconfigured: bad ``stream_ids``, or the stream exists with another partition count.
            BrokerUnavailable: no answer for a while; the records may have been stored or not.

        Cancellation: what is under way to the server is waited for; records of the same call that had not
        left are not sent, those stored before stay.
        """
        declared = self.connect(self.spec)
        rows: Iterable[Any]
        write: Callable[[list[Any]], list[bytes]]
        few = len(records) < _MANY or self.partition_count == 1
        if not few and len(records) <= _CHUNK_RECORDS and declared.at_once and self.codec.sure(records):
            rows, write = records, self.codec.values
        else:
            values = self.codec.values(records)
            if len(records) == 1 and stream_ids is None:
                await self._send_one(declared, self._numbers_of(records)[0], values)
                return
            rows, write = _rows(values, len(self.codec.names))
        numbers = self._numbers_of(records)
        pending = self._sorted(rows, write, numbers, stream_ids)
        if not pending:
            await trio.lowlevel.checkpoint()
            return
        async with declared as broker:
            await self._deliver(broker, pending, numbers)

    def send_sync(
        self, *records: R, stream_ids: Iterable[str | bytes] | None = None, within: float | None = None
    ) -> None:
        """As `send`, for code outside of Trio: a web service's thread, a script, asyncio's `to_thread`.

        The first call starts a thread in which Trio runs; it keeps the connection for later calls, whichever
        thread they come from, until the process ends.

        Args:
            *records: instances of the stream's record class.
            stream_ids: as in `send`.
            within: seconds that it may wait for room in a full partition, and for the server.

        Raises:
            As `send`.
            TooSlowError: it took longer; records may have been stored or not.
            Misconfigured: called in a task of Trio.

        Example:
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> app = App("example", redis_url="memory://")
            >>> orders = app.stream("orders", Order, partition_by="order_id")
            >>> orders.send_sync(Order(order_id=1), Order(order_id=2), within=5)
        """
        _portal.run(self._send_within, records, stream_ids, within)

    async def _send_within(
        self, records: tuple[R, ...], stream_ids: Iterable[str | bytes] | None, within: float | None
    ) -> None:
        with trio.fail_after(math.inf if within is None else within):
            await self.send(*records, stream_ids=stream_ids)

    def structure(self, plain: Any, *, forbid_unknown: bool = False) -> R:
        """A record from its plain form, as JSON holds it; unknown fields are left out, or forbidden.

        Raises:
            RecordInvalid: it does not fit, with the path of the value that does not.
        """
        return self.codec.from_plain(plain, forbid_unknown=forbid_unknown)

    def decode(self, event: Event) -> R:
        """An event as a record.

        Raises:
            DeserializationError: it cannot be read as one; names the place and the field.
        """
        try:
            return self.codec.decode(event._fields)
        except DecodeError as error:
            raise DeserializationError(
                self.name, event.partition.number, event.xid.decode(), error.field, error.reason
            ) from error.__cause__

    def _sorted(
        self,
        rows: Iterable[Any],
        write: Callable[[list[Any]], list[bytes]],
        numbers: list[int],
        stream_ids: Iterable[str | bytes] | None,
    ) -> dict[int, _Pending]:
        """What goes to each partition."""
        ids = _checked_ids(stream_ids, len(numbers))
        sorted_rows: dict[int, list[Any]] = {number: [] for number in dict.fromkeys(numbers)}
        for number, row in zip(numbers, rows, strict=True):
            sorted_rows[number].append(row)
        names = self.codec.names
        pending = {number: _Pending(names, own, write) for number, own in sorted_rows.items()}
        for number, xid in zip(numbers, ids, strict=False):
            pending[number].ids.append(xid)
        for number, entries in pending.items():
            _refuse_falling(self.name, number, entries.ids)
        return pending

    async def _send_one(self, declared: Connection, number: int, values: list[bytes]) -> None:
        """Without what many records need: a thousand tasks that send one each take a third less."""
        async with declared as broker:
            stored = await broker.append(self.spec, {number: Batch(self.codec.names, values)})
            if not stored[number]:
                pending = {number: _Pending(self.codec.names, [values], _flat)}
                await self._deliver(broker, pending, [number])

    async def _deliver(self, broker: Broker, pending: dict[int, _Pending], numbers: list[int]) -> None:
        looks = 0
        while pending:
            chunks = _Chunks(pending)
            stored = await broker.append(self.spec, chunks)
            for number, count in stored.items():
                pending[number].drop(count)
            pending = {number: entries for number, entries in pending.items() if entries.values}
            full = [number for number, chunk in chunks.items() if stored[number] < len(chunk)]
            looks = 0 if any(stored.values()) else looks + 1
            if full:
                await self._no_room(full[0], pending, looks, numbers)

    async def _no_room(
        self, number: int, pending: Mapping[int, _Pending], looks: int, numbers: list[int]
    ) -> None:
        size = self.spec.partition_size
        if self.spec.overflow is Overflow.ERROR:
            raise StreamFull(self.name, number, size, tuple(_unsent(pending, numbers)))
        if looks == _PATIENT_LOOKS:
            report(logging.WARNING, "stream-full", stream=self.name, partition=number, partition_size=size)
        await trio.sleep(min(_LAST_LOOK, _FIRST_LOOK * 2 ** min(looks, 10)) * random.uniform(0.5, 1.0))


def _key_function(partition_by: str | Callable[[R], Any]) -> Callable[[R], Any]:
    if callable(partition_by):
        return partition_by
    return attrgetter(partition_by)


def _numbering(stream: Stream[R]) -> Callable[[Iterable[R]], list[int]]:
    """Records → numbers of their partitions: a closure, because it runs for each record that is sent."""
    key_of, hasher, count = _key_function(stream.partition_by), stream.hasher, stream.partition_count

    told: list[bool] = []

    def number(key: Any) -> int:
        if key is None and not told:
            told.append(True)
            _warn_of_none(stream)
        hashed = hasher(key)
        if not isinstance(hashed, int):
            raise Misconfigured(
                f"stream {stream.name!r}: its hasher must give a whole number, not {hashed!r}"
            )
        return hashed % count

    if hasher is not blake3_hasher:  # which may answer as it likes
        return lambda records: [number(key_of(record)) for record in records]
    remembered = lru_cache(maxsize=16384, typed=True)(number)  # keys come again and again
    return lambda records: [
        remembered(key) if (key := key_of(record)).__class__ in SIMPLE_KEYS else number(key)
        for record in records
    ]


def _warn_of_none(stream: Stream[Any]) -> None:
    warnings.warn(
        f"stream {stream.name!r}: the partition key of a {stream.record.__name__} is None. All such records "
        "go to one partition, where they wait for each other: give them a key, or a constant if it is meant",
        RuntimeWarning,
        stacklevel=2,
    )


def _unsent(pending: Mapping[int, _Pending], numbers: list[int]) -> list[int]:
    """The places, among all records, of those that are not stored: in each partition, the last ones."""
    left = {number: len(entries.values) // len(entries.names) for number, entries in pending.items()}
    places = []
    for place in reversed(range(len(numbers))):
        if left.get(numbers[place], 0):
            left[numbers[place]] -= 1
            places.append(place)
    return places[::-1]


def _checked_ids(stream_ids: Iterable[str | bytes] | None, count: int) -> list[bytes | None]:
    if stream_ids is None:
        return []
    ids = [xid.decode() if isinstance(xid, bytes) else str(xid) for xid in stream_ids]
    if len(ids) != count:
        raise Misconfigured(
            f"send() was given {counted(count, 'record')}, and {len(ids):,} as stream_ids: one each is needed"
        )
    return [None if xid == "*" else _checked_id(xid) for xid in ids]


def _checked_id(xid: str) -> bytes:
    """The id in the server's own writing, so that two of them compare as they are written."""
    found = _ID.fullmatch(xid)
    parts = [int(part) for part in found.groups()] if found else []
    if not found or max(parts) > _HIGHEST:
        raise Misconfigured(f"{xid!r} is no stream id: write '<milliseconds>-<sequence>', or '*'")
    return b"%d-%d" % tuple(parts)


def _refuse_falling(name: str, number: int, ids: Iterable[bytes | None]) -> None:
    """Before anything is sent; the server compares the first with what it has."""
    last = ORIGIN
    for xid in ids:
        if xid is None:
            continue
        if not is_after(xid, last):
            raise Misconfigured(
                f"{name}[{number}]: stream id {xid.decode()} is not above {last.decode()}; "
                "ids must rise within a partition. Nothing was sent."
            )
        last = xid


def _rows(values: list[bytes], width: int) -> tuple[Iterable[Any], Callable[[list[Any]], list[bytes]]]:
    """What stands for an entry each, and how to get at its values: one alone stands for itself.

    A tuple for each of very many would set off the garbage collector, again and again.
    """
    if width == 1:
        return values, list
    return zip(*[iter(values)] * width, strict=True), _flat


def _flat(rows: list[Iterable[bytes]]) -> list[bytes]:
    return list(chain.from_iterable(rows))


@attrs.define(eq=False)
class _Pending:
    """What one `Stream.send` has left for a partition: in columns, since it may be very much.

    Attributes:
        names: of the entries' fields.
        rows: what is to be written before anything else.
        write: rows → values. Cannot fail.
        values: of the fields, entry by entry.
        ids: of the entries, None for one that the server gives; empty if it gives them all.
    """

    names: tuple[bytes, ...]
    rows: list[Any]
    write: Callable[[list[Any]], list[bytes]]
    values: list[bytes] = attrs.field(factory=list)
    ids: list[bytes | None] = attrs.field(factory=list)

    def chunk(self) -> Batch:
        """What goes first: as much as one call may carry."""
        if self.rows:
            self.values, self.rows = self.write(self.rows), []
        width = len(self.names)
        count = min(len(self.values) // width, _CHUNK_RECORDS)
        ids = None
        if self.ids:
            given = self.ids[0] is not None
            alike = takewhile(lambda xid: (xid is not None) == given, self.ids[:count])
            found = [xid or b"" for xid in alike]
            count = len(found)
            ids = found if given else None
        while count > 1 and sum(map(len, self.values[: count * width])) > _CHUNK_BYTES:
            count //= 2
        return Batch(self.names, self.values[: count * width], ids and ids[:count])

    def drop(self, count: int) -> None:
        """So many from the front are stored."""
        del self.ids[:count], self.values[: count * len(self.names)]


@attrs.frozen(eq=False)
class _Chunks(Mapping[int, Batch]):
    """What goes first of each partition: made when it is looked at."""

    pending: Mapping[int, _Pending]
    _made: dict[int, Batch] = attrs.field(factory=dict, init=False)

    def __getitem__(self, number: int) -> Batch:
        if number not in self._made:
            self._made[number] = self.pending[number].chunk()
        return self._made[number]

    def __iter__(self) -> Iterator[int]:
        return iter(self.pending)

    def __len__(self) -> int:
        return len(self.pending)
