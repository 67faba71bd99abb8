"""A few pages over HTTP, for Prometheus and probes: served in Trio, so that they answer only while Trio runs.

h11 reads and writes HTTP. This module limits everything that a stranger could make large: the size of a
request, its time, and the number of connections. A connection is for one request.

A probe must be answered even while other clients send nothing, or do not read. Only its request shows that a
connection belongs to a probe. So a new connection is always accepted, and an old one is closed to make room.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import attrs
import trio

from runnel_trio._report._telemetry import report
from runnel_trio._report._words import described
from runnel_trio.exceptions import Misconfigured

__all__ = ["Answer", "Pages", "check_extra", "listen"]

#: The most bytes of a request, with what follows its head.
_LARGEST = 8192
#: The most seconds for a request and its answer.
_LONGEST = 10.0
#: The most connections at a time. For one more, the oldest is closed, if possible one whose client is slow.
_MOST = 32


@attrs.frozen
class Answer:
    """What a page answers.

    Attributes:
        status: the HTTP status.
        body: the text.
        kind: the media type.
    """

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


def check_extra() -> None:
    """Check that pages can be served.

    Raises:
        Misconfigured: the package h11 is not installed.
    """
    _h11()


async def listen(host: str, port: int) -> Sequence[trio.SocketListener]:
    """Open the port.

    Raises:
        Misconfigured: it cannot be opened.
    """
    try:
        return await trio.open_tcp_listeners(port, host=host)
    except OSError as error:
        reason = error.strerror or error
        raise Misconfigured(
            f"no metrics at {host}:{port}: {reason}. Is another worker there? Give each on this machine a "
            "--metrics-port of its own, and as --metrics-host an address of this machine."
        ) from error


@attrs.define(eq=False)
class Pages:
    """Serves pages.

    Attributes:
        pages: by path, the functions that make the answers.
    """

    pages: Mapping[str, Callable[[], Awaitable[Answer]]]
    #: The connections, the oldest first, and whether their answers are being made.
    _open: dict[trio.CancelScope, bool] = attrs.field(factory=dict, init=False)

    async def serve(self, listeners: Sequence[trio.SocketListener]) -> None:
        """Serve until cancelled."""
        await trio.serve_listeners(self._handle, list(listeners))

    async def _handle(self, stream: trio.SocketStream) -> None:
        self._make_room()
        scope = trio.CancelScope(deadline=trio.current_time() + _LONGEST)
        self._open[scope] = False
        try:
            with scope:
                async with stream:
                    await self._exchange(stream, scope)
        except (trio.BrokenResourceError, trio.ClosedResourceError, _h11().ProtocolError):
            pass  # the client left, or does not speak HTTP
        except Exception as error:  # a collector of the user's may raise anything: the worker goes on
            report(logging.ERROR, "page-failed", error=described(error))
        finally:
            self._open.pop(scope, None)

    def _make_room(self) -> None:
        if len(self._open) >= _MOST:
            oldest = next(iter(self._open))
            scope = next((scope for scope, answering in self._open.items() if not answering), oldest)
            del self._open[scope]
            scope.cancel()

    async def _exchange(self, stream: trio.SocketStream, scope: trio.CancelScope) -> None:
        h11 = _h11()
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST)
        try:
            request = await _request(connection, stream)
        except h11.RemoteProtocolError as error:
            await _send(connection, stream, Answer(error.error_status_hint, b"no request\n"))
            return
        if request is None:
            return
        self._open[scope] = True
        answer = await self._answer(request)
        self._open[scope] = False
        await _send(connection, stream, answer, head_only=request.method == b"HEAD")

    async def _answer(self, request: Any) -> Answer:
        page = self.pages.get(request.target.partition(b"?")[0].decode("ascii", "replace"))
        if page is None:
            return Answer(404, f"there are {', '.join(self.pages)}\n".encode())
        if request.method not in {b"GET", b"HEAD"}:
            return Answer(405, b"GET it\n")
        return await page()


async def _request(connection: Any, stream: trio.SocketStream) -> Any:
    """The head of the request; what follows it is not read."""
    h11 = _h11()
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:  # the client closed before it had sent the head
            return None
        connection.receive_data(await stream.receive_some(_LARGEST))


async def _send(
    connection: Any, stream: trio.SocketStream, answer: Answer, *, head_only: bool = False
) -> None:
    h11 = _h11()
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return
    headers = [
        ("content-type", answer.kind),
        ("content-length", str(len(answer.body))),
        ("cache-control", "no-store"),
        ("connection", "close"),
    ]
    parts = [h11.Response(status_code=answer.status, headers=headers)]
    parts += [] if head_only else [h11.Data(data=answer.body)]
    parts += [h11.EndOfMessage()]
    await stream.send_all(b"".join(connection.send(part) or b"" for part in parts))
    await stream.send_eof()  # an immediate close would cut off what the client has not read yet
    read = 0
    while read < _LARGEST and (more := await stream.receive_some(_LARGEST)):
        read += len(more)


def _h11() -> ModuleType:
    try:
        import h11
    except ImportError as error:
        raise Misconfigured(
            "--metrics-port needs packages of an extra: pip install runnel-trio[prometheus]"
        ) from error
    return h11
