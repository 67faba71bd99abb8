"""Who is a member, and which plan holds; tests/broker/test_membership_rule.py holds the brokers to it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from runnel_trio._rules._membership import (
    MemberState,
    PartyState,
    after_beat,
    after_leaving,
    after_plan,
)


def member(**changes: Any) -> MemberState:
    """Here until 110, of which it has told with its third heartbeat."""
    values = {"deadline": 110, "beat": 3, "joined_as": 1, "expiry": 10, "leaving": False, "about": "{}"}
    return MemberState(**(values | changes))


def beat(party: PartyState, who: str = "b", now: float = 100, **others: Any) -> tuple[PartyState, Any]:
    given = {"expiry": 10, "leaving": False, "about": "{}", "suspects": {}} | others
    return after_beat(party, now, who, **given)


ONE = PartyState(members={"a": member()}, generation=5, joins=1)
BOTH = PartyState(members={"a": member(), "b": member(joined_as=2)}, generation=6, joins=2)
LATE = PartyState(members={"a": member(deadline=99)}, generation=5, joins=1)


@pytest.mark.parametrize(
    ("party", "given", "names", "news"),
    [
        (PartyState(), {}, ["b"], ("joined b",)),
        (ONE, {}, ["a", "b"], ("joined b",)),
        (BOTH, {}, ["a", "b"], ()),
        (BOTH, {"who": "a"}, ["a", "b"], ()),
        (ONE, {"leaving": True}, ["a"], ()),
        (BOTH, {"leaving": True}, ["a", "b"], ("leaving b",)),
        (LATE, {}, ["b"], ("removed a", "joined b")),
        (LATE, {"who": "a"}, ["a"], ()),
        (LATE, {"leaving": True}, [], ("removed a",)),
        (BOTH, {"suspects": {"a": 3}}, ["b"], ("removed a",)),
        (BOTH, {"suspects": {"a": 2}}, ["a", "b"], ()),
        (BOTH, {"suspects": {"b": 3, "c": 1}}, ["a", "b"], ()),
    ],
)
def test_who_is_here_after_a_heartbeat(
    party: PartyState, given: dict[str, Any], names: list[str], news: tuple[str, ...]
) -> None:
    after, told = beat(party, **given)
    assert (list(after.members), told) == (names, news)
    assert after.generation == party.generation + len(news)


def test_who_stays_keeps_its_number_and_has_new_time() -> None:
    after, _ = beat(BOTH, "a", 105, expiry=20, about="new")
    assert after.members["a"] == member(deadline=125, beat=4, expiry=20, about="new")
    assert after.joins == 2


@pytest.mark.parametrize(("joins", "now", "number"), [(7, 0.001, 8), (7, 100, 100_000), (0, 100, 100_000)])
def test_a_number_of_a_join_is_given_once_even_if_the_last_one_is_forgotten(
    joins: int, now: float, number: int
) -> None:
    after, _ = beat(PartyState(joins=joins), now=now)
    assert after.members["b"].joined_as == after.joins == number


def test_who_leaves_is_told_once() -> None:
    after, told = after_leaving(BOTH, "a")
    assert (list(after.members), after.generation, told) == (["b"], 7, ("left a",))
    assert after_leaving(after, "a") == (after, ())


@pytest.mark.parametrize(
    ("planned", "generation", "holds"),
    [(0, 6, True), (5, 6, True), (6, 6, False), (5, 5, False), (5, 7, False)],
)
def test_the_first_plan_of_the_present_generation_holds(planned: int, generation: int, holds: bool) -> None:
    party = attrs.evolve(BOTH, planned=planned, plan={"a": (0, 1)})
    after, told = after_plan(party, generation, {"a": [0], "b": [1]})
    assert told == (("planned",) if holds else ())
    assert after.plan == ({"a": (0,), "b": (1,)} if holds else {"a": (0, 1)})
    assert after.planned == (generation if holds else planned)
    assert after.generation == 6
