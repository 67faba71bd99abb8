"""One connection that waits in the server for entries, with no thread parked in it.

The command is written, Trio waits until the socket is readable, and the reply is parsed as it comes (see
`_socket`). `wake` ends the wait: the same task then asks the server through another connection to unblock
this one (CLIENT UNBLOCK), and the reply comes at once, empty or not. So there is never more than one answer
on its way, and one that is cancelled closes its connection. Where that is not permitted, as by many
providers, a wake closes it too.

What does not work: closing the socket from another thread to interrupt a parked one (it raises ValueError
in there), or leaving the read to itself (its reply would be taken for the next command's).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import attrs
import trio
from redis.exceptions import RedisError

from runnel_trio._broker._redis._foreign import is_foreign, named
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._errors import Demoted, Redirected, mapped, translate
from runnel_trio._broker._redis._transport._scripts import asked
from runnel_trio._broker._redis._transport._socket import Answers, arrived
from runnel_trio._broker._values import Entry
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, RunnelError

__all__ = ["Wait"]

_T = TypeVar("_T")

#: Seconds beyond its block that a server may take to answer before the connection counts as dead.
_MARGIN = 5.0
#: Seconds to wait for the reply after an unblocking that came before the server had begun to block.
_EARLY = 0.005
_ASKING = ("ASKING",)


def _command(positions: Mapping[str, bytes], count: int, seconds: float | None) -> list[Any]:
    words: list[Any] = ["XREAD", "COUNT", count]
    if seconds is not None:
        words += ["BLOCK", max(1, int(seconds * 1000))]
    return [*words, "STREAMS", *positions, *positions.values()]


def _by_key(reply: Any) -> dict[str, Sequence[Entry]]:
    return {key.decode(): entries for key, entries in reply or ()}


@attrs.define(eq=False, kw_only=True)
class Wait:
    """Reads from one server.

    Attributes:
        endpoint: where.
        unblock: asks the server to end the block of the client with an id; answers 1 if it was blocked.
        block: seconds that a read may wait in the server.
    """

    endpoint: Endpoint
    unblock: Callable[[int], Awaitable[int]]
    block: float
    _limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _connection: Any = attrs.field(default=None, init=False)
    _answers: Answers | None = attrs.field(default=None, init=False)
    _moves: int = attrs.field(default=0, init=False)
    _client_id: int = attrs.field(default=0, init=False)
    _waiting: trio.CancelScope | None = attrs.field(default=None, init=False)
    #: Whether a wake is still to be acted on; whether there was one since `begin`.
    _woken: bool = attrs.field(default=False, init=False)
    _awake: bool = attrs.field(default=False, init=False)
    _may_unblock: bool = attrs.field(default=True, init=False)

    async def read(
        self, positions: Mapping[str, bytes], count: int, seconds: float, *, asking: bool = False
    ) -> Mapping[str, Sequence[Entry]]:
        """Entries behind positions in logs, by key; it waits in the server for so many seconds.

        Args:
            positions: ids by key.
            count: at most so many entries of each log.
            seconds: how long to wait for the first entry.
            asking: say that the slot is on its way to this node.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say; the connection is given up.
        """
        read = _command(positions, count, seconds)
        *_, reply = await self._asked([_ASKING, read] if asking else [read], seconds, positions)
        return _by_key(reply)

    async def look(self, positions: Mapping[str, bytes], count: int) -> Mapping[str, Sequence[Entry]]:
        """As `read`, each log by a command of its own, and without waiting."""
        commands = [_command({key: xid}, count, None) for key, xid in positions.items()]
        found: dict[str, Sequence[Entry]] = {}
        for reply in await self._asked(commands, 0.0, positions):
            found.update(_by_key(reply))
        return found

    def begin(self) -> None:
        """A `wake` from now on is meant for the read that follows."""
        self._woken = self._awake = False

    def wake(self) -> None:
        """Make the read under way return soon."""
        self._woken = self._awake = True
        if self._waiting is not None:
            self._waiting.cancel()

    def redirected(self, error: Redirected) -> None:
        """See `Source`: a server that is alone names no other.

        Raises:
            BrokerRefused: it is a node of a cluster.
        """
        raise BrokerRefused(f"{error}: the server belongs to a cluster: use redis+cluster://") from error

    def failed(self) -> None:
        """See `Source`."""

    def close(self) -> None:
        """Give up the connection."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    async def _asked(
        self, commands: Sequence[Sequence[Any]], seconds: float, positions: Mapping[str, bytes]
    ) -> list[Any]:
        if self._moves != self.endpoint.moves:
            self.close()
        if self._connection is None:
            await self._hop(self._connect)
        connection: Any = self._connection
        try:
            with mapped(self.endpoint.url):
                for words in commands:  # a few kilobytes into an empty buffer: it does not block
                    connection.send_command(*words)
            return await self._answered(len(commands), seconds)
        except BaseException as error:
            self.close()
            if isinstance(error, Demoted):
                self.endpoint.moves += 1
            if isinstance(error, BrokerRefused) and is_foreign(error.__cause__):
                raise await self._hop(partial(self._named, positions)) from error.__cause__
            if isinstance(error, BrokerRefused):
                raise BrokerRefused(f"{error} (one of {', '.join(positions)})") from error
            raise

    async def _answered(self, count: int, seconds: float) -> list[Any]:
        began = trio.current_time()
        taken: list[Any] = []
        while True:
            if not await self._readable(seconds):
                self.close()
                return [None] * count
            if self.endpoint.is_doubtful(trio.current_time() - began - seconds):
                await self._hop(partial(self.endpoint.confirm, self._connection))
            if self._answers is None:
                receive = partial(self._receive, count)
                return receive() if arrived(self._connection) >= count else await self._hop(receive)
            with mapped(self.endpoint.url):
                if self._answers.take(taken, count):
                    return await self._whole(self._answers, taken, count)
            self._woken = self._awake  # it was a message of TLS itself, and no answer to a wake

    async def _whole(self, answers: Answers, taken: list[Any], count: int) -> list[Any]:
        """With what is still on its way; a `wake` meanwhile is over when it returns."""
        while len(taken) < count:
            with trio.move_on_after(max(_MARGIN, self.endpoint.timeout)) as scope:
                await trio.lowlevel.wait_readable(self._connection._sock)
            if scope.cancelled_caught:
                raise BrokerUnavailable("the server does not answer")
            answers.take(taken, count)
        if answers.ended:
            self.close()
        for answer in taken:
            if isinstance(answer, RedisError):
                raise answer
        return taken

    async def _readable(self, seconds: float) -> bool:
        """Wait for the reply, or a wake; False where the reply cannot be had then."""
        if not await self._readable_within(seconds + _MARGIN) and not self._woken:
            raise BrokerUnavailable("the server does not answer")
        until = trio.current_time() + _MARGIN
        while self._woken:
            if trio.current_time() > until:  # it is not blocked, and what it answered is lost
                raise BrokerUnavailable("the server does not answer")
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
        moves = self.endpoint.moves
        connection = self.endpoint.connect(patience=self.block)
        try:
            with mapped(self.endpoint.url):
                connection.send_command("CLIENT", "ID")
                self._client_id = int(connection.read_response())
        except BaseException:
            connection.disconnect()
            raise
        self._connection, self._moves = connection, moves
        self._answers = Answers.of(connection)

    def _named(self, keys: Collection[str]) -> RunnelError:
        """What stands where; over another connection, for on this one answers may still be on their way."""
        connection = self.endpoint.connect()
        try:
            with mapped(self.endpoint.url):
                return translate(named(partial(asked, connection), keys), self.endpoint.url)
        finally:
            connection.disconnect()

    def _receive(self, count: int) -> list[Any]:
        with mapped(self.endpoint.url):
            return [self._connection.read_response(disable_decoding=True) for _ in range(count)]

    async def _hop(self, work: Callable[[], _T]) -> _T:
        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(work, limiter=self._limiter)
        raise AssertionError("nobody cancels this scope")
