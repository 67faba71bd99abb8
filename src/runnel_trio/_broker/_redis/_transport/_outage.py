"""A server that is away."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable

import attrs
import trio

from runnel_trio._broker._redis._transport._errors import Moving
from runnel_trio._report._redaction import redacted
from runnel_trio._report._telemetry import report

__all__ = ["Outage"]

#: Tries, of less than a second together, that a slot may take to change its node before that is an outage.
_MOVING = 4


@attrs.define(eq=False, kw_only=True)
class Outage:
    """A server that is away: one log line when it goes, one when it is back, and pauses in between.

    It is back when all those are answered again that it has let wait. One answer is not enough: a server
    without memory, or one that takes itself for a replica, answers reads and refuses writes all the while.
    """

    url: str = attrs.field(repr=redacted)
    on_away: Callable[[], None] | None = attrs.field(default=None, init=False)
    on_back: Callable[[float], None] | None = attrs.field(default=None, init=False)
    _since: float | None = attrs.field(default=None, init=False)
    _waiting: set[object] = attrs.field(factory=set, init=False)

    async def pause(self, who: object, error: Exception, attempt: int) -> None:
        """Wait before try number ``attempt`` (from 0): 50 ms, doubling up to a second, with jitter.

        ``who`` counts as waiting until it was answered (`over`), or gave up (`given_up`).
        """
        self.waits(who)
        passing = isinstance(error, Moving) and attempt < _MOVING
        if self._since is None and not passing:
            self._since = trio.current_time()
            report(logging.WARNING, "server-away", url=redacted(self.url), error=error)
            if self.on_away is not None:
                self.on_away()
        await trio.sleep(min(1.0, 0.05 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0))

    def waits(self, who: object) -> None:
        """Count it as away until this one is answered."""
        self._waiting.add(who)

    def given_up(self, who: object) -> None:
        """Wait for this one no more, answered or not."""
        self._waiting.discard(who)

    def over(self, who: object) -> None:
        """This one was answered."""
        self._waiting.discard(who)
        if self._since is not None and not self._waiting:
            away = trio.current_time() - self._since
            self._since = None
            report(logging.WARNING, "server-back", url=redacted(self.url), seconds=round(away, 3))
            if self.on_back is not None:
                self.on_back(away)
