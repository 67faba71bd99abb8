"""Until when a member's leases hold, by its own clock; see `_rules/_lease.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

__all__ = ["LeaseValidity"]


@attrs.define(eq=False)
class LeaseValidity:
    """Shared by all partitions of a member: one heartbeat renews it for all.

    Attributes:
        until: the moment, on the broker's clock, after which nothing is handed to user code.
    """

    until: float = -math.inf
    _waiting: list[Callable[[], None]] = attrs.field(factory=list, init=False)

    def renew(self, until: float) -> None:
        """The leases hold until then."""
        self.until = until
        waiting, self._waiting = self._waiting, []
        for announce in waiting:
            announce()

    def tell(self, announce: Callable[[], None]) -> None:
        """Call ``announce`` at the next renewal."""
        self._waiting.append(announce)
