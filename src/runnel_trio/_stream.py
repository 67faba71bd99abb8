"""Streams: declared once, sent to from anywhere in a Trio program.

A send encodes everything first, so that a record which does not fit its types is refused before anything
leaves. Then each partition's records leave in chunks, one chunk of a partition at a time: the next one goes
when the one before is stored, whatever happened on the way, so that order holds within a partition.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from itertools import takewhile
from operator import attrgetter
from typing import Any, Generic, TypeVar

import attrs
import trio

from runnel_trio._broker._protocol import Batch, Broker, StreamSpec
from runnel_trio._codec import DecodeError, Record, RecordCodec
from runnel_trio._event import Event
from runnel_trio._rules._cursor import ORIGIN, is_after
from runnel_trio._telemetry import report
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import DeserializationError, Misconfigured, StreamFull

__all__ = ["Stream"]

R = TypeVar("R", bound=Record)

#: What one script call may carry: more would hold up everybody else on the server.
_CHUNK_RECORDS = 1000
_CHUNK_BYTES = 1 << 20
#: Seconds between two looks for room: doubling from the first to the second.
_FIRST_LOOK, _LAST_LOOK = 0.005, 0.25
#: Looks without room after which it is told.
_PATIENT_LOOKS = 8

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
    connect: Callable[[StreamSpec], AbstractAsyncContextManager[Broker]] = attrs.field(repr=False)
    _key: Callable[[R], Any] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._key = _key_function(self.partition_by)

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
        return f"<Stream {where} of {self.record.__name__}, {self.partition_count} partitions>"

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
        hashed = self.hasher(self._key(record))
        if not isinstance(hashed, int):
            raise Misconfigured(f"stream {self.name!r}: its hasher must give a whole number, not {hashed!r}")
        return hashed % self.spec.partition_count

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
        pending = self._sorted(records, stream_ids)
        if not pending:
            await trio.lowlevel.checkpoint()
            return
        async with self.connect(self.spec) as broker:
            await self._deliver(broker, pending)

    def structure(self, plain: Any) -> R:
        """A record from its plain form: what a JSON document holds.

        Raises:
            RecordInvalid: it does not fit, with the path of the value that does not.
        """
        return self.codec.from_plain(plain)

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
        self, records: tuple[R, ...], stream_ids: Iterable[str | bytes] | None
    ) -> dict[int, _Pending]:
        """What goes to each partition."""
        pending: dict[int, _Pending] = {}
        encode, partition_of = self.codec.encode, self.partition_of
        ids = _checked_ids(stream_ids, len(records))
        for place, record in enumerate(records):
            row = encode(record)
            number = partition_of(record)
            if number not in pending:
                pending[number] = _Pending(row[::2])
            entries = pending[number]
            entries.places.append(place)
            entries.values += row[1::2]
            if ids:
                entries.ids.append(ids[place])
        for number, entries in pending.items():
            _refuse_falling(self.name, number, entries.ids)
        return pending

    async def _deliver(self, broker: Broker, pending: dict[int, _Pending]) -> None:
        looks = 0
        while pending:
            chunks = {number: entries.chunk() for number, entries in pending.items()}
            stored = await broker.append(self.spec, chunks)
            if sum(stored.values()) == sum(len(entries.places) for entries in pending.values()):
                return
            full = [number for number, chunk in chunks.items() if stored[number] < len(chunk)]
            for number, count in stored.items():
                pending[number].drop(count)
            pending = {number: entries for number, entries in pending.items() if entries.places}
            looks = 0 if any(stored.values()) else looks + 1
            if full:
                await self._no_room(full[0], pending, looks)

    async def _no_room(self, number: int, pending: Mapping[int, _Pending], looks: int) -> None:
        size = self.spec.partition_size
        if self.spec.overflow is Overflow.ERROR:
            unsent = sorted(place for entries in pending.values() for place in entries.places)
            raise StreamFull(self.name, number, size, tuple(unsent))
        if looks == _PATIENT_LOOKS:
            report(logging.WARNING, "stream-full", stream=self.name, partition=number, partition_size=size)
        await trio.sleep(min(_LAST_LOOK, _FIRST_LOOK * 2 ** min(looks, 10)) * random.uniform(0.5, 1.0))


def _key_function(partition_by: str | Callable[[R], Any]) -> Callable[[R], Any]:
    if callable(partition_by):
        return partition_by
    return attrgetter(partition_by)


def _checked_ids(stream_ids: Iterable[str | bytes] | None, count: int) -> list[bytes | None]:
    if stream_ids is None:
        return []
    ids = [xid.decode() if isinstance(xid, bytes) else str(xid) for xid in stream_ids]
    if len(ids) != count:
        raise Misconfigured(
            f"send() was given {count} record(s) and {len(ids)} stream_ids: it takes one for each"
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


@attrs.define(eq=False)
class _Pending:
    """What one `Stream.send` has left for a partition: in columns, since it may be very much.

    Attributes:
        names: of the entries' fields.
        places: of the records among those given.
        values: of the fields, entry by entry.
        ids: of the entries, None for one that the server gives; empty if it gives them all.
    """

    names: tuple[bytes, ...]
    places: list[int] = attrs.field(factory=list)
    values: list[bytes] = attrs.field(factory=list)
    ids: list[bytes | None] = attrs.field(factory=list)

    def chunk(self) -> Batch:
        """What goes first: as much as one call may carry."""
        count = min(len(self.places), _CHUNK_RECORDS)
        ids = None
        if self.ids:
            given = self.ids[0] is not None
            alike = takewhile(lambda xid: (xid is not None) == given, self.ids[:count])
            found = [xid or b"" for xid in alike]
            count = len(found)
            ids = found if given else None
        width = len(self.names)
        while count > 1 and sum(map(len, self.values[: count * width])) > _CHUNK_BYTES:
            count //= 2
        return Batch(self.names, self.values[: count * width], ids and ids[:count])

    def drop(self, count: int) -> None:
        """So many from the front are stored."""
        del self.places[:count], self.ids[:count], self.values[: count * len(self.names)]
