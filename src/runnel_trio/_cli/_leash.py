"""Ties a worker to its supervisor: a socket, which also shows each that the other is gone.

    supervisor → worker    who it is, once; then ``stop``, ``abort``
    worker → supervisor    ``here``: imported and connected; ``ready``: owns its share, or stands by
    end of file            the supervisor was killed: end too

These are words, not signals: a worker that is asked twice to stop (by its supervisor and by systemd, say)
must not take that for a second signal, which would not wait for the events in hand. A thread reads them, not
a task: a worker whose function blocks Trio, or whose import never ends, must not outlive the supervisor.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import attrs
import trio

from runnel_trio._cli._errors import Ended, Exit

__all__ = ["ABORT", "GONE", "HERE", "READY", "STOP", "Leash"]

STOP, ABORT, GONE = "stop", "abort", "gone"
HERE, READY = "here", "ready"
#: Seconds that a worker without a supervisor may last beyond its grace period, and then again while it ends.
_MARGIN = 3.0


@attrs.define(eq=False)
class Leash:
    """The worker's end.

    Attributes:
        number: which of the supervisor's workers this one is, from 1.
        of: how many there are.
        directory: a directory for an embedded server without one of its own, so that all workers share it.
        patience: seconds that a graceful end may take.
    """

    _sock: socket.socket
    number: int
    of: int
    directory: str
    patience: float = attrs.field(default=0.0, init=False)
    _pull: Callable[[str], None] | None = attrs.field(default=None, init=False)
    _heard: list[str] = attrs.field(factory=list, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    @classmethod
    def take(cls, descriptor: int) -> Leash:
        """Take the socket that was inherited, and listen from now on.

        Raises:
            Ended: the descriptor is not such a socket: only a supervisor gives this option.
        """
        try:
            sock = socket.socket(fileno=descriptor)
            sock.set_inheritable(False)  # processes that the user's code starts must not have it
            words = sock.makefile("r", encoding="utf-8")
            given = json.loads(words.readline())
            leash = cls(sock, given["number"], given["of"], given["directory"])
        except (OSError, ValueError, KeyError, TypeError):
            raise Ended(Exit.USAGE, "--leash is for the workers of --workers: give that instead") from None
        threading.Thread(target=leash._listen, args=[words], name="leash", daemon=True).start()
        return leash

    def tell(self, word: str, **facts: Any) -> None:
        """Send a message to the supervisor, which may be gone."""
        with suppress(OSError):
            self._sock.sendall(json.dumps({"word": word, **facts}).encode() + b"\n")

    @contextmanager
    def handling_words(self, pull: Callable[[str], None]) -> Iterator[None]:
        """While the block lasts, call ``pull`` in Trio with each message, including earlier ones."""
        soon = trio.lowlevel.current_trio_token().run_sync_soon

        def pulled(word: str) -> None:
            with suppress(trio.RunFinishedError):
                soon(pull, word)

        with self._lock:
            self._pull = pulled
            for word in self._heard:
                pulled(word)
        try:
            yield
        finally:
            with self._lock:
                self._pull = None

    def _listen(self, words: Any) -> None:
        with suppress(OSError):
            for line in words:
                self._hear(line.strip())
        self._hear(GONE)
        nobody = threading.Event()
        nobody.wait(self.patience + _MARGIN)
        self._hear(ABORT)
        nobody.wait(_MARGIN)
        os.kill(os.getpid(), signal.SIGKILL)

    def _hear(self, word: str) -> None:
        with self._lock:
            self._heard.append(word)
            if self._pull is not None:
                self._pull(word)
            elif word == GONE:  # nothing has begun, so end as an unhandled signal would
                os.kill(os.getpid(), signal.SIGTERM)
