"""How a task waits for the server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import trio

__all__ = ["Waiter"]

_T = TypeVar("_T")


@attrs.define(eq=False)
class Waiter:
    """Waits for one user's exchanges: in a thread, which no cancellation cuts short, or for a socket.

    Attributes:
        can_be_cancelled: whether one cuts the wait for a socket short; then the connection is given up.
        under_way: whether an exchange is, which has to be waited for.
    """

    can_be_cancelled: bool = False
    under_way: bool = attrs.field(default=False, init=False)
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)

    async def in_thread(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do blocking work in a thread; its result. The work's socket timeout bounds it."""
        self.under_way = True
        try:
            with trio.CancelScope(shield=True):
                return await trio.to_thread.run_sync(work, *arguments, limiter=self._limiter)
            raise AssertionError("nobody cancels this scope")
        finally:
            self.under_way = False

    async def until_readable(self, sock: Any, seconds: float) -> bool:
        """Wait until a socket can be read, but not longer; whether it can.

        One scope is both shield and bound: scopes are a tenth of a small exchange.
        """
        deadline = trio.current_time() + seconds
        self.under_way = True
        try:
            with trio.CancelScope(shield=not self.can_be_cancelled, deadline=deadline) as scope:
                await trio.lowlevel.wait_readable(sock)
        finally:
            self.under_way = False
        return not scope.cancelled_caught
