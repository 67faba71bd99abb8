"""How commands end: what is told, and the exit code, whose meanings are those of sysexits.h.

What goes wrong is one line that says what to do; a traceback is for the code of the user that raised, from
their line on. ``--traceback`` shows all of it.
"""

from __future__ import annotations

import enum
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import outcome
import trio

from runnel_trio.exceptions import (
    BrokerRefused,
    BrokerUnavailable,
    InternalError,
    Misconfigured,
    RecordInvalid,
    StreamFull,
)

__all__ = ["Ended", "Exit", "concluded", "tell", "trimmed"]

#: Where the frames are that say nothing about a user's mistake.
_OURS = tuple(
    str(Path(module.__file__).parent) + os.sep
    for module in (sys.modules["runnel_trio"], trio, outcome, click)
    if module.__file__
)


class Exit(enum.IntEnum):
    """Exit codes; documented in docs/cli.rst."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DATA = 65
    UNAVAILABLE = 69
    SOFTWARE = 70
    IO = 74
    TRY_LATER = 75
    REFUSED = 77
    CONFIG = 78
    INTERRUPTED = 130


#: The codes of errors that need no traceback: their text says it all.
_CODES: dict[type[BaseException], Exit] = {
    BrokerUnavailable: Exit.UNAVAILABLE,
    BrokerRefused: Exit.REFUSED,
    Misconfigured: Exit.CONFIG,
    RecordInvalid: Exit.DATA,
    StreamFull: Exit.TRY_LATER,
}


class Ended(Exception):
    """A command ends here; what happened was found out, and is told in one line.

    Attributes:
        code: its exit code.
        text: the line; empty when all was told already.
    """

    def __init__(self, code: int, text: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.text = text


def tell(text: str) -> None:
    """A line for the person at the terminal, or in the log of whoever started the command."""
    click.echo(text, err=True)


def concluded(command: Callable[[], int], *, show_all: bool) -> int:
    """Run a command to its exit code, and tell what went wrong.

    Args:
        command: what to do.
        show_all: show every traceback, whole.
    """
    try:
        return command()
    except click.ClickException:
        raise
    except Exception as error:
        code = _code(error)
        if show_all:
            traceback.print_exception(error)
        elif code in {Exit.FAILED, Exit.SOFTWARE}:
            tell("".join(trimmed(error)).rstrip())
        text = error.text if isinstance(error, Ended) else _line(error, code)
        if text:
            tell(f"Error: {text}")
        return code


def _code(error: BaseException) -> int:
    if isinstance(error, Ended):
        return error.code
    if isinstance(error, InternalError):
        return Exit.SOFTWARE
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), Exit.FAILED)


def _line(error: Exception, code: int) -> str:
    """The error in one line, unless its traceback was shown and ends with it."""
    return "" if code in {Exit.FAILED, Exit.SOFTWARE} else " ".join(str(error).split())


def trimmed(error: BaseException) -> Iterator[str]:
    """The lines of a traceback, without the frames of this library and of Trio.

    An error that was raised by them alone keeps its frames: there is nothing else to look at.
    """
    told = traceback.TracebackException.from_exception(error)
    _trim(told, set())
    return told.format()


def _trim(told: traceback.TracebackException | None, seen: set[int]) -> None:
    if told is None or id(told) in seen:
        return
    seen.add(id(told))
    theirs = [frame for frame in told.stack if not _internal(frame)]
    if theirs:
        told.stack = traceback.StackSummary.from_list(theirs)
    for other in (told.__cause__, told.__context__, *(told.exceptions or ())):
        _trim(other, seen)


def _internal(frame: traceback.FrameSummary) -> bool:
    return frame.filename.startswith(_OURS) or frame.filename.startswith("<frozen ")
