"""Tracebacks for users: from their code on, without the frames that they cannot change."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import outcome
import trio

__all__ = ["said", "told", "users_frames"]

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

#: Characters of an exception's text that are kept: some have a whole document in it.
_MOST = 2000


def said(error: BaseException) -> str:
    """An error in a line, as ``type: text``."""
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= _MOST else f"{text[:_MOST]}…"


def told(error: BaseException, *, whole: bool = False) -> str:
    """The traceback of an error, as text.

    An error that was raised by this library alone keeps its frames: there is nothing else to look at.
    """
    found = traceback.TracebackException.from_exception(error)
    if not whole:
        _trim(found)
    return "".join(found.format())


def users_frames(stack: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """Those that are the user's."""
    return [frame for frame in stack if not frame.filename.startswith(_OURS)]


def _trim(found: traceback.TracebackException | None) -> None:
    if found is None:
        return
    theirs = users_frames(found.stack)
    if theirs or hasattr(found, "filename"):  # a SyntaxError says by itself where it is
        found.stack = traceback.StackSummary.from_list(theirs)
    for other in (found.__cause__, found.__context__, *(found.exceptions or ())):
        _trim(other)
