"""One connection and what is exchanged over it, and a server that is away."""

from __future__ import annotations

import logging
import random
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any, Protocol

import attrs
import trio
from redis import exceptions as theirs

from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._errors import Demoted, Moving, mapped, translate
from runnel_trio._broker._redis._transport._scripts import Command, answers, by_digest, exchange, settled
from runnel_trio._broker._redis._transport._socket import Answers, arrived, can_look, written
from runnel_trio._kinds import redacted
from runnel_trio._telemetry import report
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["Hop", "Line", "Outage", "Talker"]

#: Tries, of less than a second together, that a slot may take to change its node before that is an outage.
_MOVING = 4


class Hop(Protocol):
    """As `_batcher.Hop`."""

    async def __call__(self, work: Callable[..., list[Any]], *arguments: Any) -> list[Any]:
        """See there."""
        ...

    async def readable(self, sock: Any, seconds: float) -> bool:
        """See there."""
        ...


class Talker(Protocol):
    """Carries calls, and gives for each its reply, or one of our errors. For one user at a time."""

    async def talk(self, calls: Iterable[Command], hop: Hop) -> list[Any]:
        """From Trio."""
        ...

    def exchange(self, calls: Sequence[Command]) -> list[Any]:
        """Blocking."""
        ...

    def interrupt(self) -> None:
        """From another thread: make the exchange under way fail now."""
        ...

    def close(self) -> None:
        """Give up what it holds."""
        ...


@attrs.define(eq=False)
class Line:
    """One connection, made when it is needed and made anew after it broke. For one user at a time."""

    _endpoint: Endpoint
    _connection: Any = None
    _answers: Answers | None = None

    def exchange(self, calls: Sequence[Command]) -> list[Any]:
        """As `_scripts.exchange`, with our errors: in place of replies too. It blocks."""
        with self._given_up_on_error():
            if self._connection is None:
                self._connection = self._endpoint.connect()
                self._answers = Answers.of(self._connection)
            began = time.monotonic()
            replies = exchange(self._connection, calls)
            if self._endpoint.is_doubtful(time.monotonic() - began):
                self._endpoint.confirm(self._connection)
            return self._translated(replies)

    async def talk(self, calls: Iterable[Command], hop: Hop) -> list[Any]:
        """As `exchange`, with a hop to a thread only where it must be: one costs 0.1 ms and more.

        Calls that are made when they are read (`Kept`) are all made before the first wait.
        """
        connection = self._connection
        if connection is None or (self._answers is None and not can_look(connection)):
            return await hop(self.exchange, list(calls))
        began = time.monotonic()
        try:  # and no context manager: those around one small exchange were a sixth of it
            replies = await self._exchange_here(calls, hop)
            if self._endpoint.is_doubtful(time.monotonic() - began):
                await hop(self._confirmed)
            if self._answers is not None and self._answers.ended:
                self.close()
            return self._translated(replies)
        except BaseException as error:
            self._failed(error)
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
            if self._answers is not None:
                self._answers.take(replies, len(calls))
                continue
            missing = len(calls) - len(replies)
            found = min(arrived(connection), missing)
            if found:
                replies += answers(connection, found)
                missing -= found
            # What is large, or came so late that only the parser has it, is read where waiting for its
            # rest holds up nobody.
            if missing and (not found or connection.can_read(timeout=0)):
                replies += await hop(answers, connection, missing)
        if any(isinstance(reply, theirs.ResponseError) for reply in replies):
            replies = await hop(settled, connection, calls, replies)
        return replies

    def _confirmed(self) -> list[Any]:
        self._endpoint.confirm(self._connection)
        return []

    def _write(self, text: Iterator[bytes]) -> bytes:
        """As much as the system takes at once, and not more; the rest of the piece that it did not take."""
        for piece in text:
            count = written(self._connection, piece)
            if count < len(piece):
                return piece[count:]
        return b""

    def _translated(self, replies: list[Any]) -> list[Any]:
        if not any(isinstance(x, theirs.RedisError) for x in replies):
            return replies
        url = self._endpoint.url
        told = [translate(x, url) if isinstance(x, theirs.RedisError) else x for x in replies]
        for error in told:
            if isinstance(error, Demoted):
                self._failed(error)
                break
        return told

    @contextmanager
    def _given_up_on_error(self) -> Iterator[None]:
        try:
            with mapped(self._endpoint.url):
                yield
        except BaseException as error:
            self._failed(error)
            raise

    def _failed(self, error: BaseException) -> None:
        self.close()
        if isinstance(error, theirs.RedisError):
            error = translate(error, self._endpoint.url)
        if isinstance(error, Demoted):
            self._endpoint.moves += 1

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
        passing = isinstance(error, Moving) and attempt < _MOVING
        if self._since is None and not passing:
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
