"""Groups partitions with the same state, so that it is shown once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from datetime import datetime
from typing import TypeVar

import attrs

from runnel_trio._broker._values import Quarantine
from runnel_trio._operate._overview import PartitionView, ProcessorView
from runnel_trio._report._words import ago, ranges

__all__ = ["Standstill", "alike", "reason", "standstills"]

T = TypeVar("T")


def alike(things: Iterable[T], by: Callable[[T], Hashable]) -> list[list[T]]:
    """Things of which that is the same, together, in the order of the first of each.

    Example:
        >>> alike([1, 2, 3, 4, 5], by=lambda x: x % 2)
        [[1, 3, 5], [2, 4]]
    """
    groups: dict[Hashable, list[T]] = {}
    for thing in things:
        groups.setdefault(by(thing), []).append(thing)
    return list(groups.values())


def reason(why: Quarantine | None) -> Hashable:
    """Why a partition stands still, as far as it is the same of several: one pause, or one exception."""
    if why is None:
        return ()
    return (why.error, why.member, why.time) if why.is_pause else (why.error,)


@attrs.frozen
class Standstill:
    """Partitions of a processor that stand still for the same reason.

    Attributes:
        partitions: at least one.
    """

    partitions: Sequence[PartitionView]

    @property
    def numbers(self) -> list[int]:
        """Of the partitions."""
        return [x.number for x in self.partitions]

    @property
    def label(self) -> str:
        """The numbers, as they are written in front of a line."""
        return f"[{ranges(self.numbers)}]"

    @property
    def why(self) -> Quarantine | None:
        """The quarantine of the first one; None where nobody owns them."""
        return self.partitions[0].quarantine

    @property
    def behind(self) -> str:
        """How far, in words; unknown where that of one is."""
        lags = [x.lag for x in self.partitions if x.lag is not None]
        return f"{sum(lags):,} behind" if len(lags) == len(self.partitions) else "? behind"

    @property
    def oldest(self) -> str:
        """For how long the oldest event of them waits, in words."""
        return f"oldest {ago(max(x.age for x in self.partitions))}"

    @property
    def quarantines(self) -> list[Quarantine]:
        """Those of all of them."""
        return [x.quarantine for x in self.partitions if x.quarantine is not None]

    def since(self, now: float) -> str:
        """For how long the first of them stands still, in words."""
        first = min(datetime.fromisoformat(x.time).timestamp() for x in self.quarantines)
        return ago(max(0.0, now - first))


def standstills(processor: ProcessorView) -> list[Standstill]:
    """What stands still of a processor, by reason."""
    return [Standstill(group) for group in alike(processor.standing(), lambda x: reason(x.quarantine))]
