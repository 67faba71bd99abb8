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

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import attrs
import trio
from redis.exceptions import RedisError

from runnel_trio._broker._redis._foreign import is_foreign
from runnel_trio._broker._redis._transport._connection import Connection
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._errors import translate
from runnel_trio._broker._redis._transport._scripts import PlainCommand
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._broker._values import Entry
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable

__all__ = ["BlockingRead"]

#: Seconds beyond its block that a server may take to answer before the connection counts as dead.
_MARGIN = 5.0
#: Seconds to wait for the reply after an unblocking that came before the server had begun to block.
_EARLY = 0.005
_ASKING = ("ASKING",)


def _command(positions: Mapping[str, bytes], count: int, seconds: float | None) -> tuple[Any, ...]:
    words: list[Any] = ["XREAD", "COUNT", count]
    if seconds is not None:
        words += ["BLOCK", max(1, int(seconds * 1000))]
    return (*words, "STREAMS", *positions, *positions.values())


def _by_key(reply: Any) -> dict[str, Sequence[Entry]]:
    return {key.decode(): entries for key, entries in reply or ()}


@attrs.define(eq=False, kw_only=True)
class BlockingRead:
    """Reads from one server.

    Attributes:
        endpoint: where.
        unblock: asks the server to end the block of the client with an id; answers 1 if it was blocked.
        block: seconds that a read may wait in the server.
    """

    endpoint: Endpoint
    unblock: Callable[[int], Awaitable[int]]
    block: float
    _connection: Connection = attrs.field(init=False)
    _waiter: Waiter = attrs.field(factory=lambda: Waiter(can_be_cancelled=True), init=False)
    _client_id: int = attrs.field(default=0, init=False)
    _waiting: trio.CancelScope | None = attrs.field(default=None, init=False)
    #: Whether a wake is still to be acted on; whether there was one since `begin`.
    _woken: bool = attrs.field(default=False, init=False)
    _awake: bool = attrs.field(default=False, init=False)
    _may_unblock: bool = attrs.field(default=True, init=False)

    def __attrs_post_init__(self) -> None:
        self._connection = Connection(self.endpoint, patience=self.block)

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
        *_, reply = await self._ask([_ASKING, read] if asking else [read], seconds, positions)
        return _by_key(reply)

    async def look(self, positions: Mapping[str, bytes], count: int) -> Mapping[str, Sequence[Entry]]:
        """As `read`, each log by a command of its own, and without waiting."""
        commands = [_command({key: xid}, count, None) for key, xid in positions.items()]
        found: dict[str, Sequence[Entry]] = {}
        for reply in await self._ask(commands, 0.0, positions):
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

    def close(self) -> None:
        """Give up the connection."""
        self._connection.close()

    async def _ask(
        self, commands: Sequence[tuple[Any, ...]], seconds: float, positions: Mapping[str, bytes]
    ) -> list[Any]:
        connection = self._connection
        if not connection.is_open:
            self._client_id = await self._connect()
        with connection.closing_on_error:
            connection.write(commands)
            replies = await self._read_replies(len(commands), seconds)
            for reply in replies:
                if is_foreign(reply):
                    raise await self._waiter.in_thread(connection.explain_foreign, list(positions)) from reply
                if isinstance(reply, RedisError):
                    error = translate(reply, self.endpoint.url)
                    if isinstance(error, BrokerRefused):
                        raise BrokerRefused(f"{error} (one of {', '.join(positions)})") from reply
                    raise error from reply
            return replies

    async def _connect(self) -> int:
        (client_id,) = await self._connection.talk([PlainCommand(("CLIENT", "ID"), "")], self._waiter)
        if isinstance(client_id, Exception):
            self.close()
            raise client_id
        return int(client_id)

    async def _read_replies(self, count: int, seconds: float) -> list[Any]:
        began = trio.current_time()
        within = max(_MARGIN, self.endpoint.timeout)
        replies: list[Any] = []
        while not replies:
            if not await self._until_readable(seconds):
                self.close()
                return [None] * count
            await self._connection.confirm(trio.current_time() - began - seconds, self._waiter)
            replies = await self._connection.read_replies(count, within, self._waiter)
            self._woken = self._awake and not replies  # a message of TLS itself is no answer to a wake
        return replies

    async def _until_readable(self, seconds: float) -> bool:
        """Wait for the reply, or a wake; False if there will be no reply."""
        if not await self._until_readable_within(seconds + _MARGIN) and not self._woken:
            raise BrokerUnavailable("the server does not answer")
        until = trio.current_time() + _MARGIN
        while self._woken:
            if trio.current_time() > until:  # it is not blocked, and what it answered is lost
                raise BrokerUnavailable("the server does not answer")
            self._woken = False
            was_blocked = await self._try_unblock()
            if not self._may_unblock:
                return False
            if not await self._until_readable_within(_MARGIN if was_blocked else _EARLY):
                self._woken = True
        return True

    async def _try_unblock(self) -> int:
        if self._may_unblock:
            try:
                return await self.unblock(self._client_id)
            except BrokerRefused:  # a command that the user may not run, or that there is not
                self._may_unblock = False
        return 0

    async def _until_readable_within(self, seconds: float) -> bool:
        with trio.move_on_after(seconds) as scope:
            self._waiting = scope
            if self._woken:
                scope.cancel()
            await self._connection.until_readable()
            self._waiting = None
            self._woken = False
            return True
        self._waiting = None
        return False
