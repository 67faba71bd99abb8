"""Thousands of schedules of workers that park keys, in virtual time: in order, nothing lost, whoever acts meanwhile.

A seed that fails is printed with its history, and replays alone::

    RUNNEL_SIM_SEED=77 pytest tests/simulation -k replays

``nox -s simulate`` goes on with new seeds for minutes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sim_park import Plan, carry_out, random_plan
from sim_plans import Schedules
from test_schedules import seeds

from runnel_trio._worker._member._partition import _key_dispatcher, _replays

SCHEDULES = 300
SIMULATED = Schedules(carry_out, random_plan)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100, logger="runnel_trio")


def test_whoever_acts_meanwhile_a_parked_keys_events_are_handled_in_order_and_none_is_lost() -> None:
    assert SIMULATED.first_wrong(SCHEDULES) == []


def test_a_seed_of_parked_keys_replays_alone() -> None:
    print(f"{SIMULATED.replay(seeds())} schedules of parked keys")


def test_most_schedules_park_something() -> None:
    assert sum(carry_out(random_plan(seed)).parked_once for seed in range(20)) >= 12


@pytest.mark.parametrize("lanes", [1, 8])
@pytest.mark.parametrize("limited", [False, True])
def test_other_keys_are_handled_as_if_a_parked_one_were_not_there(lanes: int, limited: bool) -> None:
    """The failing key takes no time itself; it is tried again all the while."""

    def ends(*, there: bool) -> dict[tuple[int, int], float]:
        events: list[tuple[int, float, str, int]] = []
        for n in range(40):
            events += [(0, 0.0, "raise" if n % 7 == 0 else "ok", 3)] if there else []
            events += [(key, 0.25, "ok", 0) for key in range(1, 5)]
        acts = [(0.3, "unpark")] * 20
        plan = Plan(
            events=events, lanes=lanes, max_unacked=50, prefetch=200, limited=limited, acts=acts, retry=1.0
        )
        trial = carry_out(plan)
        assert trial.parked_once == there
        return {one: round(when, 3) for one, when in trial.ended.items() if one[0]}

    assert ends(there=True) == ends(there=False)


@pytest.mark.parametrize(
    ("lanes", "how", "retry"), [(1, "poison", 0), (4, "poison later", 0), (1, "poison later", 2)]
)
def test_an_event_that_ends_the_process_is_tried_as_often_as_allowed(
    lanes: int, how: str, retry: float
) -> None:
    """Those of other keys come all the while, so that nobody finds the log as it was at the crash."""
    events = [(0, 0.1, how, 1), *[(key, 0.05, "ok", 0) for _ in range(60) for key in range(4)]]
    plan = Plan(
        events=events,
        later=230,
        lanes=lanes,
        max_unacked=5,
        max_attempts=3,
        retry=retry,
        slow=0.05,
        acts=[(1, "unpark"), (3, "unpark"), (5, "unpark")],
    )
    trial = carry_out(plan)
    assert 0 < trial.ends[0, 0] <= 3 * 4


@pytest.mark.parametrize(("lanes", "taking"), [(1, 0), (4, 3)])
def test_one_that_ends_the_process_is_found_among_many_lists_that_are_due(lanes: int, taking: int) -> None:
    assert carry_out(among_many(lanes, taking)).ends[99, 0] == 3


def among_many(lanes: int, taking: int) -> Plan:
    """One ends the process, in the last of many lists that are due, of each of which some is left at the crash."""
    poison = [(99, 0.0, "poison later", 1), (99, 0.0, "ok", 0)]
    lists = [(key, 0.0, "raise", 1) for key in range(25)] + [(key, 0.0, "ok", 0) for key in range(25)] * 19
    return Plan(
        events=[*poison, *lists, *[(100, 0.0, "ok", 0)] * 200],
        later=200,
        lanes=lanes,
        max_unacked=4,
        max_attempts=3,
        taking=taking,
        slow=0.02,
        acts=[(5, "unpark")],
    )


#: One key whose first event fails, with forty behind it, more than are read at a time; and another key.
LONG = Plan(
    events=[(0, 0.0, "raise", 1), *[(0, 0.01, "ok", 0)] * 40, *[(1, 0.01, "ok", 0)] * 5],
    later=8,
    acts=[(1, "unpark"), *[(0.05, "join")] * 6],
)


@SIMULATED.mutant(LONG, says="is begun")
def a_key_is_free_while_there_is_more_of_its_list_on_the_server(patch: pytest.MonkeyPatch) -> None:
    read = _replays.Replays._read

    async def and_follow(self: Any, key: bytes) -> None:
        await read(self, key)
        if key in self._lists:
            self.backlog.parked.follow(key)

    patch.setattr(_replays.Replays, "_read", and_follow)


@SIMULATED.mutant(
    Plan(
        events=[(0, 0.5, "raise", 1)] * 4,
        later=3,
        lanes=2,
        acts=[(0.2, "hold"), (0.05, "join"), (0.05, "join")],
    ),
    says="is begun",
)
def what_is_in_hand_of_a_held_key_does_not_come_first(patch: pytest.MonkeyPatch) -> None:
    def is_aside(self: Any, event: Any, name: Any, _: Any) -> bool:
        if name in self._aside:
            self._move(event, name)
        return name in self._aside

    patch.setattr(_key_dispatcher.KeyDispatcher, "_is_aside", is_aside)


@SIMULATED.mutant(
    Plan(
        events=[(0, 1.0, "raise", 1), *[(0, 0.0, "ok", 0)] * 5],
        later=5,
        acts=[(1.3, "unpark"), (0.3, "resume"), (0.1, "resume"), (0.1, "hold"), (0.1, "resume")],
    ),
    says="is begun",
)
def what_is_behind_a_replay_does_not_come_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_key_dispatcher._Key, "is_replayed", property(lambda self: self.rank >= 0))


@SIMULATED.mutant(among_many(1, 0), says="has ended 4 processes")
def events_of_parked_keys_are_counted_as_those_of_the_log_after_a_crash(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_key_dispatcher.LaneQueue, "head_is_parked", property(lambda _: False))


@pytest.mark.parametrize(
    ("change", "plans", "says"), SIMULATED.mutants, ids=[change.__name__ for change, *_ in SIMULATED.mutants]
)
def test_the_schedules_catch(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
    plans: Sequence[Plan],
    says: str,
) -> None:
    for plan in plans:
        carry_out(plan)
    change(monkeypatch)
    assert re.search(says, SIMULATED.caught(*plans))
