"""The cancel scope of one owned partition, and how long it may take to end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from runnel_trio._scopes import LAST_WORDS, shielded

__all__ = ["PartitionScope"]


@attrs.define(eq=False)
class PartitionScope:
    """Everything that runs for a partition runs in ``within``.

    Attributes:
        grace_period: seconds that what is in hand may take to end.
        within: the cancel scope.
        aborted: whether what is in hand was cancelled to end the worker now.
    """

    grace_period: float
    within: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    aborted: bool = attrs.field(default=False, init=False)
    _shields: list[trio.CancelScope] = attrs.field(factory=list, init=False)

    @property
    def cancelled(self) -> bool:
        """Whether what runs for the partition was cancelled: the partition is lost, or its time is over."""
        return self.within.cancel_called

    def drain(self) -> None:
        """Give what is in hand its grace period, from now on at most."""
        self.within.deadline = min(self.within.deadline, trio.current_time() + self.grace_period)

    def abort(self) -> None:
        """Cancel what is in hand, and leave the shielded rest no more than last words."""
        self.drain()
        self.within.cancel()
        self.aborted = True
        for shield in self._shields:
            shield.deadline = min(shield.deadline, trio.current_time() + LAST_WORDS)

    @contextmanager
    def shielded(self, seconds: float) -> Iterator[None]:
        """As `_scopes.shielded`, until `abort` cuts it short."""
        with shielded(min(seconds, LAST_WORDS if self.aborted else math.inf)) as shield:
            self._shields.append(shield)
            try:
                yield
            finally:
                self._shields.remove(shield)

    def seconds_left(self) -> float:
        """What is left of the grace period for last words."""
        left = min(self.within.deadline - trio.current_time(), self.grace_period)
        return max(left, LAST_WORDS)
