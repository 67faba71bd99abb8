"""Tracebacks for users: from their code on, without the frames that they cannot change."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import outcome
import trio

from runnel_trio._report._words import described, encodable, summary
from runnel_trio.exceptions import DeserializationError, Poisoned

__all__ = ["formatted", "is_from_terminal", "note", "said_elsewhere", "shown_at", "users_frames"]

#: Where the frames are that say nothing about a user's mistake.
_OURS = (
    *(
        str(Path(module.__file__).parent) + os.sep
        for module in (sys.modules["runnel_trio"], trio, outcome, sys.modules.get("click"), importlib)
        if module is not None and module.__file__
    ),
    contextlib.__file__,
    "<frozen importlib",
    "<attrs generated",
)

#: Where Trio turns the signal into an exception.
_KI = str(Path(trio.__file__).parent / "_core" / "_ki.py")
#: Characters of a traceback that are kept: it has the texts of all errors, and is stored with a quarantine.
_MOST = 100_000


def _elsewhere(error: Any, xid: str) -> str:
    """The text of an error whose partition is told beside it, and whose event is, if it is that one."""
    here = f"{error.stream}[{error.partition}] {error.xid}"
    text = described(error, str).replace(here, error.xid, 1)
    return text if error.xid != xid else text.replace(f" {xid}: ", ": ", 1).removeprefix(f"{xid}: ")


def shown_at(error: BaseException, xid: str) -> str:
    """As ``repr``, for a line that has the partition, and the event's id."""
    if isinstance(error, DeserializationError | Poisoned):
        return f"{type(error).__name__}({_elsewhere(error, xid)!r})"
    return described(error)


def said_elsewhere(error: BaseException) -> str:
    """As `said`, for where the partition is told beside it."""
    if isinstance(error, DeserializationError | Poisoned):
        return f"{type(error).__name__}: {_elsewhere(error, '')}"
    return summary(error)


def is_from_terminal(error: BaseException) -> bool:
    """Whether it is the KeyboardInterrupt that Trio makes of Ctrl-C, and none that code has raised."""
    frames = traceback.extract_tb(error.__traceback__)[-1:]
    return isinstance(error, KeyboardInterrupt) and any(x.filename == _KI for x in frames)


def note(error: BaseException, text: str) -> None:
    """As `BaseException.add_note`, of an error whose class may refuse that, as a frozen one does."""
    with suppress(Exception):
        error.add_note(text)


def formatted(error: BaseException, *, whole: bool = False) -> str:
    """The traceback of an error, as text that can be stored, whatever its class does.

    An error that was raised by this library alone keeps its frames: there is nothing else to look at.

    Args:
        error: what was raised.
        whole: with every frame, however long it gets.
    """
    try:
        found = traceback.TracebackException.from_exception(error)
        if not whole:
            _trim(found)
        text = "".join(found.format())
    except Exception as fault:  # a property or a hook of a class of the user's
        text = f"{summary(error)}\n(its traceback cannot be shown: {summary(fault)})\n"
    if len(text) > _MOST and not whole:
        half = _MOST // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
    return encodable(text)


def users_frames(stack: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """Those that are the user's."""
    return [frame for frame in stack if not frame.filename.startswith(_OURS)]


def _trim(found: traceback.TracebackException) -> None:
    """Of all that it came from, too: thousands, where each try of a loop has raised over the last."""
    left: list[traceback.TracebackException | None] = [found]
    while left:
        one = left.pop()
        if one is None:
            continue
        theirs = users_frames(one.stack)
        if theirs or hasattr(one, "filename"):  # a SyntaxError says by itself where it is
            one.stack = traceback.StackSummary.from_list(theirs)
        left += (one.__cause__, one.__context__, *(one.exceptions or ()))
