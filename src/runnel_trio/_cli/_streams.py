"""Standard streams in whatever state a command gets them: closed, full, unread, in any encoding."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO

__all__ = ["draw", "is_terminal", "prepare", "silence"]


def prepare() -> None:
    """Open the standard streams that are closed, before anything else is opened.

    The next files and connections would get the numbers of closed streams, and whoever writes to standard
    error, C code or a child, would write into them. `sys.stdin` stays None: there is no input.
    Characters that an encoding does not have are escaped, as on standard error, instead of raising an error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _discard(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, open(nowhere, "w", encoding="utf-8", closefd=False))  # noqa: SIM115 (it stays)
    if isinstance(sys.stdout, TextIOWrapper):
        with suppress(OSError):  # earlier output cannot be written, which is told at the end
            sys.stdout.reconfigure(errors="backslashreplace")


def silence(stream: TextIO) -> None:
    """Discard what is still to be written, so that Python does not try to write it at its end."""
    with suppress(OSError, ValueError):
        _discard(stream.fileno())


def _discard(number: int) -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)
    os.set_inheritable(number, True)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a stream is a terminal; a closed one is not."""
    return stream is not None and stream.isatty()


def draw(text: str) -> None:
    """Write to the terminal of standard error, if it is still there."""
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
