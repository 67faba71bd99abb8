"""Trio for code outside of it: one run in a thread of its own, as long as the process lives.

The first call starts the run, and what a call opens (a connection to a server) stays open for later ones. A
forked process starts a run of its own.
"""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
import trio

from runnel_trio.exceptions import Misconfigured

__all__ = ["Portal"]

_T = TypeVar("_T")

#: Seconds that closing may take when the process ends, because an embedded server writes its data first.
_CLOSING = 25.0


@attrs.define(eq=False)
class Portal:
    """A way into Trio. Calls may come from any thread, and many may be under way at once."""

    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)
    _token: trio.lowlevel.TrioToken | None = attrs.field(default=None, init=False)
    _closing: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        os.register_at_fork(after_in_child=self._forget)

    def run(self, function: Callable[..., Awaitable[_T]], *arguments: Any, name: str = "stream.send") -> _T:
        """Call an async function, and wait for it.

        Args:
            function: what to call.
            *arguments: for it.
            name: that of the method that one can await instead, for messages.

        In a thread that Trio has started (`trio.to_thread.run_sync`), it is called in that run of Trio.

        Raises:
            Misconfigured: it is called in Trio's own thread, where one can and must await.
        """
        if trio.lowlevel.in_trio_task():
            method = name.rpartition(".")[2]
            raise Misconfigured(f"{method}_sync would block Trio: use `await {name}(…)` here")
        _warn_on_loop(name)
        try:
            trio.from_thread.check_cancelled()
        except RuntimeError:  # Trio did not start this thread
            return trio.from_thread.run(function, *arguments, trio_token=self._running())
        return trio.from_thread.run(function, *arguments)

    def close(self) -> None:
        """End the run, and close everything that it has opened."""
        with self._lock:
            token, thread = self._token, self._thread
            self._token = None
        if token is not None and thread is not None:
            token.run_sync_soon(self._closing.set)
            thread.join(_CLOSING)

    def _running(self) -> trio.lowlevel.TrioToken:
        with self._lock:
            if self._token is None or self._thread is None or not self._thread.is_alive():
                self._token = self._started()
            return self._token

    def _started(self) -> trio.lowlevel.TrioToken:
        ready: queue.SimpleQueue[trio.lowlevel.TrioToken] = queue.SimpleQueue()

        async def serve() -> None:
            self._closing = trio.Event()
            ready.put(trio.lowlevel.current_trio_token())
            await self._closing.wait()

        self._thread = threading.Thread(target=trio.run, args=(serve,), name="runnel-trio", daemon=True)
        self._thread.start()
        atexit.unregister(self.close)
        atexit.register(self.close)
        return ready.get()

    def _forget(self) -> None:
        """Start afresh in a forked child: it lacks the thread, and the lock may be held for ever."""
        self._lock, self._thread, self._token = threading.Lock(), None, None


def _warn_on_loop(name: str) -> None:
    """Warn in a thread that runs an asyncio loop: the whole loop stands still during the call."""
    asyncio = sys.modules.get("asyncio")  # no loop runs if nobody has imported it
    if asyncio is not None and asyncio._get_running_loop() is not None:  # noqa: SLF001  # documented for libraries
        warnings.warn(
            f"{name.rpartition('.')[2]}_sync is called in a task of asyncio and blocks its loop: use "
            f"`await asyncio.to_thread({name}_sync, …)` there",
            RuntimeWarning,
            stacklevel=4,  # the line of the caller of send_sync
        )
