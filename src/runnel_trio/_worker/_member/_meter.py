"""What is told to `Metrics` about one processor. Without metrics there is none, and nothing is counted.

Acknowledgements are counted at commits: one call for each round trip, whatever it carries. Lag and age are
of what the worker learns anyway, with each heartbeat.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import attrs
import trio

from runnel_trio._report._telemetry import Tally
from runnel_trio._rules._cursor import ORIGIN, LogState, parse_id
from runnel_trio._rules._drained import lag
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio.metrics import Metrics

__all__ = ["InHand", "Meter", "Unowned"]


@attrs.frozen
class InHand:
    """What the lanes of a partition work on.

    Attributes:
        lanes: how many there are.
        events: that they have in hand.
        ahead: events that are done ahead of others.
        since: when the oldest one in hand was first found, by the clock of Trio; infinite when none is.
    """

    lanes: int
    events: int
    ahead: int
    since: float


@attrs.frozen
class Unowned:
    """A partition without an owner.

    Attributes:
        number: which one.
        lag: events in it that are not acknowledged.
        first: id of the oldest of them; ``b"0-0"`` when there is none.
    """

    number: int
    lag: int
    first: bytes


@attrs.define(eq=False, kw_only=True)
class Meter:
    """Knows what was told already.

    Attributes:
        metrics: whom to tell.
        stream: name of the processor's stream.
        processor: its name.
        id_time: the time in an id that is given now.
        clock: for durations.
        counts: the worker's, of events that did not go the usual way.
    """

    metrics: Metrics
    stream: str
    processor: str
    id_time: Callable[[], float]
    clock: Callable[[], float]
    counts: Tally
    _unusual: dict[Backlog, list[tuple[int, str, int]]] = attrs.field(factory=dict, init=False)
    _lost: int = attrs.field(default=0, init=False)
    _lags: dict[int, int] = attrs.field(factory=dict, init=False)
    _unowned: Sequence[Unowned] = attrs.field(default=(), init=False)
    _generation: int = attrs.field(default=0, init=False)
    _changed_at: float | None = attrs.field(default=None, init=False)

    def handled(self, seconds: float, calls: int) -> None:
        """See `Metrics.handled`."""
        self.metrics.handled(self.stream, self.processor, seconds, calls)

    def aged(self, seconds: float, events: int) -> None:
        """See `Metrics.aged`."""
        self.metrics.aged(self.stream, self.processor, seconds, events)

    def failed(self, backlog: Backlog, then: str, events: int, last: int) -> None:
        """The handling of so many events failed, and ``then`` is about to be done about it.

        Those that count as done then, ignored or set aside, are told apart when that is committed: by
        ``last``, the number of the last of them.
        """
        self.metrics.failed(self.stream, self.processor, then, events)
        if then in {"ignored", "set_aside"}:
            self._unusual.setdefault(backlog, []).append((last, then, events))

    def committed(self, backlogs: Collection[Backlog], events: int, refused: int, seconds: float) -> None:
        """So many acknowledgements of these backlogs are on the server, by one commit."""
        if events or backlogs:
            self.metrics.committed(self.stream, self.processor, events, seconds)
        if refused:
            self.metrics.commit_refused(self.stream, self.processor, refused)
        for backlog in backlogs if self._unusual else ():
            unusual = self._unusual.pop(backlog, [])
            for last, outcome, count in unusual:
                if backlog.has_committed(last):
                    self.metrics.acknowledged(self.stream, self.processor, outcome, count)
                    events -= count
            if waiting := [x for x in unusual if not backlog.has_committed(x[0])]:
                self._unusual[backlog] = waiting
        if events:
            self.metrics.acknowledged(self.stream, self.processor, "processed", events)

    def forget(self, backlog: Backlog) -> None:
        """It is another owner's now, who will handle again what was not committed."""
        self._unusual.pop(backlog, None)
        self._lags.pop(backlog.number, None)

    def changed(self, generation: int) -> None:
        """The party was heard of."""
        if generation != self._generation:
            self._generation, self._changed_at = generation, self.clock()
            self.metrics.rebalancing(self.stream, self.processor)

    def settled(self) -> None:
        """Everything that is to be this worker's is."""
        if self._changed_at is not None:
            self.metrics.rebalanced(self.stream, self.processor, self.clock() - self._changed_at)
            self._changed_at = None

    def examined(self, states: Mapping[int, LogState | None]) -> None:
        """What the server says of partitions."""
        for number, state in states.items():
            if state is not None:
                self._lags[number] = lag(state)

    def unowned(self, found: Sequence[Unowned]) -> None:
        """These partitions have no owner; they are told of by this member, or there are none."""
        if found or self._unowned:
            self._unowned = found
            self.metrics.unowned(self.stream, self.processor, len(found))

    def works(self, found: Sequence[InHand]) -> None:
        """What the lanes of partitions work on now."""
        oldest = min((x.since for x in found), default=math.inf)
        self.metrics.in_hand(
            self.stream,
            self.processor,
            lanes=sum(x.lanes for x in found),
            events=sum(x.events for x in found),
            ahead=sum(x.ahead for x in found),
            oldest=max(0.0, trio.current_time() - oldest) if oldest < math.inf else 0.0,
        )

    def stands(self, backlogs: Collection[Backlog], quarantined: int) -> None:
        """How things are now."""
        lost = self.counts[self.processor, "events-lost"]
        if lost > self._lost:
            self.metrics.acknowledged(self.stream, self.processor, "lost", lost - self._lost)
            self._lost = lost
        own = {x.number for x in backlogs}
        others = [x for x in self._unowned if x.number not in own]
        firsts = [x.first for x in backlogs if x.first is not None]
        firsts += [x.first for x in others if x.first != ORIGIN]
        oldest = min((parse_id(first)[0] for first in firsts), default=None)
        self.metrics.standing(
            self.stream,
            self.processor,
            owned=len(backlogs),
            quarantined=quarantined,
            unacked=sum(x.unacknowledged for x in backlogs),
            lag=sum(max(0, self._lags.get(x.number, 0) - x.committed_ahead) for x in backlogs)
            + sum(x.lag for x in others),
            age=0.0 if oldest is None else max(0.0, self.id_time() - oldest / 1000),
        )
        self.metrics.parked(
            self.stream,
            self.processor,
            keys=sum(len(x.parked.heads) for x in backlogs),
            events=sum(x.parked.count for x in backlogs),
        )
