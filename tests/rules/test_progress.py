"""Progress: in whatever order entries are taken, done and given back, the prefix and what is ahead of it are right."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from runnel_trio._rules._progress import Progress
from runnel_trio._rules._runs import Runs

#: A number that was never handed out, below and above all others.
STRANGERS = st.integers(-3, 60)


class Partition(RuleBasedStateMachine):
    """A partition of endless entries, beside plain sets of what is done and in hand."""

    def __init__(self) -> None:
        super().__init__()
        self.progress = Progress()
        self.in_hand: set[int] = set()
        self.done: set[int] = set()

    def one(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.in_hand)))

    @rule()
    def take(self) -> None:
        expected = next(n for n in range(100) if n not in self.in_hand | self.done)
        assert self.progress.next == expected
        assert self.progress.take() == expected
        self.in_hand.add(expected)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def be_done(self, data: st.DataObject) -> None:
        number = self.one(data)
        self.progress.done(number)
        self.in_hand.remove(number)
        self.done.add(number)

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data())
    def be_done_up_to(self, data: st.DataObject) -> None:
        number = self.one(data)
        self.progress.done_up_to(number)
        through = {n for n in self.in_hand if n <= number}
        self.in_hand -= through
        self.done |= through

    @rule(further=st.integers(0, 5))
    def be_skipped(self, further: int) -> None:
        number = self.progress.taken_to + further
        if number not in self.done:
            self.progress.skip(number)
            self.done.add(number)

    @rule()
    def fail(self) -> None:
        self.progress.give_all_back()
        self.in_hand.clear()

    @rule(number=STRANGERS)
    def be_told_of_what_is_not_in_hand(self, number: int) -> None:
        if number not in self.in_hand:
            self.progress.done(number)
            self.progress.done_up_to(number)

    @invariant()
    def the_prefix_is_where_the_first_one_is_not_done(self) -> None:
        prefix = next(n for n in range(100) if n not in self.done)
        assert self.progress.prefix == prefix
        assert {n for run in self.progress.ahead for n in range(*run)} == {n for n in self.done if n > prefix}
        assert self.progress.count == len(self.done)

    @invariant()
    def what_is_in_hand_is_known(self) -> None:
        assert self.progress.in_hand == len(self.in_hand)
        assert self.progress.numbers_in_hand(100) == sorted(self.in_hand)
        assert self.progress.taken_to > max(self.in_hand, default=-1)
        in_order = self.progress.numbers_in_hand(100) == list(
            range(self.progress.prefix, self.progress.taken_to)
        )
        assert in_order or not self.progress.in_order

    @invariant()
    def what_waits_is_counted(self) -> None:
        for end in (self.progress.taken_to, self.progress.taken_to + 7):
            assert self.progress.waiting(end) == len(set(range(end)) - self.in_hand - self.done)


TestPartition = Partition.TestCase
TestPartition.settings = settings(stateful_step_count=30, deadline=None)


def test_one_at_a_time_nothing_is_ever_ahead() -> None:
    progress = Progress()
    for number in range(5):
        assert progress.take() == number
        progress.done_up_to(number)
        assert (progress.prefix, progress.ahead, progress.in_hand) == (number + 1, Runs(), 0)
