"""Fewer garbage collections while entries are read.

Two lists for each entry live until it was handled, and none is garbage before. Python, which counts what is
made, collects after each few hundred of them all the same, moves them to an older generation each time, and
soon has a full collection: a quarter of what an event costs. With a first threshold of 10,000 most entries
come and go between two collections, of which each takes half a millisecond.

It is the threshold, and not whether collections are enabled: programs ask that, and set it back.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

__all__ = ["few_collections"]

#: Objects after which there is one: a number that nobody else chooses, by which we know that it is ours.
_MANY = 10_007


@attrs.define(eq=False)
class _Collections:
    """The first threshold of this process, and how many want few collections."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    users: int = 0
    before: int = 0

    def begin(self) -> None:
        with self.lock:
            self.users += 1
            if self.users == 1:
                self.before, *others = gc.get_threshold()
                if 0 < self.before < _MANY:
                    gc.set_threshold(_MANY, *others)

    def end(self) -> None:
        with self.lock:
            self.users -= 1
            if not self.users:
                self.restore()

    def restore(self) -> None:
        first, *others = gc.get_threshold()
        if first == _MANY:
            gc.set_threshold(self.before, *others)

    def forked(self) -> None:
        """In a new process: the threads that wanted it, or held the lock, are not here."""
        if self.users:
            self.restore()
        self.lock, self.users = threading.Lock(), 0


_collections = _Collections()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_collections.forked)


@contextmanager
def few_collections() -> Iterator[None]:
    """There are few in the body, in this process; any number of threads may be in one.

    What others set meanwhile stays. Where the first threshold is zero, or higher, it is left alone.
    """
    process = os.getpid()
    _collections.begin()
    try:
        yield
    finally:
        if os.getpid() == process:  # a forked one has begun anew
            _collections.end()
