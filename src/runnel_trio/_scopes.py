"""Bounded cleanup: the only way to await inside a ``finally``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

__all__ = ["shielded"]


@contextmanager
def shielded(seconds: float) -> Iterator[trio.CancelScope]:
    """Run cleanup that a cancellation from outside must not cut short, for at most ``seconds``.

    Without it, an ``await`` in a cancelled scope never starts. The bound does not reach into a
    thread: there the socket timeout is the bound, so both are always set.
    """
    with trio.move_on_after(seconds, shield=True) as scope:
        yield scope
