"""Runs of numbers: in whatever order they are added, they are a set of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._rules._runs import Runs

NUMBERS = st.lists(st.integers(0, 40), unique=True)


def runs_of(numbers: list[int]) -> Runs:
    runs = Runs()
    for number in numbers:
        runs.add(number)
    return runs


@given(NUMBERS)
def test_they_hold_what_was_added_in_as_few_runs_as_there_are(numbers: list[int]) -> None:
    runs = runs_of(numbers)
    held = {number for start, end in runs for number in range(start, end)}
    assert held == set(numbers) == {number for number in range(50) if number in runs}
    assert (runs.count, runs.end) == (len(numbers), max(numbers, default=-1) + 1)
    assert len(runs) == sum(number - 1 not in held for number in held)


@given(NUMBERS, st.integers(0, 40))
def test_the_first_run_is_removed_only_where_it_begins(numbers: list[int], number: int) -> None:
    runs, held = runs_of(numbers), set(numbers)
    end = runs.pop_first(number)
    if number == min(held, default=-1):
        assert end == next(x for x in range(number, 50) if x not in held)
        held -= set(range(number, end))
    else:
        assert end == number
    assert ({x for x in range(50) if x in runs}, runs.count) == (held, len(held))


@given(NUMBERS, st.integers(0, 40), st.integers(0, 45))
def test_they_are_counted_and_passed_over(numbers: list[int], start: int, end: int) -> None:
    runs = runs_of(numbers)
    assert runs.count_between(start, end) == sum(start <= number < end for number in numbers)
    assert runs.next_free(start) == next(x for x in range(start, 60) if x not in numbers)
