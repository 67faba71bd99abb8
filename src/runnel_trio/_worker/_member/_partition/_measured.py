"""The source of a processor with metrics: times handlers from one pause to the next, at no cost per event.

A `Source` looks up only now and then: when its slice of 1.5 ms is over, or what it may hand out is used up.
Between two such looks everything is handling; so the time between them, and how many events went out
meanwhile, is all that must be known. Nothing is added to the way of an event: no link, no `if`, no clock. It
adapts by itself: a handler that takes longer than a slice is looked at after each event, one that takes
microseconds after hundreds.

The total is exact. What is blurred is which of the events within 1.5 ms took how long: they count with their
mean, except for one that ran over the end of the slice: that one is known by how far it ran over. Lists of
`take` are looked at one by one, and those of 1.5 ms are told together.

It costs two readings of the clock and some additions for each look, 1 µs, and 4 µs each time that something
is told: below 0.4 % of a slice of single events, 2 % of lists of a hundred that do nothing. ("metrics on" in
docs/benchmarks compares.)
"""

from __future__ import annotations

import attrs

from runnel_trio._worker._member._meter import Meter
from runnel_trio._worker._member._partition._source import Source

__all__ = ["MeasuredSource"]

#: Seconds after which what was found out is told: as long as a slice, so single events are told at each look.
_TELL = 0.0015
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
    _since: float = attrs.field(default=0.0, init=False)
    _age: float = attrs.field(default=0.0, init=False)
    _took: float = attrs.field(default=0.0, init=False)
    _calls: int = attrs.field(default=0, init=False)
    _events: int = attrs.field(default=0, init=False)

    async def _clearance(self, count: int) -> None:
        if self._from >= 0:
            self._look()
            if self.queue.available(count) < count:
                self._tell()  # before it waits
        await super()._clearance(count)
        queue, batch = self.queue, self.batch
        if batch is not None and count == 1 < batch[0]:
            if queue.available(batch[0]) < batch[0]:
                self._tell()
            return  # a list is still to be gathered, and looked for once more
        self._from, self._began = queue.handed_out, self.clock()
        if not self._events:
            self._since = self._began
            self._age = self.meter.id_time() - int(queue.head.partition(b"-")[0]) / 1000

    def _goes_on(self) -> bool:
        return False  # it looks at the end of each slice

    def end_call(self) -> None:
        """What was handed out is handled, or has failed."""
        if self._from >= 0:
            self._look()
        self._tell()

    def _look(self) -> None:
        """Add what was handed out since the last look."""
        events, self._from = self.queue.handed_out - self._from, -1
        if not events:
            return
        now = self.clock()
        took, calls, over = now - self._began, 1 if self.batch is not None else events, now - self._pause_at
        if calls > 1 and over > _OVER:  # the last one ran over the end: it began before
            self.meter.handled(over, 1)
            took, calls = took - over, calls - 1
        elif calls == 1 and took > _TELL:
            self._tell()
        self._took += took
        self._calls += calls
        self._events += events
        if now - self._since >= _TELL:
            self._tell()

    def _tell(self) -> None:
        if self._events:
            self.meter.aged(max(0.0, self._age), self._events)
            self.meter.handled(self._took / self._calls, self._calls)
            self._took, self._calls, self._events = 0.0, 0, 0
