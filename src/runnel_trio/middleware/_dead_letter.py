"""Dead letters: what failed goes to a stream of its own, and processing goes on.

A letter is stored in the same step on the server that acknowledges the event, so that it is neither lost
nor doubled. It goes to the sink's partition of the same number (modulo the sink's count): partitions of one
number share a slot, which is what lets one script do both, on a cluster too.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import attrs

from runnel_trio._broker._protocol import (
    Batch,
    Broker,
    CommitOutcome,
    Layouts,
    Output,
    ProcessorSpec,
    StreamSpec,
)
from runnel_trio._codec import DecodeError, Record
from runnel_trio._event import Event, Origin, Partition
from runnel_trio._operate._cursors import Quarantined, predecessor
from runnel_trio._rules._cursor import ORIGIN, parse_id
from runnel_trio._stream import Stream
from runnel_trio._telemetry import report
from runnel_trio._traceback import note, said_elsewhere, told
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import LeaseLost, Misconfigured, RecordInvalid, StreamFull
from runnel_trio.interfaces import Middleware

__all__ = ["Dead", "DeadLetterMiddleware", "Letter"]

#: Letters that are read at a time.
_PAGE = 500


class Dead(Record):
    """A dead letter: an event that could not be processed, and why.

    Attributes:
        stream: name of the stream that it was in.
        partition: number of the partition there.
        xid: its Redis stream id there.
        time: when it failed.
        error: the exception, as ``type: text``.
        traceback: as Python prints it.
        data: the entry's fields as they were stored.
    """

    stream: str
    partition: int
    xid: str
    time: datetime
    error: str
    traceback: str
    data: dict[str, bytes]


@attrs.frozen
class Letter:
    """A dead letter in its place.

    Attributes:
        partition: number of the sink's partition that holds it.
        xid: its Redis stream id there.
        record: a `Dead`, or the source's record where the sink keeps those; None when it cannot be read.
        fields: what is stored: fields and values in turn.
        layout: of the sink's partitions, see `Partition`; there are two while these are being changed.
    """

    partition: int
    xid: str
    record: Record | None
    fields: tuple[bytes, ...]
    layout: int = 1


@attrs.define(eq=False)
class DeadLetterMiddleware(Middleware):
    """Stores the events that the processor function fails with in another stream, and acknowledges them.

    The event then counts as handled, whatever the exception policy; the policy is for failures that no
    event can be blamed for. After `Events.take` the whole list fails, and each of its events is a letter.
    What is cancelled, or left by ``break``, has not failed. A full sink makes the partition wait for room.
    When a link behind this one fails itself, all that it was given and that is not handled has failed.

    Attributes:
        sink: a stream of the same app, with `Dead` as its record, or with the source's own record if that is
            primitive: then entries are stored as they are. On Redis Cluster it needs the source's
            partition count.
        by_hand: nothing is stored by itself: failures follow the exception policy, and letters are made by
            ``runnel-trio processor resume --dead-letter`` (`Processor.resume`) alone, of what stands still
            under ``"quarantine"``.

    Example:
        >>> from runnel_trio import App, Record
        >>> from runnel_trio.middleware import Dead, DeadLetterMiddleware
        >>> class Order(Record):
        ...     order_id: int
        >>> app = App("example")
        >>> orders = app.stream("orders", Order, partition_by="order_id")
        >>> dead = DeadLetterMiddleware(app.stream("dead-orders", Dead, partition_by="xid"))
        >>> @app.processor(orders, middleware=[dead])
        ... async def book(events):
        ...     async for order in events.records():
        ...         assert order.order_id > 0
    """

    sink: Stream[Any]
    by_hand: bool = attrs.field(default=False, kw_only=True)
    _sources: dict[str, Stream[Any]] = attrs.field(factory=dict, init=False)

    def declared(self, stream: Stream[Any]) -> Sequence[Stream[Any]]:
        """See `Middleware.declared`."""
        if stream.spec.app != self.sink.spec.app:
            raise Misconfigured(f"{self.sink!r} must be a stream of the same app as {stream!r}")
        if stream is self.sink:
            raise Misconfigured(f"{stream!r} cannot hold the dead letters of itself: declare another stream")
        alike = self.sink.record is stream.record and stream.codec.is_primitive
        if self.sink.record is not Dead and not alike:
            raise Misconfigured(
                f"{self.sink!r} cannot hold dead letters of {stream!r}: declare it with record=Dead"
                + (f", or with record={stream.record.__name__}" if stream.codec.is_primitive else "")
            )
        self._sources[stream.name] = stream
        if len(self._sources) > 1 and self.sink.record is not Dead:
            raise Misconfigured(
                f"{self.sink!r} cannot hold dead letters of {' and '.join(self._sources)}: they do not say "
                "where they came from. Declare it with record=Dead, or give each stream its own"
            )
        return (self.sink,)

    async def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """See `Middleware.handler`."""
        async for item in parent:
            try:
                yield item
            except GeneratorExit:
                error = events.exception
                blamed = isinstance(error, Exception) and not isinstance(error, LeaseLost)
                if blamed and not events.retrying and not self.by_hand:
                    self._set_aside(events, error)
                raise

    def _set_aside(self, events: Any, error: Exception) -> None:
        """Let the policy decide where this cannot be done, and never in silence."""
        failed = events.failed()  # not what was yielded last: links behind this one read ahead, or make lists
        if not failed:
            return
        try:
            outputs = self._outputs(
                events.stream, failed, said_elsewhere(error), told(error), datetime.now(UTC)
            )
        except (RecordInvalid, StreamFull) as fault:
            place = f"{events.stream}[{failed[0].partition.number}]"
            report(logging.ERROR, "not-set-aside", place=place, sink=self.sink.name, reason=fault)
            note(error, f"It could not be stored in the dead-letter stream {self.sink.name!r}: {fault}")
        else:
            events.set_aside(outputs)

    async def buried(
        self, broker: Broker, source: Stream[Any], place: ProcessorSpec, why: Quarantined
    ) -> list[Output]:
        """What is to be stored for the events that a partition of ``source`` stands still at.

        Raises:
            RecordInvalid, StreamFull: as `_outputs`.
        """
        number, first = why.partition, predecessor(why.first.encode())
        partition = Partition(number=number, key=broker.log_key(place.stream, number))
        origin = Origin(partition=partition, group=b"", decode=source.decode)
        entries = await broker.entries(place.stream, number, after=first, count=why.count)
        failed = [
            Event(origin, xid, fields)
            for xid, fields in entries
            if parse_id(xid) <= parse_id(why.last.encode())
        ]
        when = datetime.fromisoformat(why.time)
        return self._outputs(source.name, failed, why.error, why.traceback, when) if failed else []

    def full(self, number: int) -> StreamFull:
        """The error of a letter of a partition that found no room."""
        number %= self.sink.partition_count
        return StreamFull(self.sink.name, number, self.sink.spec.partition_size, (0,))

    def _outputs(
        self, stream: str, failed: Sequence[Event], text: str, trace: str, now: datetime
    ) -> list[Output]:
        """What is to be stored for events of a stream that failed.

        Raises:
            RecordInvalid: the sink's serializer fails.
            StreamFull: so many never fit at once.
        """
        number = failed[0].partition.number % self.sink.partition_count
        spec = self.sink.spec
        if len(failed) > spec.partition_size and spec.overflow is not Overflow.TRIM:
            raise StreamFull(spec.name, number, spec.partition_size, tuple(range(len(failed))))
        if self.sink.record is not Dead:
            rows = [tuple(event._fields) for event in failed]
        else:
            letters = [_letter(stream, event, now, text, trace) for event in failed]
            rows = [tuple(self.sink.codec.encode(letter)) for letter in letters]
        return [
            Output(self.sink.spec, number, Batch(names, [value for row in alike for value in row[1::2]]))
            for names, alike in groupby(rows, key=itemgetter(slice(0, None, 2)))
        ]

    async def letters(
        self, *, partitions: Collection[int] | None = None, limit: int | None = None
    ) -> list[Letter]:
        """The letters there are, by partition and then in their order.

        Args:
            partitions: numbers of the sink's partitions; all by default.
            limit: at most so many.
        """
        found: list[Letter] = []
        async with self.sink.connect(self.sink).looking() as broker:
            for spec, number in await self._places(broker, partitions):
                after = ORIGIN
                while limit is None or len(found) < limit:
                    most = _PAGE if limit is None else min(_PAGE, limit - len(found))
                    page = await broker.entries(spec, number, after=after, count=most)
                    if not page:
                        break
                    after = page[-1][0]
                    found += [
                        Letter(number, xid.decode(), self._read(fields), tuple(fields), spec.layout)
                        for xid, fields in page
                    ]
        return found

    async def replay(self, letters: Collection[Letter]) -> int:
        """Put letters back, each at the end of the partition that it came from; how many were still there.

        Each one is moved in one step: it is in one of the two streams, never in both or in none.

        Raises:
            Misconfigured: a letter cannot be read, or its stream is none that this middleware is declared
                with; the letters from this one on stay.
            StreamFull: there is no room; the letters from this one on stay.
        """
        moved = 0
        async with self.sink.connect(self.sink).looking() as broker:
            specs = {spec.layout: spec for spec, _ in await self._places(broker, None)}
            for at, letter in enumerate(letters):
                outcome, output = await self._put_back(broker, specs.get(letter.layout), letter)
                if outcome is CommitOutcome.FULL:
                    left = tuple(range(at, len(letters)))
                    raise StreamFull(output.stream.name, output.partition, output.stream.partition_size, left)
                moved += outcome is CommitOutcome.COMMITTED
        return moved

    async def _put_back(
        self, broker: Broker, spec: StreamSpec | None, letter: Letter
    ) -> tuple[CommitOutcome, Output]:
        source = self._source_of(letter)
        async with source.connect(source):
            output = self._way_back(source, letter)
            if spec is None:  # its layout is gone, and so is the letter
                return CommitOutcome.REWOUND, output
            outcome = await broker.transfer(spec, letter.partition, letter.xid.encode(), output)
            if outcome is CommitOutcome.SEALED:
                await source.follow(broker)
                output = self._way_back(source, letter)
                outcome = await broker.transfer(spec, letter.partition, letter.xid.encode(), output)
            return outcome, output

    async def drop(self, letters: Collection[Letter]) -> int:
        """Delete letters; how many were still there."""
        async with self.sink.connect(self.sink).looking() as broker:
            gone = 0
            for spec, number in await self._places(broker, None):
                place = spec.layout, number
                xids = [x.xid.encode() for x in letters if (x.layout, x.partition) == place]
                gone += await broker.remove(spec, number, xids) if xids else 0
            return gone

    async def _places(
        self, broker: Broker, partitions: Collection[int] | None
    ) -> list[tuple[StreamSpec, int]]:
        """The sink's partitions, the former ones too."""
        layouts = await broker.layouts(self.sink.spec) or Layouts(self.sink.spec)
        most = max(x.partition_count for x in layouts.all)
        chosen = range(most) if partitions is None else sorted(set(partitions))
        for number in chosen:
            if not 0 <= number < most:
                raise Misconfigured(f"{self.sink!r} has no partition {number}")
        return [(spec, number) for spec in layouts.all for number in chosen if number < spec.partition_count]

    def _read(self, fields: Sequence[bytes]) -> Record | None:
        try:
            record: Record = self.sink.codec.decode(fields)
        except DecodeError:
            return None
        return record

    def _source_of(self, letter: Letter) -> Stream[Any]:
        record = letter.record
        if isinstance(record, Dead):
            if record.stream not in self._sources:
                raise Misconfigured(f"letter {letter.xid} is of stream {record.stream!r}: it is not declared")
            return self._sources[record.stream]
        if self.sink.record is Dead or not self._sources:
            raise Misconfigured(
                f"letter {letter.xid} does not say where it came from: it can only be dropped"
            )
        (source,) = self._sources.values()
        return source

    def _way_back(self, source: Stream[Any], letter: Letter) -> Output:
        record = letter.record
        if isinstance(record, Dead):
            names, values = [name.encode() for name in record.data], list(record.data.values())
            number = record.partition
            if source.spec.layout > 1:  # it may have come from partitions that are no more
                number = _number_of(source, names, values, number)
            return Output(source.spec, number, Batch(names, values))
        number = letter.partition if record is None else source.partition_of(record)
        if not number < source.partition_count:
            raise Misconfigured(
                f"letter {letter.xid} is of no partition of {source!r}: it can only be dropped"
            )
        return Output(source.spec, number, Batch(letter.fields[::2], letter.fields[1::2]))


def _number_of(source: Stream[Any], names: Sequence[bytes], values: Sequence[bytes], otherwise: int) -> int:
    """The partition that an entry belongs to; what cannot be read has no key."""
    try:
        fields = [part for field in zip(names, values, strict=True) for part in field]
        return source.partition_of(source.codec.decode(fields))
    except DecodeError:
        return otherwise % source.partition_count


def _letter(stream: str, event: Event, now: datetime, text: str, trace: str) -> Dead:
    return Dead(
        stream=stream,
        partition=event.partition.number,
        xid=event.xid.decode(),
        time=now,
        error=text,
        traceback=trace,
        data={name.decode(errors="replace"): value for name, value in event.data.items()},
    )
