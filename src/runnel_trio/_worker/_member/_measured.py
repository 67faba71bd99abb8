"""The source of a processor with metrics: times handlers from one pause to the next, at no cost per event.

A `Source` looks up only now and then: when its slice of 1.5 ms is over, or what it may hand out is used up.
Between two such looks everything is handling; so the time between them, and how many events went out
meanwhile, is all that must be known. Nothing is added to the way of an event: no link, no `if`, no clock. It
adapts by itself: a handler that takes longer than a slice is looked at after each event, one that takes
microseconds after hundreds.

The total is exact. What is blurred is which of the events within 1.5 ms took how long: they count with their
mean, except for one that ran over the end of the slice: that one is known by how far it ran over.

It costs two readings of the clock, one of the time of day and three additions, 4 µs, for each look: below
0.3 % of a slice. ("records(), metrics on" in docs/benchmarks compares.)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import attrs

from runnel_trio._broker._protocol import Acquired
from runnel_trio._event import Origin, Partition
from runnel_trio._processor import Processor
from runnel_trio._rules._cursor import ORIGIN, parse_id
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._caution import Caution
from runnel_trio._worker._member._committer import Committer
from runnel_trio._worker._member._meter import Meter
from runnel_trio._worker._member._source import Source
from runnel_trio._worker._member._trust import Trust

__all__ = ["MeasuredSource", "source_maker"]

#: Seconds behind the end of its slice from which on an event counts for itself.
_OVER = 0.0005


@attrs.define(eq=False, kw_only=True)
class MeasuredSource(Source):
    """A `Source` that tells how long handling takes, and how old events are then.

    Attributes:
        meter: whom to tell.
    """

    meter: Meter
    _began: float = attrs.field(default=0.0, init=False)
    _from: int = attrs.field(default=-1, init=False)
    _age: float = attrs.field(default=0.0, init=False)

    async def _clearance(self, count: int) -> None:
        self.ended()
        await super()._clearance(count)
        backlog, meter = self.backlog, self.meter
        stored = int(backlog.head.partition(b"-")[0]) / 1000
        self._age = max(0.0, meter.id_time() - stored)
        self._from, self._began = backlog.taken_to, self.clock()

    def ended(self) -> None:
        """What was handed out since the last look is handled, or has failed."""
        first, self._from = self._from, -1
        events = self.backlog.taken_to - first
        if first < 0 or events <= 0:
            return
        now, meter = self.clock(), self.meter
        stream, processor, tell = meter.stream, meter.processor, meter.metrics.handled
        meter.metrics.aged(stream, processor, self._age, events)
        took = now - self._began
        if self.batch is not None or events == 1:
            tell(stream, processor, took, 1)
            return
        over = now - self._pause_at
        if over > _OVER:  # the last one ran over the end: it began before
            tell(stream, processor, over, 1)
            took, events = took - over, events - 1
        tell(stream, processor, took / events, events)


def source_maker(
    processor: Processor[Any],
    granted: Acquired,
    backlog: Backlog,
    *,
    key: str,
    trust: Trust,
    clock: Callable[[], float],
    committer: Committer,
    caution: Caution | None,
    meter: Meter | None,
) -> Callable[[], Source]:
    """What makes a source for each call of a processor function over a partition.

    With a meter it is of another class: so one without has no step more for that.
    """
    lease = granted.lease
    origin = Origin(
        partition=Partition(number=lease.partition, key=key, epoch=lease.epoch),
        group=processor.name.encode(),
        decode=processor.stream.decode,
        recovering_to=parse_id(granted.read_to or ORIGIN),
    )
    return partial(
        Source if meter is None else partial(MeasuredSource, meter=meter),
        backlog=backlog,
        origin=origin,
        max_unacked=processor.max_unacked,
        trust=trust,
        clock=clock,
        processed=committer.mark,
        hurry=committer.hurry,
        caution=caution,
    )
