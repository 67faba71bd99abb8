"""Fewer garbage collections while a large reply becomes objects.

Two lists for each entry outlive the reply, but none is garbage before it was handled. Python, which counts
what is made, collects a dozen times meanwhile, each time moves all of it to an older generation, and soon has
a full collection: a quarter of what an event costs. So the first threshold is raised for these milliseconds;
the collection that follows sees all of the reply once.

It is the threshold, and not whether collections are enabled: programs ask that, and set it back.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

__all__ = ["few_collections"]

#: Objects after which there is one all the same.
_MANY = 500_000


@attrs.define
class _Wanted:
    """Who wants few, and the thresholds without them."""

    users: int = 0
    before: tuple[int, int, int] = (0, 0, 0)


_lock = threading.Lock()
_wanted = _Wanted()


@contextmanager
def few_collections() -> Iterator[None]:
    """There are few in the body, in this process; any number of threads may be in one.

    Thresholds that others set meanwhile stay. Where the first is zero, there are none anyhow.
    """
    with _lock:
        _wanted.users += 1
        if _wanted.users == 1:
            _wanted.before = gc.get_threshold()
            if 0 < _wanted.before[0] < _MANY:
                gc.set_threshold(_MANY, *_wanted.before[1:])
    try:
        yield
    finally:
        with _lock:
            _wanted.users -= 1
            if not _wanted.users and gc.get_threshold()[0] == _MANY:
                gc.set_threshold(*_wanted.before)
