"""SIGINT and SIGTERM: the first asks for a graceful end, the second for one at once, the third kills.

A closed terminal sends SIGHUP, maybe twice: the first counts as a first signal, and further ones are ignored.
A supervisor takes SIGHUP as a request to replace its workers, unless its terminal was closed. Under nohup it
is ignored.

Only the command line handles signals; a worker that is embedded in a program leaves them to the program.
Before and after, `_early` handles them.

It does not use `trio.open_signal_receiver`, which keeps signals until a task reads them, and no task does
while a user's function blocks Trio. The third signal must work even then, and while an immediate end still
waits for a server that is away.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import trio

from runnel_trio._early import ending

__all__ = ["handling_signals", "hangups"]


@contextmanager
def handling_signals(*each: Callable[[int], None]) -> Iterator[None]:
    """While the block lasts, call the next function in Trio at each signal; one more signal kills."""
    soon = trio.lowlevel.current_trio_token().run_sync_soon
    actions = list(each)

    def heard(number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP and len(actions) < len(each):
            return
        if actions:
            soon(actions.pop(0), number)
        if not actions:
            for one in (signal.SIGINT, signal.SIGTERM):
                signal.signal(one, ending())

    before = {x: signal.getsignal(x) for x in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def hangups(rolled: Callable[[], None], left: Callable[[int], None]) -> Iterator[None]:
    """While the block lasts, call ``rolled`` in Trio at SIGHUP, or ``left`` when the terminal was closed.

    Under nohup a closed terminal does not matter: then every SIGHUP calls ``rolled``.
    """
    soon = trio.lowlevel.current_trio_token().run_sync_soon
    before = signal.getsignal(signal.SIGHUP)
    attached = before is not signal.SIG_IGN and _has_terminal()

    def heard(number: int, _: FrameType | None) -> None:
        if attached and not _has_terminal():
            soon(left, number)
        else:
            soon(rolled)

    signal.signal(signal.SIGHUP, heard)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _has_terminal() -> bool:
    """Whether the session still has a terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
