"""Where the events of a call come from, and where they go when it is over.

`InOrderQueue` hands out a partition's entries in the order of the log, to one call at a time. `LaneQueue`, of
`_key_dispatcher`, hands out entries whose keys are free, to many calls beside each other. What a queue hands
out is in hand until it is done or given back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs

from runnel_trio._broker._values import Output
from runnel_trio._event import Event, Origin
from runnel_trio._override import override
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._effects import Emission
from runnel_trio._worker._member._parked_keys import Failed

__all__ = ["EventQueue", "InOrderQueue"]


class EventQueue(Protocol):
    """The events for one lane.

    Attributes:
        backlog: the partition's entries.
        origin: what the events say of where they come from.
        done_up_to: count as done everything that was handed out up to the event of this number.
    """

    backlog: Backlog
    origin: Origin
    done_up_to: Callable[[int], None]

    @property
    def in_hand(self) -> int:
        """How many events of the partition are in hand of other lanes."""
        ...

    @property
    def waits_for_others(self) -> bool:
        """Whether any other lane is at work: in code of the user's."""
        ...

    @property
    def gave_way(self) -> bool:
        """Whether other lanes have run since this one was handed something, so that it need not rest."""
        ...

    @property
    def handed_out(self) -> int:
        """How many events were handed out; a number to compare with an earlier one."""
        ...

    @property
    def head(self) -> bytes:
        """The id of the event that `take` returns next.

        Raises:
            IndexError: there is none.
        """
        ...

    @property
    def head_is_parked(self) -> bool:
        """Whether that event is of a parked key, and is handed out again."""
        return False

    @property
    def first_in_hand(self) -> bytes | None:
        """The id of the first event in hand of this lane; None when none is."""
        ...

    def available(self, count: int) -> int:
        """How many events can be taken; it looks no further than for ``count``.

        Where some were given back, as many as are wanted: they come at once, and by themselves.
        """
        ...

    def allow(self, most: int) -> None:
        """Let up to ``most`` events be taken before somebody looks again whether more may be."""
        ...

    def take(self) -> Event | None:
        """The next event; None when there is none."""
        ...

    def take_many(self, count: int) -> list[Event]:
        """Up to ``count`` events."""
        ...

    def events_in_hand(self, last: int) -> list[Event]:
        """What was handed out and is not done, up to the event of this number."""
        ...

    @property
    def last_in_hand(self) -> int:
        """The number of the last event that was handed out; -1 for none."""
        ...

    def finish(self, number: int, outputs: Sequence[Output | Emission] = ()) -> None:
        """As `done_up_to`; outputs are stored by the commit that acknowledges the event of this number."""
        ...

    @property
    def tries(self) -> int:
        """How often the first event in hand, or given back, was tried and failed before."""
        ...

    def count_try(self) -> None:
        """What is in hand was tried, and failed."""
        ...

    def give_back(self) -> None:
        """Let everything in hand be handed out again: it comes first."""
        ...

    def park(self, last: int, failed: Mapping[int, Failed]) -> None:
        """Park the keys of events in hand that have failed; what else was handed out is done.

        Args:
            last: the number of the last event that this is about.
            failed: what has failed, by the numbers of events.
        """
        ...

    def forget_turn(self) -> None:
        """The call has failed: what was written to tables for the event in hand is gone."""

    def put_off(self, seconds: float) -> bool:
        """Hand out what is in hand again after so long; False where only the lane itself can wait."""
        ...

    async def changed(self) -> None:
        """Wait until there may be something to take, or nothing will be handed out any more.

        Cancellation: nothing is taken, nothing is lost.
        """
        ...

    def leave(self) -> None:
        """The lane is at work in user's code: the function is called, or its wait was cancelled."""
        ...


@attrs.define(eq=False)
class InOrderQueue(EventQueue):
    """The entries of a partition as they stand in the log, for the only lane that it has."""

    backlog: Backlog
    origin: Origin
    done_up_to: Callable[[int], None] = attrs.field(init=False)
    _tried: tuple[int, int] = attrs.field(default=(-1, 0), init=False)

    def __attrs_post_init__(self) -> None:
        self.done_up_to = self.backlog.progress.done_up_to

    @property
    @override
    def in_hand(self) -> int:
        return 0

    @property
    @override
    def waits_for_others(self) -> bool:
        return False

    @property
    @override
    def gave_way(self) -> bool:
        return False

    @property
    @override
    def handed_out(self) -> int:
        return self.backlog.handed_out

    @property
    @override
    def head(self) -> bytes:
        return self.backlog.head

    @property
    @override
    def first_in_hand(self) -> bytes | None:
        return self.backlog.first if self.backlog.in_hand else None

    @override
    def available(self, count: int) -> int:
        return self.backlog.waiting

    @override
    def allow(self, most: int) -> None:
        self.backlog.allow(most)

    @override
    def take(self) -> Event | None:
        backlog = self.backlog
        progress = backlog.progress
        if progress.in_order:  # in the ordinary way: as `Backlog.take`, without a call
            number = progress.taken_to
            xid, fields = backlog._entries[number - backlog._base]  # noqa: SLF001 (without a call)
            progress.taken_to = number + 1
            backlog.allowance = allowance = backlog.allowance - 1
            if allowance <= 0 and backlog.waiting == backlog.prefetch.low_water:
                backlog.on_room()
        else:
            number, (xid, fields) = backlog.take()
        return Event(self.origin, xid, fields, number)

    @override
    def take_many(self, count: int) -> list[Event]:
        origin = self.origin
        return [Event(origin, xid, fields, number) for number, (xid, fields) in self.backlog.take_many(count)]

    @override
    def events_in_hand(self, last: int) -> list[Event]:
        found = self.backlog.entries_in_hand(last)
        return [Event(self.origin, xid, fields, number) for number, (xid, fields) in found]

    @property
    @override
    def last_in_hand(self) -> int:
        return self.backlog.last_in_hand

    @override
    def finish(self, number: int, outputs: Sequence[Output | Emission] = ()) -> None:
        self.backlog.done(number, outputs)

    @property
    @override
    def tries(self) -> int:
        number, tries = self._tried
        return tries if number == self.backlog.progress.prefix else 0

    @override
    def count_try(self) -> None:
        self._tried = self.backlog.progress.prefix, self.tries + 1

    @override
    def give_back(self) -> None:
        self.backlog.give_back()

    @override
    def park(self, last: int, failed: Mapping[int, Failed]) -> None:
        raise NotImplementedError("a processor that parks keys hands out its events by key")

    @override
    def forget_turn(self) -> None:
        """A processor that has tables hands out its events by key."""

    @override
    def put_off(self, seconds: float) -> bool:
        return False

    @override
    async def changed(self) -> None:
        await self.backlog.changed()

    @override
    def leave(self) -> None:
        """Nobody counts."""
