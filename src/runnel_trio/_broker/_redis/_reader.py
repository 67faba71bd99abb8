"""The waiting read: XREAD BLOCK over many partitions, with no thread parked in it.

The command is written, Trio waits until the socket is readable, and the reply is parsed: in a thread, unless
it is small and all there. When
other partitions become of interest, `wake` ends the wait: the same task then asks the server through another
connection to unblock this one (CLIENT UNBLOCK), and the reply comes at once, empty or not. So there is
never more than one answer on its way, and a reader that is cancelled closes its connection. Where that is not
permitted, as by many providers, a wake closes it too.

What does not work: closing the socket from another thread to interrupt a parked one (it raises ValueError
in there), or leaving the read to itself (its reply would be taken for the next command's).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Entry
from runnel_trio._broker._redis._arrival import arrived
from runnel_trio._broker._redis._connection import Endpoint, Outage, mapped
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable

__all__ = ["RedisReader"]

#: Seconds beyond its block that a server may take to answer before the connection counts as dead.
_MARGIN = 5.0
#: Seconds to wait for the reply after an unblocking that came before the server had begun to block.
_EARLY = 0.005


@attrs.define(eq=False, kw_only=True)
class RedisReader:
    """See `_protocol.Reader`.

    Attributes:
        endpoint: where to read.
        outage: shared with everything else that talks to the server.
        log_key: partition number → key of its log.
        unblock: asks the server to end the block of the client with an id; answers 1 if it was blocked.
        block: seconds that a read waits in the server.
    """

    endpoint: Endpoint
    outage: Outage
    log_key: Callable[[int], str]
    unblock: Callable[[int], Awaitable[int]]
    block: float
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _connection: Any = attrs.field(default=None, init=False)
    _client_id: int = attrs.field(default=0, init=False)
    _waiting: trio.CancelScope | None = attrs.field(default=None, init=False)
    _woken: bool = attrs.field(default=False, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _may_unblock: bool = attrs.field(default=True, init=False)
    interruptions: int = attrs.field(default=0, init=False)

    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        """See `_protocol.Reader`; while the server is away it waits a little and returns nothing."""
        self._woken = False
        if self._failures:
            self.outage.waits(self)
        try:
            found = await self._read(positions, count)
        except BrokerUnavailable as error:
            await self.outage.pause(self, error, self._failures)
            self._failures += 1
            self.interruptions += 1
            return {}
        else:
            self._failures = 0
            self.outage.over(self)
            return found
        finally:
            self.outage.given_up(self)  # it may not read again

    def wake(self) -> None:
        """See `_protocol.Reader`."""
        self._woken = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def aclose(self) -> None:
        """See `_protocol.Reader`."""
        self._drop()

    async def _read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        if self._connection is None:
            await self._hop(self._connect)
        keys = {self.log_key(number): number for number in positions}
        try:
            self._ask(list(keys), list(positions.values()), count)
            if not await self._readable():
                self._drop()
                return {}
            reply = self._receive() if arrived(self._connection) else await self._hop(self._receive)
        except BaseException as error:
            self._drop()
            if isinstance(error, BrokerRefused):
                raise BrokerRefused(f"{error} (one of {', '.join(keys)})") from error
            raise
        return {keys[key.decode()]: entries for key, entries in reply or ()}

    def _ask(self, keys: Sequence[str], after: Sequence[bytes], count: int) -> None:
        # After a failure it does not block: whether the server is back is known at once.
        milliseconds = 1 if self._failures else max(1, int(self.block * 1000))
        with mapped(self.endpoint.url):
            # A few kilobytes into an empty buffer: it does not block.
            self._connection.send_command(
                "XREAD", "COUNT", count, "BLOCK", milliseconds, "STREAMS", *keys, *after
            )

    async def _readable(self) -> bool:
        """Wait for the reply, or a wake; False where the reply cannot be had then."""
        if not await self._readable_within(self.block + _MARGIN) and not self._woken:
            raise BrokerUnavailable("the server does not answer")
        while self._woken:
            self._woken = False
            was_blocked = await self._unblocked()
            if not self._may_unblock:
                return False
            if not await self._readable_within(_MARGIN if was_blocked else _EARLY):
                self._woken = True
        return True

    async def _unblocked(self) -> int:
        if self._may_unblock:
            try:
                return await self.unblock(self._client_id)
            except BrokerRefused:  # a command that the user may not run, or that there is not
                self._may_unblock = False
        return 0

    async def _readable_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds) as self._waiting:
            if self._woken:
                self._waiting.cancel()
            await trio.lowlevel.wait_readable(self._connection._sock)
            self._waiting = None
            self._woken = False
            return True
        self._waiting = None
        return False

    def _connect(self) -> None:
        connection = self.endpoint.connect(patience=self.block)
        try:
            with mapped(self.endpoint.url):
                connection.send_command("CLIENT", "ID")
                self._client_id = int(connection.read_response())
        except BaseException:
            connection.disconnect()
            raise
        self._connection = connection

    def _receive(self) -> Any:
        with mapped(self.endpoint.url):
            return self._connection.read_response(disable_decoding=True)

    async def _hop(self, work: Callable[[], Any]) -> Any:
        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(work, limiter=self._limiter)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None
