"""Connections for sends with metrics or `tracing`.

They replace the connection that a stream has without them, so a send without metrics or tracing does no extra
work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, TypeAlias, cast

import attrs
import trio

from runnel_trio._broker._connection import Connection, Declarable
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import Appended, Batch, StreamSpec
from runnel_trio._sending._delivery import full_partitions, stored_in
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import StreamFull
from runnel_trio.metrics import Metrics

__all__ = ["Connect", "Watched", "measured"]

Connect: TypeAlias = Callable[[Declarable], Connection]


@attrs.define(eq=False)
class Watched:
    """A connection that, once entered, is also its broker; subclasses replace the broker's `append`."""

    _inner: Connection
    _broker: Any = attrs.field(default=None, init=False)

    @property
    def at_once(self) -> bool:
        """See `Connection`."""
        return self._inner.at_once

    def at_hand(self) -> None:
        """See `Connection`; never at hand, so that no send bypasses `append`."""

    def looking(self) -> Connection:
        """See `Connection`; looking is not watched."""
        return self._inner.looking()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def __aenter__(self) -> Broker:
        self._broker = await self._inner.__aenter__()
        return cast("Broker", self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        try:
            self.ended(error)
        finally:
            await self._inner.__aexit__(kind, error, trace)

    def ended(self, error: BaseException | None) -> None:
        """Called when everything is stored, or when the send has failed with ``error``."""

    async def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Mapping[int, Appended]:
        """See `_protocol.Broker`."""
        found: Mapping[int, Appended] = await self._broker.append(stream, batches)
        return found


@attrs.define(eq=False)
class _Counted(Watched):
    """Reports to metrics how much was stored, and how long a send had to wait."""

    stream: Declarable = attrs.field(kw_only=True)
    metrics: Metrics = attrs.field(kw_only=True)
    _waits_since: float | None = attrs.field(default=None, init=False)

    def ended(self, error: BaseException | None) -> None:
        """See `Watched`."""
        self._tell_of_waiting()
        if isinstance(error, StreamFull):
            self.metrics.refused(self.stream.declared_spec.name, len(error.unsent))

    def _tell_of_waiting(self) -> None:
        if self._waits_since is not None:
            now = trio.current_time()
            self.metrics.blocked(self.stream.declared_spec.name, now - self._waits_since, begins=False)
            self._waits_since = now

    async def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Mapping[int, Appended]:
        """See `_protocol.Broker`."""
        self._tell_of_waiting()
        began = trio.current_time()
        stored = await Watched.append(self, stream, batches)
        self.metrics.sent(stream.name, stored_in(stored), trio.current_time() - began)
        if stream.overflow is Overflow.BLOCK:
            full = bool(full_partitions(stored, batches))
            if full and self._waits_since is None:
                self.metrics.blocked(stream.name, 0.0, begins=True)
            if not full:
                self._waits_since = None
            elif self._waits_since is None:
                self._waits_since = trio.current_time()
        return stored


def measured(connect: Connect, metrics: Metrics) -> Connect:
    """Like ``connect``, but sends are reported to metrics."""
    return lambda stream: _Counted(connect(stream), stream=stream, metrics=metrics)
