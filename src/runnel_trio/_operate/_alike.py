"""What is alike is told once, with all partitions that it is so of."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TypeVar

from runnel_trio._broker._protocol import Quarantine

__all__ = ["alike", "reason"]

T = TypeVar("T")


def alike(things: Iterable[T], by: Callable[[T], Hashable]) -> list[list[T]]:
    """Things of which that is the same, together, in the order of the first of each.

    Example:
        >>> alike([1, 2, 3, 4, 5], by=lambda x: x % 2)
        [[1, 3, 5], [2, 4]]
    """
    groups: dict[Hashable, list[T]] = {}
    for thing in things:
        groups.setdefault(by(thing), []).append(thing)
    return list(groups.values())


def reason(why: Quarantine | None) -> Hashable:
    """Why a partition stands still, as far as it is the same of several: one pause, or one exception."""
    if why is None:
        return ()
    return (why.error, why.member, why.time) if why.is_pause else (why.error,)
