"""The socket of a connection, used from Trio without waiting in it, and so without a hop to a thread.

A hop costs 0.1 to 0.2 ms, more than a small answer does. In a large one, its thread waits for the interpreter
after each piece of it, as long as handlers are busy, and so do they for the thread.

With hiredis, which takes bytes as they come, nothing is read in a thread (`Answers`). redis-py's own parser
takes them from the socket, and waits for them there: so what is small and has arrived as a whole is read at
once (`count_arrived`), the rest in a thread, where waiting holds up nobody. With TLS one cannot look at bytes
and leave them there: without hiredis, it always needs the thread.

What redis-py keeps to itself (`_sock`, `_parser._reader`) is used in this file and in no other, and
tests/broker/test_redis_py.py says what is taken for granted of it.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import exceptions as theirs

__all__ = ["Answers", "can_look", "count_arrived", "interrupt", "socket_of", "wholes", "write_now"]

#: Bytes of an answer that is looked at; a larger one is worth the hop.
_SMALL = 4096
#: Bytes that are read and parsed at a time, 0.3 ms.
_PIECE = 128 * 1024
#: The most that one record of TLS holds.
_RECORD = 16 * 1024
_WITHOUT_TAKING = int(socket.MSG_PEEK | socket.MSG_DONTWAIT)
#: How a socket says that it would have to wait.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def socket_of(connection: Any) -> Any:
    """The socket of a redis-py connection, to be waited for."""
    return connection._sock


def interrupt(connection: Any) -> None:
    """From another thread than the one that reads: make it fail now.

    Closing the connection here would raise in that thread what is no error of redis-py's.
    """
    with suppress(OSError, AttributeError):
        connection._sock.shutdown(socket.SHUT_RDWR)


def can_look(connection: Any) -> bool:
    """TLS has no way to look without reading."""
    return not isinstance(connection._sock, ssl.SSLSocket)


class Answers:
    """What a connection's parser makes of the bytes that have arrived, by and by.

    It is redis-py's: what redis-py then reads from the connection follows on what was taken here.

    Attributes:
        ended: whether nothing will come any more; a socket of TLS does not say it again.
    """

    def __init__(self, connection: Any) -> None:
        self._parser = connection._parser._reader
        self._sock = connection._sock
        self._is_plain = can_look(connection)
        self.ended = False
        self._missing = self._parser.gets()  # as nothing was asked yet

    @classmethod
    def of(cls, connection: Any) -> Answers | None:
        """Those of a connection that was just made; None where they cannot be had so."""
        return cls(connection) if hasattr(getattr(connection._parser, "_reader", None), "feed") else None

    def take(self, into: list[Any], most: int) -> bool:
        """Read what has arrived; add what is whole, until there are so many, and errors in their place.

        Returns:
            Whether anything had.

        Raises:
            ConnectionError: of redis-py: the connection broke, or was refused.
        """
        try:
            data = self._receive() if self._is_plain else self._decrypt()
        except _NOT_NOW:
            return False
        except OSError as error:
            raise _broken(error) from error
        self._parser.feed(data)
        while len(into) < most and (answer := self._parser.gets(False)) is not self._missing:
            if isinstance(answer, theirs.ConnectionError):
                raise answer
            into.append(answer)
        if self.ended and len(into) < most:
            raise theirs.ConnectionError("the server closed the connection")
        return True

    def _receive(self) -> bytes:
        data = os.read(self._sock.fileno(), _PIECE)  # not by the socket: with a timeout, Python first waits
        self.ended = not data
        return data

    def _decrypt(self) -> bytes:
        """Record by record, until the next is not there: what has arrived must not stay behind in OpenSSL."""
        parts: list[bytes] = []
        try:
            with _without_waiting(self._sock):
                while not self.ended and len(parts) < _PIECE // _RECORD:
                    parts.append(self._sock.recv(_RECORD))
                    self.ended = not parts[-1]
        except _NOT_NOW:
            if not parts:
                raise
        return b"".join(parts)


def write_now(connection: Any, data: bytes) -> int:
    """How much of it was written: what the system takes at once. What was not has to be written next.

    With TLS it is all or nothing, and "nothing" may have left in part: OpenSSL goes on when it is given the
    same bytes again.

    Raises:
        ConnectionError: of redis-py: the connection broke.
    """
    sock = connection._sock
    try:
        if can_look(connection):
            return os.write(sock.fileno(), data)
        with _without_waiting(sock):
            return int(sock.send(data))
    except _NOT_NOW:
        return 0
    except OSError as error:
        raise _broken(error) from error


@contextmanager
def _without_waiting(sock: Any) -> Iterator[None]:
    """TLS goes through the socket, which with a timeout waits."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        yield
    finally:
        sock.settimeout(timeout)


def _broken(error: OSError) -> theirs.ConnectionError:
    return theirs.ConnectionError(f"the connection broke: {error}")


def count_arrived(connection: Any) -> int:
    """How many small answers are there, as a whole; for a redis-py connection that is readable."""
    if not can_look(connection):
        return 0
    try:
        seen = connection._sock.recv(_SMALL, _WITHOUT_TAKING)
    except OSError:
        return 0
    return wholes(seen)


def wholes(data: bytes) -> int:
    """How many whole values of the RESP2 protocol bytes begin with.

    See https://redis.io/docs/latest/develop/reference/protocol-spec/.
    """
    at, found, parts = 0, 0, 1
    while (end := data.find(b"\r\n", at)) >= 0:
        kind = data[at : at + 1]
        parts -= 1
        if kind == b"*":
            parts += max(0, int(data[at + 1 : end]))
        elif kind == b"$" and (size := int(data[at + 1 : end])) >= 0:
            end += size + 2
        at = end + 2
        if at > len(data):
            break
        if not parts:
            found, parts = found + 1, 1
    return found
