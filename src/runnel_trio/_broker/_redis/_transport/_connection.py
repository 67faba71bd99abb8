"""The one way to own a connection: calls are written to it, and replies are read from it.

`Connection.exchange` does that by redis-py, and blocks: from Trio it runs in a thread (`trio.to_thread`). A
hop to a thread and back costs 0.1 to 0.2 ms, more than most exchanges; so `Connection.talk` does the same in
Trio, and takes to a thread only what would have to wait in the socket. `Connection.read_replies` is where the
three ways to read replies stand.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import Any

import attrs
import trio
from redis import exceptions as theirs

from runnel_trio._broker._redis._foreign import explain_foreign
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._errors import Demoted, translate
from runnel_trio._broker._redis._transport._scripts import (
    Command,
    ask,
    by_digest,
    exchange,
    read_replies,
    settle,
)
from runnel_trio._broker._redis._transport._socket import (
    Answers,
    can_look,
    count_arrived,
    interrupt,
    socket_of,
    write_now,
)
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._report._redaction import redacted
from runnel_trio.exceptions import BrokerUnavailable, RunnelError

__all__ = ["Connection"]


@attrs.define(eq=False)
class Connection:
    """One connection, made when it is needed and made anew after it broke. For one user at a time.

    Attributes:
        endpoint: where it leads.
        patience: seconds that a reply may take beyond the endpoint's timeout.
        closing_on_error: what fails in the body closes the connection, and is one of our errors.
    """

    endpoint: Endpoint
    patience: float = 0.0
    closing_on_error: _ClosingOnError = attrs.field(init=False)
    _raw: Any = attrs.field(default=None, init=False)
    _answers: Answers | None = attrs.field(default=None, init=False)
    _moves: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.closing_on_error = _ClosingOnError(self)

    @property
    def is_open(self) -> bool:
        """Whether it leads to the master, as far as is known; what does not, or has ended, is closed here."""
        if self._raw is None:
            return False
        if self._moves != self.endpoint.moves or (self._answers is not None and self._answers.ended):
            self.close()
            return False
        return True

    def exchange(self, calls: Sequence[Command]) -> list[Any]:
        """As `_scripts.exchange`, with our errors: in place of replies too. It blocks."""
        with self.closing_on_error:
            if not self.is_open:
                self._connect()
            began = time.monotonic()
            replies = exchange(self._raw, calls)
            if self.endpoint.is_doubtful(time.monotonic() - began):
                self.endpoint.confirm(self._raw)
            return self._translate(replies)

    async def talk(self, calls: Iterable[Command], waiter: Waiter) -> list[Any]:
        """As `exchange`, and in a thread only what must be.

        Calls that are made when they are read (`LazyList`) are all made before the first wait.
        """
        if not self.is_open or (self._answers is None and not can_look(self._raw)):
            return await waiter.in_thread(self.exchange, list(calls))
        with self.closing_on_error:
            began = time.monotonic()
            replies = await self._exchange_here(calls, waiter)
            if self.endpoint.is_doubtful(silence := time.monotonic() - began):
                await self.confirm(silence, waiter)
            return self._translate(replies)

    async def _exchange_here(self, calls: Iterable[Command], waiter: Waiter) -> list[Any]:
        raw = self._raw
        text = by_digest(raw, calls)
        rest = self._write_now(text)
        calls = list(calls)  # all of them are made before the first wait
        if rest:  # when Trio is busy, each turn of its loop takes long: no more of them than there must be
            return await waiter.in_thread(exchange, raw, calls, chain([rest], text))
        replies: list[Any] = []
        while len(replies) < len(calls):
            if not await waiter.until_readable(socket_of(raw), self.endpoint.timeout):
                raise self._no_answer()
            replies = await self.read_replies(len(calls), self.endpoint.timeout, waiter)
        for reply in replies:
            if isinstance(reply, theirs.ResponseError):
                return await waiter.in_thread(settle, raw, calls, replies)
        return replies

    def write(self, commands: Iterable[tuple[Any, ...]]) -> None:
        """Write commands that the system takes at once: a few kilobytes, while nothing else is under way."""
        for words in commands:
            self._raw.send_command(*words)

    def _write_now(self, text: Iterator[bytes]) -> bytes:
        """As much as the system takes at once, and not more; the rest of the piece that it did not take."""
        for piece in text:
            count = write_now(self._raw, piece)
            if count < len(piece):
                return piece[count:]
        return b""

    async def read_replies(self, count: int, within: float, waiter: Waiter) -> list[Any]:
        """So many replies, or redis-py's errors in their place; to be called when something can be read.

        A thread reads them, unless there is a parser that takes bytes as they come (hiredis), or all of them
        are there already.

        Args:
            count: at least 1.
            within: seconds to wait for what follows on what has come.
            waiter: for these waits.

        Returns:
            None of them where what had come was not theirs: TLS has messages of its own.
        """
        if self._answers is None:
            if count_arrived(self._raw) >= count:
                return read_replies(self._raw, count)
            return await waiter.in_thread(read_replies, self._raw, count)
        found: list[Any] = []
        if not self._answers.take(found, count):
            return found
        while len(found) < count:
            if not await waiter.until_readable(socket_of(self._raw), within):
                raise BrokerUnavailable(f"{redacted(self.endpoint.url)}: the server does not answer")
            self._answers.take(found, count)
        return found

    async def confirm(self, silence: float, waiter: Waiter) -> None:
        """Have it confirmed that the connection leads to the master, if an answer came after long silence.

        Raises:
            Demoted: it does not. What was read from it is worth nothing.
        """
        if self.endpoint.is_doubtful(silence):
            await waiter.in_thread(self.endpoint.confirm, self._raw)

    async def until_readable(self) -> None:
        """Wait until something can be read; it can be cancelled."""
        await trio.lowlevel.wait_readable(socket_of(self._raw))

    def explain_foreign(self, keys: Sequence[str]) -> RunnelError:
        """The refusal of a command because of what is at one of its keys; it names that. It blocks."""
        with self.closing_on_error:
            return translate(explain_foreign(lambda words: ask(self._raw, words), keys), self.endpoint.url)

    def _connect(self) -> None:
        self._moves = self.endpoint.moves
        self._raw = self.endpoint.connect(patience=self.patience)
        self._answers = Answers.of(self._raw)

    def _no_answer(self) -> BrokerUnavailable:
        where, timeout = redacted(self.endpoint.url), self.endpoint.timeout
        return BrokerUnavailable(f"{where}: no answer within {timeout:g} s")

    def _translate(self, replies: list[Any]) -> list[Any]:
        for reply in replies:
            if isinstance(reply, theirs.RedisError):
                break
        else:  # by far most often: no generator for it
            return replies
        url = self.endpoint.url
        replies = [translate(x, url) if isinstance(x, theirs.RedisError) else x for x in replies]
        for error in replies:
            if isinstance(error, Demoted):
                self.give_up(error)
                break
        return replies

    def give_up(self, error: BaseException) -> None:
        """Give the connection up, and all others of this endpoint where another server is the master now."""
        self.close()
        if isinstance(error, Demoted):
            self.endpoint.moves += 1

    def interrupt(self) -> None:
        """From another thread: make the exchange under way fail now."""
        interrupt(self._raw)

    def close(self) -> None:
        """Give the connection up: what is still on its way in must answer nothing else."""
        if self._raw is not None:
            self._raw.disconnect()
            self._raw = None


@attrs.frozen(eq=False)
class _ClosingOnError:
    """See `Connection.closing_on_error`. No generator: that would be a sixth of a small exchange."""

    _connection: Connection

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        ours = error
        if isinstance(error, theirs.RedisError):
            ours = translate(error, self._connection.endpoint.url)
        self._connection.give_up(ours)
        if ours is not error:
            raise ours from error
