"""Whole numbers that come in runs: which there are, in how many runs, and where a run ends."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

import attrs

__all__ = ["Runs"]


@attrs.define
class Runs:
    """A set of whole numbers, kept as runs of consecutive ones.

    Adding a number costs as much as finding its place among the runs, however many numbers they have.

    Attributes:
        count: how many numbers there are.

    Example:
        >>> numbers = Runs()
        >>> for number in (5, 3, 4, 9):
        ...     numbers.add(number)
        >>> list(numbers), len(numbers), numbers.count, 4 in numbers
        ([(3, 6), (9, 10)], 2, 4, True)
    """

    count: int = 0
    _starts: list[int] = attrs.field(factory=list)
    _ends: list[int] = attrs.field(factory=list)

    def __len__(self) -> int:
        """How many runs there are."""
        return len(self._starts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Each run: its first number, and the one behind its last."""
        return zip(self._starts, self._ends, strict=True)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number < self._ends[at]

    @property
    def end(self) -> int:
        """The number behind the highest one; 0 when there is none."""
        return self._ends[-1] if self._ends else 0

    def add(self, number: int) -> None:
        """Add one; nothing changes if it is there."""
        starts, ends = self._starts, self._ends
        at = bisect_right(starts, number)
        if at > 0 and number < ends[at - 1]:
            return
        joins_before = at > 0 and ends[at - 1] == number
        joins_behind = at < len(starts) and starts[at] == number + 1
        if joins_before and joins_behind:
            ends[at - 1] = ends[at]
            del starts[at], ends[at]
        elif joins_before:
            ends[at - 1] = number + 1
        elif joins_behind:
            starts[at] = number
        else:
            starts.insert(at, number)
            ends.insert(at, number + 1)
        self.count += 1

    def pop_first(self, number: int) -> int:
        """Remove the first run if it begins with ``number``; the number behind it, else ``number``."""
        if not self._starts or self._starts[0] != number:
            return number
        del self._starts[0]
        end = self._ends.pop(0)
        self.count -= end - number
        return end

    def next_free(self, number: int) -> int:
        """The lowest number from this one on that is not there."""
        at = bisect_right(self._starts, number) - 1
        return self._ends[at] if at >= 0 and number < self._ends[at] else number

    def count_between(self, start: int, end: int) -> int:
        """How many there are from ``start`` to before ``end``."""
        if not self._starts or self._ends[-1] <= start:
            return 0
        return sum(max(0, min(last, end) - max(first, start)) for first, last in self)
