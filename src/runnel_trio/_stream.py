"""Streams: declared once, sent to from anywhere in a Trio program.

A send checks everything first, so that a record which does not fit its types is refused before anything
leaves. If many records are sent and their encoding cannot fail (`_codec._fast._precheck`), they are encoded
while the server works on those of another partition. All are read before the first wait, so later changes to
a record by other tasks have no effect. A single record, which each of many tasks may send, takes the shortest
path. Each partition's records leave in chunks, one at a time: the next chunk leaves when the one before is
stored, whatever happened on the way, so that order holds within a partition.

A partition that takes entries for another layout refuses. Then the stream learns the new layout and divides
what is left among its partitions; the caller does not notice.
"""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar

import attrs
import trio

from runnel_trio._broker._connection import Connection, Declarable
from runnel_trio._broker._protocol import Broker, Catalog, Server
from runnel_trio._broker._values import SEALED, Batch, StreamSpec
from runnel_trio._codec import DecodeError, Record, RecordCodec, canonical_key, foreign
from runnel_trio._event import Event
from runnel_trio._report._telemetry import report
from runnel_trio._report._words import counted
from runnel_trio._sending._delivery import (
    CHUNK_RECORDS,
    Chunks,
    Outgoing,
    Pending,
    Routing,
    flat,
    rows_of,
    sorted_out,
    stored_in,
)
from runnel_trio._sending._numbering import Numbering, key_function
from runnel_trio._sending._portal import Portal
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import (
    BrokerRefused,
    DeserializationError,
    Misconfigured,
    NotReplicated,
    StreamFull,
)

__all__ = ["Stream"]

R = TypeVar("R", bound=Record)

#: From this many records on, checking them first is worth it.
_MANY = 64
#: Seconds between two checks for room: they double from the first to the second value.
_FIRST_LOOK, _LAST_LOOK = 0.005, 0.25
#: After this many checks without room, it is reported.
_PATIENT_LOOKS = 8

#: After this many refusals in a row, the send gives up.
_MOST_REFUSALS = 6

#: Shared by all streams of the process.
_portal = Portal()


@attrs.define(eq=False, kw_only=True)
class Stream(Generic[R]):
    """A set of partitions that together are one stream of events. Created by `App.stream`.

    Attributes:
        declared_spec: what the app's code declares to the broker.
        record: the class of its records.
        partition_by: attribute, or function of a record, that gives the partition key.
        hasher: partition key → whole number.
        codec: converts between records and entries.
        connect: keeps the broker open, with this stream declared to it.
    """

    declared_spec: StreamSpec = attrs.field(alias="spec")
    record: type[R]
    partition_by: str | Callable[[R], Any]
    hasher: Callable[[Any], int]
    codec: RecordCodec[R]
    connect: Callable[[Declarable], Connection] = attrs.field(repr=False)
    _routing: Routing = attrs.field(init=False, repr=False)
    _connection: Connection = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._routing = self._routed(self.declared_spec)
        self._connection = self.connect(self)

    def _routed(self, spec: StreamSpec) -> Routing:
        key_of = key_function(self.partition_by)
        return Routing(spec, Numbering(self.name, key_of, self.hasher, spec.partition_count))

    @property
    def name(self) -> str:
        """Its name."""
        return self.declared_spec.name

    @property
    def spec(self) -> StreamSpec:
        """What the broker knows about the stream, as far as this process has heard."""
        return self._routing.spec

    @property
    def partition_count(self) -> int:
        """How many partitions it has: as declared, unless that was changed on the server."""
        return self._routing.spec.partition_count

    def adopt(self, current: StreamSpec) -> None:
        """Take over what the server says about this stream."""
        if current == self.spec:
            return
        self._routing = self._routed(current)
        count, given = current.partition_count, self.declared_spec.partition_count
        if count != given:
            facts = {"stream": self.name, "code": given, "server": count, "write": f"partition_count={count}"}
            report(logging.WARNING, "partition-count-differs", **facts)

    async def follow(self, broker: Catalog) -> None:
        """Learn the current layout, after a partition has refused entries."""
        self.adopt((await broker.reconcile_layout(self.spec)).current)

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
            RecordInvalid: it is not a record of the stream's class.
            Misconfigured: the partition key cannot be hashed.
        """
        try:
            return self._routing.numbering.one(record)
        except AttributeError:
            if isinstance(record, self.record):
                raise
            raise foreign(self.record, record) from None

    def key_of(self, record: R) -> Any:
        """The partition key of a record, as ``partition_by`` says."""
        return self._routing.numbering.key_of(record)

    async def send(
        self,
        *records: R,
        stream_ids: Iterable[str | bytes] | None = None,
        wait_replicas: int = 0,
        within: float = math.inf,
    ) -> None:
        """Store records, each in the partition of its key, in the order given.

        A retry after a lost connection stores nothing twice. In a processor, a send and the acknowledgement
        of the event in hand are two steps: after a crash, the event may be handled again, and its sends
        repeated.

        When a partition is full, `overflow` decides: ``"block"`` waits for room (limit it with a Trio
        timeout), ``"error"`` raises, ``"trim"`` drops the oldest events.

        Args:
            *records: instances of the stream's record class.
            stream_ids: ids for the records (``"<milliseconds>-<sequence>"``, rising within a partition, or
                ``"*"``), as many as there are records. By default the server gives them.
            wait_replicas: how many replicas must also have the records before the call returns. If you give
                the number of all replicas that may be promoted, the records survive the death of the server.
                With fewer, a replica without them may be promoted.
            within: seconds that the replicas may take, once the records are stored.

        Raises:
            NotReplicated: the replicas took longer; the records are stored, but may be lost with the server.
            RecordInvalid: a record does not fit its types, or is larger than ``max_event_bytes``; nothing was
                sent. Exception: if one of 64 or more records is too large, those for other partitions may
                have been sent.
            StreamFull: no room, with ``overflow="error"``; it says which records were not stored.
            Misconfigured: bad ``stream_ids``, or the stream never had this many partitions.
            BrokerUnavailable: no reply for a while; the records may or may not have been stored. With
                ``wait_replicas``, also if another master has taken over and does not have them.

        Cancellation: the call waits for records on their way to the server. Records that had not left are not
        sent; those already stored stay.
        """
        if wait_replicas:
            before = self._routing
            await self.send(*records, stream_ids=stream_ids)
            await self._confirm(records, before, wait_replicas, within)
            return
        routing, codec = self._routing, self.codec
        if len(records) == 1 and stream_ids is None:
            # Here and not in a method: a thousand tasks may wait here, each keeps its frames, and those are
            # out of the CPU's caches when it is resumed.
            (record,) = records
            values, number = codec.values(records), routing.numbering.one(record)
            opened = self._connection.at_hand()
            if opened is None or (broker := opened.broker) is None:
                await self._send_one(record, values, number, routing)
                return
            try:
                stored = await broker.append(routing.spec, {number: Batch(codec.names, values)})
                if stored[number] != 1:
                    await self._deliver(broker, self._left_of(record, values, number, routing))
            finally:
                if opened.users > 1:
                    opened.users -= 1
                else:
                    await opened.leave(opened)
            return
        declared = self.connect(self)
        rows: Iterable[Any]
        write: Callable[[list[Any]], list[bytes]]
        few = len(records) < _MANY or routing.spec.partition_count == 1
        later = not few and len(records) <= CHUNK_RECORDS and declared.at_once
        prepared = codec.prepared(records) if later else None
        if prepared is not None:
            rows, write = prepared, codec.written
        else:
            rows, write = rows_of(codec.values(records), len(codec.names))
        numbers = routing.numbering.all(records)
        pending = sorted_out(routing.spec, codec.names, rows, write, numbers, stream_ids)
        if not pending:
            await trio.lowlevel.checkpoint()
            return
        async with declared as broker:
            await self._deliver(broker, Outgoing(records, numbers, pending, routing))

    async def _confirm(self, records: tuple[R, ...], before: Routing, replicas: int, within: float) -> None:
        numbers = {number for x in (before, self._routing) for number in x.numbering.all(records)}
        async with self.connect(self) as broker:
            reached = await broker.replicated(self.spec, numbers, replicas, within) if numbers else replicas
        if reached < replicas:
            raise NotReplicated(self.name, replicas, reached)

    def send_sync(
        self,
        *records: R,
        stream_ids: Iterable[str | bytes] | None = None,
        wait_replicas: int = 0,
        within: float | None = None,
    ) -> None:
        """Like `send`, for code outside of Trio: a web service's thread, a script, asyncio's `to_thread`.

        The first call starts a thread in which Trio runs. That thread keeps the connection for later calls
        from any thread, until the process ends.

        Args:
            *records: instances of the stream's record class.
            stream_ids: as in `send`.
            wait_replicas: as in `send`.
            within: seconds that the call may wait for room in a full partition, for the server, and for
                replicas.

        Raises:
            As `send`.
            TooSlowError: it took longer; records may or may not have been stored. (If they were stored and
                replicas are wanted, NotReplicated is raised instead.)
            Misconfigured: called in a task of Trio.

        Example:
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> app = App("example", redis_url="memory://")
            >>> orders = app.stream("orders", Order, partition_by="order_id")
            >>> orders.send_sync(Order(order_id=1), Order(order_id=2), within=5)
        """
        _portal.run(self._send_within, records, stream_ids, wait_replicas, within)

    async def _send_within(
        self,
        records: tuple[R, ...],
        stream_ids: Iterable[str | bytes] | None,
        wait_replicas: int,
        within: float | None,
    ) -> None:
        until = math.inf if within is None else trio.current_time() + within
        before = self._routing
        with trio.fail_at(until):
            await self.send(*records, stream_ids=stream_ids)
        if wait_replicas:
            await self._confirm(records, before, wait_replicas, max(0.0, until - trio.current_time()))

    def structure(self, plain: Any, *, forbid_unknown: bool = False) -> R:
        """A record from its plain form, as in parsed JSON; unknown fields are ignored, or forbidden.

        Raises:
            RecordInvalid: it does not fit; the error has the path of the value that does not.
        """
        return self.codec.from_plain(plain, forbid_unknown=forbid_unknown)

    def decode(self, event: Event) -> R:
        """An event as a record.

        Raises:
            DeserializationError: it cannot be read as a record; the error names the entry and the field.
        """
        try:
            decode = self.codec.decode  # calling it as an attribute takes Python longer
            return decode(event._fields)
        except DecodeError as error:
            raise DeserializationError(
                self.name, event.partition.number, event.xid.decode(), error.field, error.reason
            ) from error.__cause__

    def key_bytes(self, record: R) -> bytes:
        """The partition key of a record in the canonical form of docs/reference/hashing.

        Raises:
            Misconfigured: a key of this type has no canonical form.

        Example:
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     order_id: int
            >>> App("example").stream("orders", Order, partition_by="order_id").key_bytes(Order(order_id=7))
            b'i7'
        """
        return canonical_key(self._routing.numbering.key_of(record))

    async def _send_one(self, record: R, values: list[bytes], number: int, routing: Routing) -> None:
        """The slower path: the broker must be opened, or the stream declared, or sends are being watched."""
        async with self.connect(self) as broker:
            if self._routing is not routing:
                routing = self._routing
                number = routing.numbering.one(record)
            stored = await broker.append(routing.spec, {number: Batch(self.codec.names, values)})
            if stored[number] != 1:
                await self._deliver(broker, self._left_of(record, values, number, routing))

    def _left_of(self, record: R, values: list[bytes], number: int, routing: Routing) -> Outgoing:
        pending = {number: Pending(self.codec.names, [values], flat)}
        return Outgoing((record,), [number], pending, routing)

    async def _deliver(self, broker: Broker, left: Outgoing) -> None:
        looks = refusals = 0
        while left.pending:
            if self._routing is not left.routing:
                left.reroute(self._routing)
            chunks = Chunks(left.pending)
            stored = await broker.append(left.routing.spec, chunks)
            full = left.took(stored, chunks)
            if chunks.refused:
                raise chunks.refused[0]
            if SEALED in stored.values():
                refusals += 1
                await self._refused(broker, left.routing, refusals)
            looks = 0 if stored_in(stored) else looks + 1
            if full:
                await self._no_room(full[0], left, looks)

    async def _refused(self, broker: Catalog, before: Routing, refusals: int) -> None:
        """A partition takes entries for another layout."""
        if self._routing is before:
            await self.follow(broker)
        if self._routing is before and refusals > 1:
            if refusals > _MOST_REFUSALS:
                raise BrokerRefused(
                    f"{before.spec.app}.{self.name}: the server refuses entries for its own partitions, as "
                    "after a failover that lost a part of its writes. Give it partitions anew: `runnel-trio "
                    f"stream repartition MODULE:{self.name} --to COUNT`"
                )
            await trio.sleep(_FIRST_LOOK * 2**refusals)

    async def _no_room(self, number: int, left: Outgoing, looks: int) -> None:
        size = self.spec.partition_size
        if self.spec.overflow is Overflow.ERROR:
            raise StreamFull(self.name, number, size, tuple(left.unsent()))
        if looks == _PATIENT_LOOKS:
            report(logging.WARNING, "stream-full", stream=self.name, partition=number, partition_size=size)
        await trio.sleep(min(_LAST_LOOK, _FIRST_LOOK * 2 ** min(looks, 10)) * random.uniform(0.5, 1.0))


def refuse_far(
    broker: Server,
    stream: Stream[Any],
    sinks: Collection[Stream[Any]],
    counts: Mapping[str, int] | None = None,
) -> None:
    """Refuse an output stream whose partitions may be on other cluster nodes than those of its source.

    Args:
        broker: where they are.
        stream: the source.
        sinks: the output streams.
        counts: how many partitions a stream is about to have, by its name.

    Raises:
        Misconfigured: an output stream has too few partitions.
    """
    about = counts or {}
    wanted = about.get(stream.name, stream.partition_count)
    for sink in sinks if broker.clustered else ():
        if about.get(sink.name, sink.partition_count) < wanted:
            advice = (
                f"Give it {wanted} first: `runnel-trio stream repartition`"
                if counts
                else f"Declare it with partition_count={wanted}"
            )
            raise Misconfigured(
                f"{sink!r} has fewer partitions than {stream!r}: on a cluster a dead letter is stored on the "
                f"node of its event, in the partition of the same number. {advice}"
            )
