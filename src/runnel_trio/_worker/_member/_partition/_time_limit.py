"""How long a turn of the function may take: from being given an event, or a list, to asking for the next."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import attrs
import trio

from runnel_trio.exceptions import HandlerTimeout
from runnel_trio.interfaces import Middleware

__all__ = ["TimeLimit"]


@attrs.define(eq=False)
class TimeLimit(Middleware):
    """The link nearest to the function, for one call: sets the deadline of the scope that it runs in.

    Attributes:
        seconds: that a turn may take.
        scope: what the function is called in.
    """

    seconds: float
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    @property
    def is_over(self) -> bool:
        """Whether a turn took longer, whatever the function has made of its cancellation."""
        return self.scope.cancel_called

    def error(self) -> HandlerTimeout:
        """What the turn has failed with."""
        return HandlerTimeout(f"handling took longer than timeout={self.seconds:g} s")

    async def handler(self, parent: AsyncIterator[Any], **_: Any) -> AsyncIterator[Any]:
        """See `Middleware.handler`."""
        async for item in parent:
            self.scope.deadline = trio.current_time() + self.seconds
            yield item
            if (
                self.is_over
            ):  # it has kept its cancellation to itself: what it has in hand has failed all the same
                return
            self.scope.deadline = math.inf
