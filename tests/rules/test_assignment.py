"""Who is to own what: complete, balanced, and with the fewest moves that there can be."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._rules._assignment import assign

NAMES = [f"m{n}" for n in range(8)]
members = st.lists(st.sampled_from(NAMES), unique=True, max_size=8)
counts = st.integers(1, 40)


def moves(previous: dict[str, tuple[int, ...]], plan: dict[str, tuple[int, ...]]) -> int:
    """Partitions that a member has to give up although it stays."""
    return sum(len(set(previous.get(member, ())) - set(plan[member])) for member in plan)


@given(members, members, counts)
def test_every_partition_has_one_owner_and_nobody_has_two_more_than_another(
    before: list[str], after: list[str], count: int
) -> None:
    plan = assign(after, count, assign(before, count, {}))
    if not after:
        assert plan == {}
        return
    owned = sorted(number for numbers in plan.values() for number in numbers)
    assert owned == list(range(count))
    assert list(plan) == after
    sizes = [len(numbers) for numbers in plan.values()]
    assert max(sizes) - min(sizes) <= 1


@given(members, counts)
def test_nothing_moves_when_nobody_comes_or_goes(names: list[str], count: int) -> None:
    plan = assign(names, count, {})
    assert assign(names, count, plan) == plan


@given(members, st.integers(0, 7), counts)
def test_when_one_leaves_nothing_moves_among_those_who_stay(names: list[str], place: int, count: int) -> None:
    plan = assign(names, count, {})
    staying = [name for at, name in enumerate(names) if at != place]
    assert moves(plan, assign(staying, count, plan)) == 0


@given(st.lists(st.sampled_from(NAMES[:7]), unique=True, min_size=1), counts)
def test_one_who_comes_is_given_no_more_than_its_share(names: list[str], count: int) -> None:
    plan = assign(names, count, {})
    grown = assign([*names, "m7"], count, plan)
    assert moves(plan, grown) == len(grown["m7"]) == count // (len(names) + 1)


@given(
    st.lists(st.sampled_from(NAMES[:3]), unique=True, min_size=1, max_size=3),
    st.lists(st.sampled_from(NAMES[:4]), min_size=5, max_size=5),
)
def test_no_balanced_plan_moves_less(names: list[str], owners: list[str]) -> None:
    previous = {
        name: tuple(number for number, owner in enumerate(owners) if owner == name) for name in NAMES[:4]
    }
    fewest = min(
        moves(previous, plan)
        for given_to in product(names, repeat=5)
        if (plan := {name: tuple(n for n, owner in enumerate(given_to) if owner == name) for name in names})
        and max(map(len, plan.values())) - min(map(len, plan.values())) <= 1
    )
    assert moves(previous, assign(names, 5, previous)) == fewest


def test_what_a_plan_before_says_of_partitions_that_do_not_exist_is_ignored() -> None:
    assert assign(["a"], 2, {"a": (0, 7), "gone": (1,)}) == {"a": (0, 1)}
