"""Thousands of schedules of workers with lanes, in virtual time: each key's events in order, one after another.

A seed that fails is printed with its history, and replays alone::

    RUNNEL_SIM_SEED=77 pytest tests/simulation -k replays

``nox -s simulate`` goes on with new seeds for minutes. `tests/worker/test_lane_plans` finds small ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest
from sim_lanes import Plan, carry_out, random_plan
from sim_plans import Schedules
from test_schedules import seeds

from runnel_trio import _event
from runnel_trio._rules import _ahead
from runnel_trio._worker._member import _backlog
from runnel_trio._worker._member._partition import _key_dispatcher

SCHEDULES = 600
SIMULATED = Schedules(carry_out, random_plan)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100, logger="runnel_trio")


def test_whatever_happens_each_keys_events_are_handled_in_order_and_none_is_lost() -> None:
    assert SIMULATED.first_wrong(SCHEDULES) == []


def test_a_seed_of_lanes_replays_alone() -> None:
    print(f"{SIMULATED.replay(seeds())} schedules of lanes")


#: One event hangs, the others are done ahead of it; then the worker is killed.
AHEAD = [(0, 30.0, "ok"), *[(1 + n % 5, 0.01, "ok") for n in range(20)]]


@SIMULATED.mutant(
    # w1 is through with (9, 0), so that the cursor has moved, and hangs in (0, 0).
    Plan(events=[(9, 0.0, "ok"), *AHEAD], acts=[(2, "foreign rewind"), (0, "join")]),
    says="begun before|never handled",
)
def what_is_ahead_holds_for_any_cursor(patch: pytest.MonkeyPatch) -> None:
    read = _ahead.read_ahead
    patch.setattr(_backlog, "read_ahead", lambda field, _: read(field, field.partition(b" ")[0]))


@attrs.define
class Offsets:
    """What is done ahead, by places behind the cursor."""

    runs: Sequence[tuple[int, int]]
    _at: int = -1

    def __contains__(self, xid: bytes) -> bool:
        self._at += 1
        return any(start <= self._at < end for start, end in self.runs)

    def behind(self, *_: Any) -> Offsets:
        return self

    def __bool__(self) -> bool:
        return False


@SIMULATED.mutant(
    Plan(events=[*AHEAD, (9, 0.0, "ok")], later=1, acts=[(2, "kill"), (0, "foreign delete"), (0, "join")]),
    says="begun before|never handled",
)
def what_is_ahead_is_told_by_offsets(patch: pytest.MonkeyPatch) -> None:
    def sent(self: Any) -> Any:
        at, runs = self.progress.prefix, list(self.progress.ahead)
        cursor = self.processed
        told = json.dumps([cursor.decode(), [(start - at, end - at) for start, end in runs]]).encode()
        return _backlog._Sent(at, runs, told)

    def read(field: bytes, cursor: bytes) -> Offsets:
        of, runs = json.loads(field) if field else ("", [])
        return Offsets(runs if of.encode() == cursor else [])

    patch.setattr(_backlog.Backlog, "_next_sent", sent)
    patch.setattr(_backlog, "read_ahead", read)


@SIMULATED.mutant(says="is begun while")
def no_key_is_kept_busy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_event.Event, "_key", lambda _: None)


@SIMULATED.mutant(says="is begun while")
def a_key_is_released_before_its_event_is_done(patch: pytest.MonkeyPatch) -> None:
    dispatcher = _key_dispatcher.KeyDispatcher
    take, take_list, release = dispatcher.take, dispatcher.take_list, dispatcher.release

    def taken(self: Any, lane: Any) -> Any:
        found = take(self, lane)
        if found is not None:
            release(self, found[1])
        return found

    def list_taken(self: Any, lane: Any, count: int) -> Any:
        found = take_list(self, lane, count)
        for _, key in found:
            release(self, key)
        return found

    patch.setattr(dispatcher, "take", taken)
    patch.setattr(dispatcher, "take_list", list_taken)
    patch.setattr(dispatcher, "release", lambda *_: None)


@SIMULATED.mutant(
    Plan(events=[(0, 0.0, "left out"), *[(0, 0.0, "ok")] * 2], max_ahead=1, link="leaves out"),
    says="does not drain",
)
def nobody_looks_further_for_what_was_left_out(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_key_dispatcher.KeyDispatcher, "_gap_will_close", property(lambda _: True))


@SIMULATED.mutant(
    # All but the one that hangs is done ahead of it; then somebody deletes that one.
    Plan(events=AHEAD, acts=[(2, "kill"), (0, "foreign delete"), (0, "join")]),
    says="does not drain",
)
def nobody_commits_what_the_cursor_can_pass(patch: pytest.MonkeyPatch) -> None:
    offer = _backlog.Backlog.offer

    def offered(self: Any, entries: Any) -> None:
        self.on_passed = lambda: None
        offer(self, entries)

    patch.setattr(_backlog.Backlog, "offer", offered)


@SIMULATED.mutant(says="does not drain")
def nobody_is_woken_when_a_lane_takes_something(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_key_dispatcher.KeyDispatcher, "pass_on", lambda _: None)


@SIMULATED.mutant(Plan(events=AHEAD, max_unacked=2, acts=[(2, "kill"), (0, "join")]), says="repeats")
def what_is_ahead_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_backlog, "read_ahead", lambda *_: _ahead.Ahead())


@pytest.mark.parametrize(
    ("change", "plans", "says"), SIMULATED.mutants, ids=[change.__name__ for change, *_ in SIMULATED.mutants]
)
def test_the_schedules_catch(
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[pytest.MonkeyPatch], None],
    plans: list[Plan],
    says: str,
) -> None:
    for plan in plans:
        carry_out(plan)
    change(monkeypatch)
    assert re.search(says, SIMULATED.caught(*plans))
