"""One worker as its supervisor sees it: a process, and the messages to and from it.

A worker is a process group of its own: Ctrl-C in a terminal only reaches the supervisor, which passes it on.
"""

from __future__ import annotations

import json
import math
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio

from runnel_trio._cli._leash import ABORT, HERE, READY, STOP
from runnel_trio._scopes import helpers

__all__ = ["Backoff", "Child"]

#: Seconds that a worker may take to end beyond its grace period, and again after it was told to end at once.
_MARGIN = 5.0


@attrs.define
class Backoff:
    """How long to wait before a worker is started again.

    Attributes:
        first: seconds after the first end.
        most: seconds at most; each is twice the one before.
        good: seconds of life after which earlier ends no longer count.
    """

    first: float = 0.5
    most: float = 30.0
    good: float = 60.0
    _ends: int = attrs.field(default=0, init=False)

    def after(self, lived: float) -> float:
        """The seconds to wait after a worker that has lived for so many seconds.

        Example:
            >>> backoff = Backoff()
            >>> [backoff.after(lived) for lived in (600, 3, 3, 3)]
            [0.5, 1.0, 2.0, 4.0]
            >>> backoff.after(61)
            0.5
        """
        self._ends = 1 if lived >= self.good else self._ends + 1
        return min(self.most, self.first * 2.0 ** min(self._ends - 1, 30))


@attrs.define(eq=False, kw_only=True)
class Child:
    """A worker process.

    Attributes:
        number: its number among the workers, from 1.
        here: set when it has imported the app and is connected.
        ready: set when it owns its share of the partitions, or stands by.
        ended: set when the process has ended.
        facts: what it said about the app with its first message.
    """

    number: int
    here: trio.Event = attrs.field(factory=trio.Event, init=False)
    ready: trio.Event = attrs.field(factory=trio.Event, init=False)
    ended: trio.Event = attrs.field(factory=trio.Event, init=False)
    facts: dict[str, Any] = attrs.field(factory=dict, init=False)
    _process: trio.Process = attrs.field(alias="process")
    _sock: socket.socket = attrs.field(alias="sock")
    _ready_at: float = attrs.field(default=math.inf, init=False)

    @classmethod
    async def start(cls, arguments: Sequence[str], *, number: int, of: int, directory: str) -> Child:
        """Start ``runnel-trio run`` with these arguments.

        Raises:
            OSError: the system cannot start another process.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            ours.send(json.dumps({"number": number, "of": of, "directory": directory}).encode() + b"\n")
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "runnel_trio", "run", *arguments, f"--leash={theirs.fileno()}"],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(number=number, process=process, sock=ours)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def code(self) -> int:
        """How it has ended, as a shell says it: the exit code, or 128 + the number of the signal."""
        code = self._process.returncode or 0
        return 128 - code if code < 0 else code

    @property
    def how(self) -> str:
        """How it has ended, in words."""
        code = self._process.returncode or 0
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    @property
    def lived(self) -> float:
        """Seconds since it was ready."""
        return max(0.0, trio.current_time() - self._ready_at)

    async def attend(self, told: Callable[[Child, str], None]) -> None:
        """Listen to the worker until it has ended.

        Args:
            told: called with each message.
        """
        async with helpers() as nursery:
            nursery.start_soon(self._listen, told)
            with trio.CancelScope(shield=True):  # whoever started a process waits for its end
                await self._process.wait()
        self._sock.close()
        self.ended.set()

    def stop(self) -> None:
        """Ask it to end gracefully. Calling this again does no harm."""
        self._say(STOP)
        if not self.here.is_set():
            self._process.terminate()  # it may still be importing, and then it has nothing to finish

    def abort(self) -> None:
        """Ask it to end at once."""
        self._say(ABORT)
        if not self.here.is_set():
            self._process.kill()

    def kill(self) -> None:
        """Have the system end it."""
        self._process.kill()

    async def retire(self) -> bool:
        """Ask it to end gracefully, and kill it if it takes too long. Returns whether it ended by itself."""
        self.stop()
        with trio.move_on_after(self.facts.get("patience", 0.0) + _MARGIN):
            await self.ended.wait()
            return True
        self.abort()
        with trio.move_on_after(_MARGIN):
            await self.ended.wait()
            return False
        self.kill()
        await self.ended.wait()
        return False

    def _say(self, word: str) -> None:
        with suppress(OSError):  # it has ended already
            self._sock.send(f"{word}\n".encode())

    async def _listen(self, told: Callable[[Child, str], None]) -> None:
        unread = b""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                more = self._sock.recv(4096)
            except OSError:
                return
            if not more:
                return
            *lines, unread = (unread + more).split(b"\n")
            for line in lines:
                self._hear(json.loads(line), told)

    def _hear(self, facts: dict[str, Any], told: Callable[[Child, str], None]) -> None:
        word = facts.pop("word")
        if word == HERE:
            self.facts = facts
            self.here.set()
        elif word == READY:
            self._ready_at = trio.current_time()
            self.ready.set()
        told(self, word)
