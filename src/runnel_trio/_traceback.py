"""Tracebacks for users: from their code on, without the frames that they cannot change."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import outcome
import trio

from runnel_trio.exceptions import DeserializationError, Poisoned

__all__ = ["said", "shown_at", "told", "users_frames"]

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


def _elsewhere(error: Any, xid: str) -> str:
    """The text of an error whose partition is told beside it, and whose event is, if it is that one."""
    here = f"{error.stream}[{error.partition}] {error.xid}"
    text = str(error).replace(here, error.xid, 1)
    return text if error.xid != xid else text.replace(f" {xid}: ", ": ", 1).removeprefix(f"{xid}: ")


def shown_at(error: BaseException, xid: str) -> str:
    """As ``repr``, for a line that has the partition, and the event's id."""
    if isinstance(error, DeserializationError | Poisoned):
        return f"{type(error).__name__}({_elsewhere(error, xid)!r})"
    return repr(error)


def said(error: BaseException) -> str:
    """An error in a line, as ``type: text``, for where the partition is told beside it."""
    has_place = isinstance(error, DeserializationError | Poisoned)
    text = f"{type(error).__name__}: {_elsewhere(error, '') if has_place else error}"
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
