"""Signals outside of the time in which a command handles them, before and after: they end it at once.

For most processes the kernel does that, even while Python is busy. But for process 1 of a container, it drops
signals without a handler: a SIGTERM during imports would be lost, and the worker would start anyway. So
handlers are installed there before anything else, which is why the package imports this module first. In a
user's own program it does nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

__all__ = ["begun", "ending", "stand_by"]

#: What ends a process that does not handle it, as users and managers of services send it; SIGINT is Python's.
_ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


def _end(number: int, _: FrameType | None) -> None:
    """Nothing in between can hold this up."""
    os._exit(128 + number)


def ending() -> Any:
    """The handler of a signal that is to end this process at once; the exit code is 128 + its number."""
    return _end if os.getpid() == 1 else signal.SIG_DFL


def stand_by() -> None:
    """Have signals end this process from here on. What is ignored stays so, as under nohup."""
    for number in _ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, ending())
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, ending())


def begun() -> None:
    """The command's own code runs: a SIGINT is a KeyboardInterrupt, as Trio wants to have it."""
    if signal.getsignal(signal.SIGINT) is ending():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_command() -> bool:
    """Whether this process is ``runnel-trio``, or ``python -m runnel_trio``, which Python is looking for."""
    if sys.argv[:1] == ["-m"]:
        return sys.orig_argv[-len(sys.argv)].removeprefix("-m") == "runnel_trio"
    return os.path.basename(sys.argv[0] if sys.argv else "") == "runnel-trio"


if _is_command():
    stand_by()
