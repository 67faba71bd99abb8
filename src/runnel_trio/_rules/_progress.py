"""How far the processing of one partition is.

Entries are numbered from 0, in the order of the log. Each of them is waiting, in hand or done:

    take ──▶ in hand ──done──▶ done
      ▲         │
      └─────────┘ give_back

The server needs the *prefix*: everything before it is done, so the cursor may move there. If an entry is done
while an earlier one is not, it is done *ahead* of the prefix, which absorbs it as soon as the gap before it
closes. With one event in hand at a time, nothing is ever ahead, and each step is one comparison and one
addition.
"""

from __future__ import annotations

from bisect import insort

import attrs

__all__ = ["Progress"]


@attrs.define(eq=False)
class Progress:
    """Which of a partition's entries are done, and which are in hand.

    Attributes:
        prefix: everything below this number is done, and the entry of this number is not.
        ahead: numbers above the prefix that are done.
        taken_to: no entry of this number or a higher one is in hand.
        in_order: whether nothing is ahead or was given back, so that all from the prefix to `taken_to` are in
            hand. Who takes one event after the other may then count `taken_to` up without a call.

    Example:
        >>> progress = Progress()
        >>> first, second = progress.take(), progress.take()
        >>> progress.done(second)
        >>> progress.prefix, progress.ahead
        (0, {1})
        >>> progress.done(first)
        >>> progress.prefix, progress.ahead
        (2, set())
    """

    prefix: int = 0
    taken_to: int = 0
    in_order: bool = True
    ahead: set[int] = attrs.field(factory=set)
    _given_back: list[int] = attrs.field(factory=list)

    @property
    def in_hand(self) -> int:
        """How many entries are in hand."""
        return self.taken_to - self.prefix - len(self._given_back) - self._ahead_below(self.taken_to)

    @property
    def next(self) -> int:
        """The number that `take` returns next, if there is an entry of it."""
        if self.in_order:
            return self.taken_to
        if self._given_back:
            return self._given_back[0]
        number = self.taken_to
        while number in self.ahead:
            number += 1
        return number

    def waiting(self, end: int) -> int:
        """How many can be taken of the entries below ``end``."""
        waiting = end - self.taken_to
        if not self.in_order:
            waiting += len(self._given_back) + self._ahead_below(self.taken_to) - self._ahead_below(end)
        return waiting

    def take(self) -> int:
        """Take the lowest number that is neither in hand nor done."""
        number = self.next
        if self._given_back:
            self._given_back.pop(0)
            self._look_at_order()
        else:
            self.taken_to = number + 1
        return number

    def done(self, number: int) -> None:
        """Count an entry as done; nothing changes unless it is in hand."""
        if not self.is_in_hand(number):
            return
        if number > self.prefix:
            self.ahead.add(number)
        else:
            self.prefix = number + 1
            while self.prefix in self.ahead:
                self.ahead.remove(self.prefix)
                self.prefix += 1
            self.taken_to = max(self.taken_to, self.prefix)
        self._look_at_order()

    def done_up_to(self, number: int) -> None:
        """Count as done every entry in hand up to this one; nothing changes unless this one is in hand."""
        if self.in_order:
            if self.prefix <= number < self.taken_to:
                self.prefix = number + 1
        elif self.is_in_hand(number):
            for earlier in self.numbers_in_hand(number):
                self.done(earlier)

    def give_back(self, number: int) -> None:
        """Let an entry be taken again; nothing changes unless it is in hand."""
        if self.is_in_hand(number):
            insort(self._given_back, number)
            self._lower()
            self._look_at_order()

    def give_all_back(self) -> None:
        """Let every entry in hand be taken again."""
        self._given_back.clear()
        self.taken_to = self.prefix
        self._look_at_order()

    def is_in_hand(self, number: int) -> bool:
        """Whether an entry is taken and neither done nor given back."""
        return (
            self.prefix <= number < self.taken_to
            and number not in self.ahead
            and number not in self._given_back
        )

    def numbers_in_hand(self, last: int) -> list[int]:
        """The numbers in hand, up to ``last``, in order."""
        return [x for x in range(self.prefix, min(last + 1, self.taken_to)) if self.is_in_hand(x)]

    def _lower(self) -> None:
        """Keep `taken_to` just behind the last one in hand: what was given back above it simply waits."""
        while self.taken_to > self.prefix:
            last = self.taken_to - 1
            if self._given_back and self._given_back[-1] == last:
                self._given_back.pop()
            elif last not in self.ahead:
                return
            self.taken_to = last

    def _look_at_order(self) -> None:
        self.in_order = not (self.ahead or self._given_back)

    def _ahead_below(self, end: int) -> int:
        return sum(number < end for number in self.ahead) if self.ahead else 0
