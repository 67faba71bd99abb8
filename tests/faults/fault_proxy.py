"""A network that fails as it is told: what goes through it is late, lost, held, cut, or answered for nothing."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import trio

from runnel_trio._broker._redis._transport import _scripts

Match = Callable[[bytes], bool]

_RESET = struct.pack("ii", 1, 0)
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, OSError)


def calls(script: str) -> Match:
    """Whether bytes call a script."""
    return lambda data: _scripts.digest(script).encode() in data


@attrs.define(eq=False)
class Link:
    """One connection through the proxy."""

    client: trio.SocketStream
    server: trio.SocketStream
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    reply_is_lost: bool = False
    kept: bool = False

    def reset(self) -> None:
        """End it as a broken network does: with a RST, not with an end of the stream."""
        self.scope.cancel()
        self._reset(self.client)
        if not self.kept:
            self._reset(self.server)

    @staticmethod
    def _reset(stream: trio.SocketStream) -> None:
        with suppress(OSError):
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        stream.socket.close()


@attrs.define(eq=False)
class Proxy:
    """Listens on a port of its own, and passes on to a target.

    Attributes:
        target: the port of the server; changed, it holds for later connections.
        delay: seconds that everything is late, in each direction.
        jitter: seconds that are added, at random.
        chunk: bytes that are passed on at once.
        cuts: how many connections `cut` has reset.
        lost: how many replies it has swallowed.
        stolen: requests that were taken out, with the connections on which they can still arrive.
    """

    target: int
    seed: int = 0
    port: int = 0
    delay: float = 0.0
    jitter: float = 0.0
    chunk: int = 65536
    cuts: int = 0
    lost: int = 0
    stolen: list[tuple[Link, bytes]] = attrs.field(factory=list)
    _links: set[Link] = attrs.field(factory=set)
    _lose: Match | None = None
    _steal: Match | None = None
    _open: trio.Event = attrs.field(factory=trio.Event)
    _dice: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._dice = random.Random(self.seed)
        self._open.set()

    @property
    def url(self) -> str:
        """For an app behind it."""
        return f"redis://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Let nothing through, and break nothing: half-open."""
        if self._open.is_set():
            self._open = trio.Event()

    def release(self) -> None:
        """Let through what was held."""
        self._open.set()

    def cut(self) -> None:
        """Reset every connection; what was held in them is lost."""
        for link in list(self._links):
            link.reset()
            self.cuts += 1

    def lose_reply(self, match: Match) -> None:
        """Pass the next request that matches on, and reset the connection in place of the reply."""
        self._lose = match

    def steal(self, match: Match) -> None:
        """Take the next request that matches out of its connection, which is reset for the client."""
        self._steal = match

    async def deliver(self) -> None:
        """Let what was stolen arrive at the server now, and wait until it has answered."""
        while self.stolen:
            link, data = self.stolen.pop(0)
            with suppress(*_GONE):
                await link.server.send_all(data)
                await link.server.receive_some()
            link.server.socket.close()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        (listener,) = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        try:
            await trio.serve_listeners(self._connected, [listener], task_status=task_status)
        finally:
            for link, _ in self.stolen:
                link.server.socket.close()

    async def _connected(self, client: trio.SocketStream) -> None:
        await self._open.wait()
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self.target)
        except OSError:
            client.socket.close()
            return
        link = Link(client, server)
        self._links.add(link)
        try:
            with link.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._pass_on, link, client, server, self._request)
                    nursery.start_soon(self._pass_on, link, server, client, self._reply)
        finally:
            self._links.discard(link)
            link.reset()

    async def _pass_on(self, link: Link, source: Any, sink: Any, look: Callable[[Link, bytes], bool]) -> None:
        """One direction: a line of bytes, each of which is as late as the delay says."""
        sender, receiver = trio.open_memory_channel[tuple[float, bytes]](1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver_late, link, receiver, sink)
            with suppress(*_GONE):
                async for data in source:
                    await self._open.wait()
                    if not look(link, data):
                        break
                    late = self.delay + self._dice.uniform(0, self.jitter)
                    await sender.send((trio.current_time() + late, data))
            link.reset()

    async def _deliver_late(self, link: Link, line: Any, sink: Any) -> None:
        with suppress(*_GONE):
            async for due, data in line:
                await trio.sleep_until(due)
                await self._open.wait()
                chunk = self.chunk  # it may change in between
                for at in range(0, len(data), chunk):
                    await sink.send_all(data[at : at + chunk])
        link.reset()

    def _request(self, link: Link, data: bytes) -> bool:
        if self._steal is not None and self._steal(data):
            self._steal, link.kept = None, True
            self.stolen.append((link, data))
            return False
        if self._lose is not None and self._lose(data):
            self._lose, link.reply_is_lost = None, True
        return True

    def _reply(self, link: Link, data: bytes) -> bool:
        self.lost += link.reply_is_lost
        return not link.reply_is_lost
