"""How commands end: the error text, and the exit code (1 to 3 as in `status`, and those of sysexits.h).

An error is one line that says what to do. Only user code that raises gets a traceback, from the user's line
on; ``--traceback`` shows every traceback, whole. A password in a server's URL is never shown, although
tracebacks contain source lines and foreign errors contain their arguments.
"""

from __future__ import annotations

import enum
import logging
import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import click

from runnel_trio._cli._logging import told_to_machines
from runnel_trio._cli._streams import is_terminal, silence
from runnel_trio._report._redaction import legible, redacted_text
from runnel_trio._report._traceback import formatted, users_frames
from runnel_trio._report._words import summary
from runnel_trio._scopes import quitting
from runnel_trio.exceptions import (
    BrokerRefused,
    BrokerUnavailable,
    InternalError,
    Misconfigured,
    RecordInvalid,
    StreamFull,
    WorkersAlive,
)

__all__ = [
    "Ended",
    "Exit",
    "Unwritable",
    "blaming_arguments",
    "conclude",
    "ended",
    "flush",
    "fold",
    "folded",
    "print_out",
    "tell",
    "tell_unwritable",
    "with_source_line",
    "writing",
]


class Exit(enum.IntEnum):
    """Exit codes; documented in docs/reference/cli.rst."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    DATA = 65
    SOFTWARE = 70
    IO = 74
    TRY_LATER = 75
    REFUSED = 77
    CONFIG = 78
    INTERRUPTED = 130
    UNREAD = 141


#: The exit codes of errors whose text is enough for the user.
_CODES: dict[type[BaseException], Exit] = {
    BrokerUnavailable: Exit.UNAVAILABLE,
    BrokerRefused: Exit.REFUSED,
    Misconfigured: Exit.CONFIG,
    RecordInvalid: Exit.DATA,
    StreamFull: Exit.TRY_LATER,
    WorkersAlive: Exit.TRY_LATER,
}


class Ended(Exception):
    """A command ends here, with a line for people.

    Attributes:
        code: its exit code.
        text: the line.
        blamed: an error whose traceback shows the user which line of theirs it was.
    """

    def __init__(self, code: int, text: str, *, blamed: BaseException | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.text = legible(redacted_text(" ".join(text.split())))
        self.blamed = blamed


class Unwritable(Ended):
    """Standard output takes nothing more, as with a full disk; if nobody reads it, nothing is said."""

    def __init__(self, error: OSError) -> None:
        unread = isinstance(error, BrokenPipeError)
        code = Exit.UNREAD if unread else Exit.IO
        super().__init__(code, "" if unread else f"standard output cannot be written: {error.strerror}")
        silence(sys.stdout)


def print_out(text: object, *, nl: bool = True) -> None:
    """Write what was asked for to standard output.

    Raises:
        Unwritable: it takes nothing more.
    """
    with writing():
        click.echo(text, nl=nl)


@contextmanager
def writing() -> Iterator[None]:
    """A context for a block that writes to standard output, and does nothing else with the system.

    Raises:
        Unwritable: it takes nothing more.
    """
    try:
        yield
    except OSError as error:
        raise Unwritable(error) from None


def tell(text: str) -> None:
    """Write a line for the person at the terminal, if the terminal is still there."""
    with suppress(OSError):
        click.echo(text, err=True)


def flush(code: int) -> int:
    """Flush standard output before Python does, and complains. Returns ``code``, or that of a failure."""
    try:
        with suppress(ValueError):  # the user's code has closed the stream
            sys.stdout.flush()
    except OSError as error:
        code = code or tell_unwritable(Unwritable(error))
    try:
        with suppress(ValueError):
            sys.stderr.flush()
    except OSError:
        silence(sys.stderr)
    return code


def _unwritable(error: BaseException) -> Unwritable | None:
    """The `Unwritable` that an error is or contains: it may come from a task beside the command's work."""
    while isinstance(error, BaseExceptionGroup):
        found = error.subgroup(Unwritable)
        if found is None:
            return None
        error = found.exceptions[0]
    return error if isinstance(error, Unwritable) else None


def tell_unwritable(end: Unwritable) -> int:
    """Tell that standard output takes nothing more. Returns the exit code."""
    if end.text:
        _report(end.text, "")
    return end.code


def folded(text: str) -> str:
    """Fold a text to the width of the terminal; without one, a line stays whole."""
    return fold(text, shutil.get_terminal_size().columns) if is_terminal(sys.stderr) else text


def fold(text: str, width: int) -> str:
    """Break a line between words. What stands in backquotes stays whole, so that it can be copied."""
    whole = re.sub("`[^`]+`", lambda found: found[0].replace(" ", "\0"), text)
    lines = textwrap.wrap(whole, width, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def conclude(command: Callable[[], int], *, show_all: bool) -> int:
    """Run a command, tell what went wrong, and return the exit code.

    Args:
        command: the function to run.
        show_all: whether to show every traceback, whole.
    """
    try:
        return command()
    except (click.ClickException, click.Abort, KeyboardInterrupt):
        raise
    except BaseException as error:
        if isinstance(quitting(error), KeyboardInterrupt):
            raise
        if (unwritable := _unwritable(error)) is not None:
            return tell_unwritable(unwritable)
        end = error if isinstance(error, Ended) else ended(error)
        blamed = end.blamed
        if show_all:
            blamed = blamed or end.__cause__ or error
        whole = show_all or isinstance(blamed, InternalError)
        _report(end.text, formatted(blamed, whole=whole) if blamed else "")
        return end.code


@contextmanager
def blaming_arguments() -> Iterator[None]:
    """A context in which `Misconfigured` means that the command line is wrong.

    Raises:
        Ended: in place of `Misconfigured`.
    """
    try:
        yield
    except Misconfigured as error:
        raise Ended(Exit.USAGE, str(error)) from error


def ended(error: BaseException) -> Ended:
    """The line and the exit code for an error. The code is never 0, even for ``SystemExit(0)``."""
    code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), None)
    if code is not None:
        return Ended(code, str(error))
    if isinstance(error, InternalError):
        return Ended(Exit.SOFTWARE, f"{summary(error)}. Please report this with the traceback.", blamed=error)
    asked = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 0
    failed = asked & 0xFF or Exit.FAILED  # the system would keep only these bits
    return Ended(failed, f"stopped by {summary(error)}", blamed=error)


def _report(text: str, trace: str) -> None:
    if told_to_machines(logging.CRITICAL, text, **({"exception": trace} if trace else {})):
        return
    if trace:
        tell(redacted_text(trace.rstrip()))
    tell(folded(f"Error: {text}"))


def with_source_line(error: BaseException) -> str:
    """The text of an error behind ``file:line: `` of the last line in the user's code that led to it.

    It stays as it is if no line of theirs led to it, or if the text already names a line of that file.
    """
    frames = users_frames(traceback.extract_tb(error.__traceback__))
    if not frames:
        return str(error)
    path = os.path.relpath(frames[-1].filename)
    file = frames[-1].filename if path.startswith(os.pardir) else path
    return str(error) if f"({file}:" in str(error) else f"{file}:{frames[-1].lineno}: {error}"
