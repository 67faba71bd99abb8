"""Connections as this library needs them, and redis-py's errors in our own words.

redis-py repeats a command whose answer was lost, which stores an XADD twice. So every connection is made
without retries: what may be repeated is repeated by the caller, who knows. Every socket has a timeout, so
that a server that stands still holds nobody for ever.
"""

from __future__ import annotations

import logging
import os
import random
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Protocol

import attrs
import redis
import trio
from redis import exceptions as theirs
from redis.backoff import NoBackoff
from redis.retry import Retry

from runnel_trio._broker._redis._arrival import arrived, can_look
from runnel_trio._broker._redis._scripts import Command, answers, by_digest, exchange, repeated
from runnel_trio._kinds import redacted
from runnel_trio._telemetry import report
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, Misconfigured, RunnelError

__all__ = ["Endpoint", "Line", "Outage", "mapped", "translate"]

#: What a server answers that passes by itself, by the first word.
_PASSING = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "UNBLOCKED"}
)
_PASSING_KINDS = (
    theirs.ConnectionError,
    theirs.TimeoutError,
    theirs.ReadOnlyError,
    theirs.OutOfMemoryError,
    theirs.ClusterDownError,
)
_REFUSALS = (theirs.AuthenticationError, theirs.AuthorizationError, theirs.NoPermissionError)


def translate(error: Exception, url: str) -> RunnelError:
    """Our error for one of redis-py's: does waiting heal it, or not?"""
    said = str(error).rstrip(".") or type(error).__name__
    if isinstance(error, _REFUSALS):
        return BrokerRefused(f"{redacted(url)} refuses: {said}. Check user, password and permissions.")
    if isinstance(error, _PASSING_KINDS) or said.split(" ", 1)[0] in _PASSING:
        return BrokerUnavailable(f"{redacted(url)}: {said}")
    return BrokerRefused(f"{redacted(url)} refuses: {said}")


@contextmanager
def mapped(url: str) -> Iterator[None]:
    """Let no error of redis-py out."""
    try:
        yield
    except theirs.RedisError as error:
        raise translate(error, url) from error


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a server is, and how long it may be silent.

    Attributes:
        url: as redis-py reads it (redis://, rediss://, unix://).
        timeout: seconds that one answer, and one connecting, may take.
    """

    url: str = attrs.field(repr=redacted)
    timeout: float = 5.0

    def connect(self, *, patience: float = 0.0) -> Any:
        """A connected redis-py connection, to be disconnected by the caller.

        Args:
            patience: seconds that a blocking command may take beyond `timeout`.

        Raises:
            Misconfigured: the URL cannot be read.
            BrokerUnavailable: nobody answers there.
            BrokerRefused: it does not let us in.
        """
        try:
            pool: Any = redis.ConnectionPool.from_url(
                self.url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=self.timeout + patience,
                socket_connect_timeout=self.timeout,
            )
            connection = pool.make_connection()
        except (ValueError, TypeError) as error:  # TypeError: an option behind the ? that there is not
            raise Misconfigured(f"redis_url {redacted(self.url)!r} cannot be read: {error}") from error
        with mapped(self.url):
            connection.connect()
        return connection


class Hop(Protocol):
    """As `_gateway.Hop`."""

    async def __call__(self, work: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
        """See there."""
        ...

    async def readable(self, sock: Any, seconds: float) -> bool:
        """See there."""
        ...


@attrs.define(eq=False)
class Line:
    """One connection, made when it is needed and made anew after it broke. For one user at a time."""

    _endpoint: Endpoint
    _connection: Any = None

    def exchange(self, calls: Sequence[Command]) -> list[Any]:
        """As `_scripts.exchange`, with our errors: in place of replies too. It blocks."""
        with self._given_up_on_error():
            if self._connection is None:
                self._connection = self._endpoint.connect()
            return self._translated(exchange(self._connection, calls))

    async def talk(self, calls: Iterable[Command], hop: Hop) -> list[Any]:
        """As `exchange`, with a hop to a thread only where it must be: one costs 0.1 ms and more.

        Calls that are made when they are read (`Kept`) are all made before the first wait.
        """
        connection = self._connection
        if connection is None or not can_look(connection):
            return await hop(self.exchange, list(calls))
        try:  # and no context manager: those around one small exchange were a sixth of it
            return self._translated(await self._exchange_here(calls, hop))
        except BaseException as error:
            self.close()
            if isinstance(error, theirs.RedisError):
                raise translate(error, self._endpoint.url) from error
            raise

    async def _exchange_here(self, calls: Iterable[Command], hop: Hop) -> list[Any]:
        connection = self._connection
        text = by_digest(connection, calls)
        rest = self._write(text)
        calls = list(calls)  # all of them are made before the first wait
        if rest:  # when Trio is busy, each turn of its loop takes long: no more of them than there must be
            return await hop(exchange, connection, calls, chain([rest], text))
        replies: list[Any] = []
        while len(replies) < len(calls):
            if not await hop.readable(connection._sock, self._endpoint.timeout):
                where, timeout = redacted(self._endpoint.url), self._endpoint.timeout
                raise BrokerUnavailable(f"{where}: no answer within {timeout:g} s")
            missing = len(calls) - len(replies)
            found = min(arrived(connection), missing)
            if found:
                replies += answers(connection, found)
                missing -= found
            # What is large, or came so late that only the parser has it, is read where waiting for its
            # rest holds up nobody.
            if missing and (not found or connection.can_read(timeout=0)):
                replies += await hop(answers, connection, missing)
        if any(isinstance(reply, theirs.NoScriptError) for reply in replies):
            replies = await hop(repeated, connection, calls, replies)
        return replies

    def _write(self, text: Iterator[bytes]) -> bytes:
        """As much as the system takes at once, and not more; the rest of the piece that it did not take.

        `os.write`, because Python waits with a socket that has a timeout.
        """
        fileno = self._connection._sock.fileno()
        for piece in text:
            try:
                written = os.write(fileno, piece)
            except BlockingIOError:
                return piece
            except OSError as error:
                raise theirs.ConnectionError(f"the connection broke: {error}") from error
            if written < len(piece):
                return piece[written:]
        return b""

    def _translated(self, replies: list[Any]) -> list[Any]:
        url = self._endpoint.url
        return [translate(x, url) if isinstance(x, theirs.RedisError) else x for x in replies]

    @contextmanager
    def _given_up_on_error(self) -> Iterator[None]:
        try:
            with mapped(self._endpoint.url):
                yield
        except BaseException:
            self.close()
            raise

    def interrupt(self) -> None:
        """From another thread: make the exchange under way fail now.

        Closing the connection here would raise in that thread what is no error of redis-py's.
        """
        with suppress(OSError, AttributeError):
            self._connection._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection up: what is still on its way in must answer nothing else."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


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
        if self._since is None:
            self._since = trio.current_time()
            report(logging.WARNING, "server-away", url=redacted(self.url), error=error)
            if self.on_away is not None:
                self.on_away()
        await trio.sleep(min(1.0, 0.05 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0))

    def waits(self, who: object) -> None:
        """It is not back as long as this one was not answered."""
        self._waiting.add(who)

    def given_up(self, who: object) -> None:
        """Waits no more, answered or not."""
        self._waiting.discard(who)

    def over(self, who: object) -> None:
        """It was answered."""
        self._waiting.discard(who)
        if self._since is not None and not self._waiting:
            away = trio.current_time() - self._since
            self._since = None
            report(logging.WARNING, "server-back", url=redacted(self.url), seconds=round(away, 3))
            if self.on_back is not None:
                self.on_back(away)
