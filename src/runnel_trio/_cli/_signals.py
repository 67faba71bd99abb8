"""SIGINT and SIGTERM: the first asks for a graceful end, the second for one at once, the third kills.

Only the command line listens; a worker that is embedded in a program leaves signals to it.

The handlers are not those of `trio.open_signal_receiver`: it takes signals until a task has looked at
them, and while a user's function blocks Trio no task does. The third one must work then, too, and while an
end at once still waits for a server that is away.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import trio

__all__ = ["obeyed"]


@contextmanager
def obeyed(first: Callable[[int], None], second: Callable[[int], None]) -> Iterator[None]:
    """While the block lasts, call ``first`` and then ``second`` in Trio, with the number of the signal."""
    soon = trio.lowlevel.current_trio_token().run_sync_soon
    actions = [first, second]

    def heard(number: int, _: FrameType | None) -> None:
        if actions:
            soon(actions.pop(0), number)
        if not actions:
            for each in before:
                signal.signal(each, signal.SIG_DFL)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, heard)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
