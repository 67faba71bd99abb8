"""A stream's connection to the broker that its app shares: open as long as anything uses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Protocol

import attrs
import trio

from runnel_trio._broker import open_broker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ServerConfig, StreamSpec
from runnel_trio.metrics import Metrics

__all__ = ["Connection", "Declarable", "Opened"]


class Declarable(Protocol):
    """A stream, as a connection needs it."""

    @property
    def declared_spec(self) -> StreamSpec:
        """The stream that its app's code declares."""
        ...

    @property
    def spec(self) -> StreamSpec:
        """The stream as it is on the server, as far as that is known."""
        ...

    def adopt(self, current: StreamSpec) -> None:
        """Take over what the server says about this stream."""
        ...


class Connection(Protocol):
    """What a send needs of the broker: inside of it, the broker is open and knows the stream."""

    @property
    def at_once(self) -> bool:
        """Whether a send need not wait: the broker is open and knows the stream, and no other send runs."""
        ...

    def at_hand(self) -> Opened | None:
        """The broker, without waiting, if it is open and knows the stream; it then has one more user.

        Fast path of one-record sends (`async with` was a tenth of them). Many may use it at a time.
        """
        ...

    def looking(self) -> Connection:
        """The same for looking only: the stream is compared with the server's, and nothing is written."""
        ...

    async def __aenter__(self) -> Broker: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None: ...


@attrs.define(eq=False)
class Opened:
    """An open broker and its users.

    Attributes:
        users: how many there are; the last one closes it.
        leave: removes a user, and waits for the end if it was the last.
    """

    leave: Callable[[Opened], Awaitable[None]]

    users: int = 0
    ready: trio.Event = attrs.field(factory=trio.Event)
    unused: trio.Event = attrs.field(factory=trio.Event)
    closed: trio.Event = attrs.field(factory=trio.Event)
    broker: Broker | None = None
    error: Exception | None = None
    declared: set[StreamSpec] = attrs.field(factory=set)

    async def hold(self, server: ServerConfig, metrics: Metrics | None) -> None:
        """Open the broker, announce it, and keep it open until it has no users."""
        try:
            async with open_broker(server) as broker:
                if metrics is not None:
                    broker.watch(metrics.server_away, metrics.server_back)
                self.broker = broker
                self.ready.set()
                await self.unused.wait()
        except Exception as error:
            if self.ready.is_set():
                raise
            self.error = error
        finally:
            self.ready.set()
            self.closed.set()
