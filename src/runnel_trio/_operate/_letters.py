"""Stored dead letters: list, send back, drop; and make them by hand, from partitions that stand still."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import (
    Batch,
    CommitOutcome,
    Layouts,
    Output,
    ProcessorSpec,
    Quarantine,
    StreamSpec,
)
from runnel_trio._codec import DecodeError, Record
from runnel_trio._event import Event, Origin, Partition
from runnel_trio._operate._cursors import predecessor
from runnel_trio._rules._cursor import ORIGIN, parse_id
from runnel_trio._stream import Stream, refuse_far
from runnel_trio.exceptions import Misconfigured, StreamFull

__all__ = ["Dead", "DeadLetters", "Letter"]

#: How many letters are read at a time.
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
    """A dead letter, and where it is.

    Attributes:
        partition: number of the sink's partition that holds it.
        xid: its Redis stream id there.
        record: a `Dead`, or the source's record if the sink keeps those; None if it cannot be read.
        fields: what is stored: fields and values in turn.
        layout: the layout of the sink's partitions (see `Partition`); there are two during a repartition.
    """

    partition: int
    xid: str
    record: Record | None
    fields: tuple[bytes, ...]
    layout: int = 1

    @property
    def id(self) -> str:
        """Its name on the command line: ``PARTITION/ID``."""
        return f"{self.partition}/{self.xid}"

    @property
    def data(self) -> dict[str, str]:
        """Its fields as text; bytes that are not UTF-8 are escaped."""
        text = [part.decode(errors="backslashreplace") for part in self.fields]
        return dict(zip(text[::2], text[1::2], strict=True))


@attrs.frozen(eq=False)
class DeadLetters:
    """The dead letters of one middleware.

    Attributes:
        sink: the stream that holds them.
        sources: the streams that they come from, by name.
        outputs: makes letters from events of a stream, with the error, its traceback and the time; raises
            `RecordInvalid` or `StreamFull`.
    """

    sink: Stream[Any]
    sources: Mapping[str, Stream[Any]]
    outputs: Callable[[str, Sequence[Event], str, str, datetime], list[Output]]

    async def read(
        self, *, partitions: Collection[int] | None = None, limit: int | None = None
    ) -> list[Letter]:
        """All stored letters, by partition, in order.

        Args:
            partitions: numbers of the sink's partitions; all by default.
            limit: return at most this many.
        """
        found: list[Letter] = []
        async with self.sink.connect(self.sink).looking() as broker:
            for spec, number in await self._partitions(broker, partitions):
                after = ORIGIN
                while limit is None or len(found) < limit:
                    most = _PAGE if limit is None else min(_PAGE, limit - len(found))
                    page = await broker.entries(spec, number, after=after, count=most)
                    if not page:
                        break
                    after = page[-1][0]
                    found += [
                        Letter(number, xid.decode(), self._decoded(fields), tuple(fields), spec.layout)
                        for xid, fields in page
                    ]
        return found

    async def replay(self, letters: Collection[Letter]) -> int:
        """Put letters back, each at the end of its former partition; returns how many still existed.

        Each letter moves in one step: it is in one of the two streams, never in both or in none.

        Raises:
            Misconfigured: a letter cannot be read, or the middleware is not declared with its stream; this
                letter and the following ones stay.
            StreamFull: there is no room; this letter and the following ones stay.
        """
        moved = 0
        async with self.sink.connect(self.sink).looking() as broker:
            specs = {spec.layout: spec for spec, _ in await self._partitions(broker, None)}
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
        """Delete letters; returns how many still existed."""
        async with self.sink.connect(self.sink).looking() as broker:
            gone = 0
            for spec, number in await self._partitions(broker, None):
                here = [x for x in letters if (x.layout, x.partition) == (spec.layout, number)]
                xids = [x.xid.encode() for x in here]
                gone += await broker.remove(spec, number, xids) if xids else 0
            return gone

    async def _partitions(
        self, broker: Broker, partitions: Collection[int] | None
    ) -> list[tuple[StreamSpec, int]]:
        """The sink's partitions, including former ones."""
        layouts = await broker.layouts(self.sink.spec) or Layouts(self.sink.spec)
        most = max(x.partition_count for x in layouts.all)
        chosen = range(most) if partitions is None else sorted(set(partitions))
        for number in chosen:
            if not 0 <= number < most:
                raise Misconfigured(f"{self.sink!r} has no partition {number}")
        return [(spec, number) for spec in layouts.all for number in chosen if number < spec.partition_count]

    def _decoded(self, fields: Sequence[bytes]) -> Record | None:
        try:
            record: Record = self.sink.codec.decode(fields)
        except DecodeError:
            return None
        return record

    def _source_of(self, letter: Letter) -> Stream[Any]:
        record = letter.record
        if isinstance(record, Dead):
            if record.stream not in self.sources:
                raise Misconfigured(f"letter {letter.xid} is of stream {record.stream!r}: it is not declared")
            return self.sources[record.stream]
        if self.sink.record is Dead or not self.sources:
            raise Misconfigured(
                f"letter {letter.xid} does not say where it came from: it can only be dropped"
            )
        (source,) = self.sources.values()
        return source

    def _way_back(self, source: Stream[Any], letter: Letter) -> Output:
        record = letter.record
        if isinstance(record, Dead):
            if not record.data:
                raise Misconfigured(f"letter {letter.xid} holds no event: it can only be dropped")
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

    async def open(self, broker: Broker, source: StreamSpec) -> None:
        """Declare the sink, before letters are made by hand from a stream's events.

        Raises:
            Misconfigured: on a cluster, the letters may be on another node than the events.
        """
        self.sink.adopt((await broker.declare(self.sink.declared_spec)).current)
        refuse_far(broker, self.sources[source.name], [self.sink])

    async def bury(self, broker: Broker, stage: ProcessorSpec, why: Quarantine) -> CommitOutcome:
        """Let a partition go on; the events at which it stands still become letters in the same step.

        Raises:
            RecordInvalid: the sink's serializer fails.
            StreamFull: there is no room for the letters.
        """
        outputs = await self._outputs_for(broker, stage, why)
        outcome = await broker.resume(stage, why, skip=True, outputs=outputs)
        if outcome is CommitOutcome.SEALED:
            await self.sink.follow(broker)
            outputs = await self._outputs_for(broker, stage, why)
            outcome = await broker.resume(stage, why, skip=True, outputs=outputs)
        if outcome is CommitOutcome.FULL:
            number = why.partition % self.sink.partition_count
            raise StreamFull(self.sink.name, number, self.sink.spec.partition_size, (0,))
        return outcome

    async def _outputs_for(self, broker: Broker, stage: ProcessorSpec, why: Quarantine) -> list[Output]:
        """The letters to store."""
        source, number = self.sources[stage.stream.name], why.partition
        partition = Partition(number=number, key=broker.log_key(stage.stream, number))
        origin = Origin(partition=partition, group=b"", decode=source.decode)
        failed: list[Event] = []
        for first, last, count in [(x, x, 1) for x in why.ids] or [(why.first, why.last, why.count)]:
            entries = await broker.entries(stage.stream, number, after=predecessor(first), count=count)
            failed += [Event(origin, *entry) for entry in entries if parse_id(entry[0]) <= parse_id(last)]
        when = datetime.fromisoformat(why.time)
        return self.outputs(source.name, failed, why.error, why.traceback, when) if failed else []


def _number_of(source: Stream[Any], names: Sequence[bytes], values: Sequence[bytes], otherwise: int) -> int:
    """The partition that an entry belongs to; an entry that cannot be read has no key."""
    try:
        fields = [part for field in zip(names, values, strict=True) for part in field]
        return source.partition_of(source.codec.decode(fields))
    except DecodeError:
        return otherwise % source.partition_count
