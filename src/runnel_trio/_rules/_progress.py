"""How far the processing of one partition is.

Entries are numbered from 0, in the order of the log. Each of them is waiting, in hand or done:

    take ──▶ in hand ──done──▶ done
      ▲         │
      └─────────┘ give_all_back

The server needs the *prefix*: everything before it is done, so the cursor may move there. If an entry is done
while an earlier one is not, it is done *ahead* of the prefix, which absorbs it as soon as the gap before it
closes. With one event in hand at a time, nothing is ever ahead, and each step is one comparison and one
addition.
"""

from __future__ import annotations

import attrs

from runnel_trio._rules._runs import Runs

__all__ = ["Progress"]


@attrs.define(eq=False)
class Progress:
    """Which of a partition's entries are done, and which are in hand.

    Attributes:
        prefix: everything below this number is done, and the entry of this number is not.
        ahead: numbers above the prefix that are done.
        taken_to: no entry of this number or a higher one is in hand.
        in_order: whether nothing is ahead, so that all from the prefix to `taken_to` are in hand. Who takes
            one event after the other may then count `taken_to` up without a call.

    Example:
        >>> progress = Progress()
        >>> first, second = progress.take(), progress.take()
        >>> progress.done(second)
        >>> progress.prefix, list(progress.ahead)
        (0, [(1, 2)])
        >>> progress.done(first)
        >>> progress.prefix, list(progress.ahead)
        (2, [])
    """

    prefix: int = 0
    taken_to: int = 0
    in_order: bool = True
    ahead: Runs = attrs.field(factory=Runs)

    @property
    def count(self) -> int:
        """How many entries are done."""
        return self.prefix + self.ahead.count

    @property
    def in_hand(self) -> int:
        """How many entries are in hand."""
        return self.taken_to - self.prefix - self.ahead.count_between(self.prefix, self.taken_to)

    @property
    def next(self) -> int:
        """The number that `take` returns next, if there is an entry of it."""
        if self.in_order or self.taken_to >= self.ahead.end:
            return self.taken_to
        return self.ahead.next_free(self.taken_to)

    def waiting(self, end: int) -> int:
        """How many can be taken of the entries below ``end``."""
        waiting = end - self.taken_to
        return waiting if self.in_order else waiting - self.ahead.count_between(self.taken_to, end)

    def take(self) -> int:
        """Take the lowest number that is neither in hand nor done."""
        number = self.next
        self.taken_to = number + 1
        return number

    def done(self, number: int) -> None:
        """Count an entry as done; nothing changes unless it is in hand."""
        if self.prefix <= number < self.taken_to:
            self._add(number)

    def done_up_to(self, number: int) -> None:
        """Count as done every entry in hand up to this one; nothing changes unless this one is in hand."""
        if self.in_order:
            if self.prefix <= number < self.taken_to:
                self.prefix = number + 1
        elif self.is_in_hand(number):
            for earlier in self.numbers_in_hand(number):
                self._add(earlier)

    def skip(self, number: int) -> None:
        """Count as done an entry that was never taken, and is not going to be."""
        self._add(number)

    def give_all_back(self) -> None:
        """Let every entry in hand be taken again."""
        self.taken_to = self.prefix

    def is_in_hand(self, number: int) -> bool:
        """Whether an entry is taken and not done."""
        return self.prefix <= number < self.taken_to and number not in self.ahead

    def numbers_in_hand(self, last: int) -> list[int]:
        """The numbers in hand, up to ``last``, in order."""
        return [x for x in range(self.prefix, min(last + 1, self.taken_to)) if x not in self.ahead]

    def _add(self, number: int) -> None:
        if number == self.prefix:
            self.prefix = self.ahead.pop_first(number + 1)
            self.taken_to = max(self.taken_to, self.prefix)
        else:
            self.ahead.add(number)
        self.in_order = not self.ahead
