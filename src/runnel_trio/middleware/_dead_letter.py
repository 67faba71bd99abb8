"""Dead letters: failed events go to a separate stream, and processing goes on.

A letter is stored in the same step on the server that acknowledges the event, so it is neither lost nor
duplicated. It goes to the sink's partition with the same number (modulo the sink's count). Partitions with
the same number share a slot, so one script can do both, on a cluster too.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any

import attrs

from runnel_trio._broker._values import Batch, Output
from runnel_trio._event import Event
from runnel_trio._operate._letters import Dead, DeadLetters, Letter
from runnel_trio._report._telemetry import report
from runnel_trio._report._traceback import formatted, note, said_elsewhere
from runnel_trio._report._words import numbered
from runnel_trio._rules._failure import SetAside
from runnel_trio._stream import Stream
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import Misconfigured, RecordInvalid, StreamFull
from runnel_trio.interfaces import Failure, Middleware

__all__ = ["DeadLetterMiddleware"]


@attrs.define(eq=False)
class DeadLetterMiddleware(Middleware):
    """Stores events that fail in another stream, and acknowledges them.

    Such an event counts as handled, whatever the exception policy; the policy only applies to failures that
    cannot be blamed on an event. After `Events.take` the whole list fails, and each of its events becomes a
    letter. An event whose handling is cancelled, or ends with ``break``, has not failed. A full sink makes
    the partition wait for room. If a link behind this one itself fails, all unhandled events that it was
    given have failed.

    Attributes:
        sink: a stream of the same app, with `Dead` as its record, or with the source's own record if that is
            primitive: then entries are stored as they are. On Redis Cluster it needs the source's
            partition count.
        by_hand: store nothing automatically. Failures follow the exception policy; only
            ``runnel-trio processor resume --dead-letter`` (`Processor.resume`) makes letters, from partitions
            that stand still under ``"quarantine"``.

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

    def on_failure(self, failure: Failure) -> SetAside | None:
        """See `Middleware.on_failure`."""
        if self.by_hand or not failure.is_behind(self):
            return None
        return SetAside(partial(self._letters_of, failure))

    def _letters_of(self, failure: Failure) -> list[Output] | None:
        """The letters of a failure; None if they cannot be stored, which is logged."""
        error, now = failure.error, datetime.now(UTC)
        try:
            return self._outputs(failure.stream, failure.events, said_elsewhere(error), formatted(error), now)
        except (RecordInvalid, StreamFull) as fault:
            place = numbered(failure.stream, [failure.partition.number])
            report(logging.ERROR, "not-set-aside", place=place, sink=self.sink.name, reason=fault)
            note(error, f"It could not be stored in the dead-letter stream {self.sink.name!r}: {fault}")
            return None

    def _outputs(
        self, stream: str, failed: Sequence[Event], text: str, trace: str, now: datetime
    ) -> list[Output]:
        """The letters to store for failed events of a stream.

        Raises:
            RecordInvalid: the sink's serializer fails.
            StreamFull: this many never fit at once.
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

    @property
    def store(self) -> DeadLetters:
        """The stored letters, for operators."""
        return DeadLetters(self.sink, self._sources, self._outputs)

    async def letters(
        self, *, partitions: Collection[int] | None = None, limit: int | None = None
    ) -> list[Letter]:
        """All stored letters, by partition, in order.

        Args:
            partitions: numbers of the sink's partitions; all by default.
            limit: return at most this many.
        """
        return await self.store.read(partitions=partitions, limit=limit)

    async def replay(self, letters: Collection[Letter]) -> int:
        """Put letters back, each at the end of its former partition; returns how many still existed.

        Each letter moves in one step: it is in one of the two streams, never in both or in none.

        Raises:
            Misconfigured: a letter cannot be read, or this middleware is not declared with its stream; this
                letter and the following ones stay.
            StreamFull: there is no room; this letter and the following ones stay.
        """
        return await self.store.replay(letters)

    async def drop(self, letters: Collection[Letter]) -> int:
        """Delete letters; returns how many still existed."""
        return await self.store.drop(letters)


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
