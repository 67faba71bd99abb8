"""The lines of a file or of standard input, plain or gzipped, in batches, with their numbers.

Memory is bounded for any input: by one chunk of decompressed bytes, and one line, which may not be longer
than `LONGEST`. Lines from a pipe are returned without waiting for more.
"""

from __future__ import annotations

import codecs
import gzip
import os
import select
import sys
import zlib
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import attrs

from runnel_trio._cli._errors import Ended, Exit

__all__ = ["LONGEST", "Line", "Lines"]

#: The most lines of a batch.
BATCH = 1000
#: The most bytes that are decompressed at a time.
CHUNK = 256 * 1024
#: The most bytes of a line.
LONGEST = 16 * 1024 * 1024
GZIP = b"\x1f\x8b"


@attrs.frozen
class Line:
    """A line: its number, from 1 on, and its text; None for one that is too long to be read."""

    number: int
    text: bytes | None


@attrs.define(eq=False)
class _Source:
    """Reads bytes from a file descriptor as soon as there are any, and counts them for the progress bar."""

    descriptor: int
    peeked: bytes = b""
    consumed: int = 0

    def peek(self, size: int) -> bytes:
        """The first bytes, without consuming them; fewer than ``size`` only at the end."""
        while len(self.peeked) < size and (more := self._read(size - len(self.peeked))):
            self.peeked += more
        return self.peeked

    def read(self, size: int) -> bytes:
        """The bytes that have arrived, up to ``size``; empty at the end."""
        if self.peeked:
            given, self.peeked = self.peeked[:size], self.peeked[size:]
            return given
        return self._read(size)

    def _read(self, size: int) -> bytes:
        while True:
            try:
                given = os.read(self.descriptor, size)
            except BlockingIOError:  # standard input is in non-blocking mode
                select.select([self.descriptor], [], [])
            else:
                self.consumed += len(given)
                return given


@attrs.define(eq=False)
class Lines:
    """A source of lines. Everything here blocks: it belongs in a thread.

    Attributes:
        name: for messages.
        size: the bytes as stored; None if the number is not known.
    """

    name: str
    size: int | None
    _source: _Source
    _read: Callable[[int], bytes] | None = None
    _tail: bytearray = attrs.field(factory=bytearray)
    _ready: deque[Line] = attrs.field(factory=deque)
    _number: int = 0
    _too_long: bool = False
    _ended: bool = False

    @classmethod
    def open(cls, path: str) -> Lines:
        """The lines of a file; ``-`` is standard input.

        Raises:
            Ended: it cannot be opened.
        """
        if path == "-":
            if sys.stdin is None:  # started without standard input, whose number may be another file's by now
                raise Ended(Exit.IO, "standard input is closed")
            return cls("standard input", None, _Source(sys.stdin.fileno()))
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise Ended(Exit.IO, f"{path}: {error.strerror}") from error
        return cls(path, os.fstat(descriptor).st_size or None, _Source(descriptor))

    @property
    def consumed(self) -> int:
        """How many of `size` bytes have been read."""
        return self._source.consumed

    def close(self) -> None:
        """Close the file; standard input stays."""
        if self._source.descriptor != 0:
            os.close(self._source.descriptor)

    def batch(self) -> list[Line]:
        """The next lines; none at the end.

        Raises:
            Ended: reading failed, or compressed data is damaged. All lines before that have been returned.
        """
        while not self._ready and not self._ended:
            chunk = self._chunk()
            if chunk:
                self._feed(chunk)
            else:
                self._ended = True
                if self._tail or self._too_long:
                    self._finish()
        return [self._ready.popleft() for _ in range(min(BATCH, len(self._ready)))]

    def _chunk(self) -> bytes:
        try:
            if self._read is None:
                self._read = self._opened()
            return self._read(CHUNK)
        except (OSError, EOFError, zlib.error) as error:
            raise Ended(Exit.IO, f"reading {self.name} failed: {error}") from error

    def _opened(self) -> Callable[[int], bytes]:
        """A function that reads the plain or gzipped bytes; the first two bytes tell which they are."""
        if self._source.peek(2) == GZIP:
            # GzipFile only reads from the file, but typeshed asks for more.
            return gzip.GzipFile(fileobj=cast("Any", self._source), mode="rb").read1
        return self._source.read

    def _feed(self, chunk: bytes) -> None:
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            self._extend(part)
            self._finish()
        self._extend(rest)

    def _extend(self, part: bytes) -> None:
        """Add to the present line; the rest of a line that is too long is dropped."""
        if not self._too_long:
            self._tail += part
            if len(self._tail) > LONGEST:
                self._too_long, self._tail = True, bytearray()

    def _finish(self) -> None:
        """End the present line. An empty line is left out, but it is counted."""
        self._number += 1
        if self._number == 1 and self._tail.startswith(codecs.BOM_UTF8):
            del self._tail[: len(codecs.BOM_UTF8)]
        if self._too_long:
            self._ready.append(Line(self._number, None))
        elif not self._tail.isspace() and self._tail:
            self._ready.append(Line(self._number, bytes(self._tail)))
        self._too_long = False
        self._tail.clear()
