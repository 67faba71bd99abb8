"""Lanes under whatever a small plan does to them, in virtual time; what fails is shrunk to its smallest plan.

`tests/simulation/sim_lanes` says what must be true; `tests/simulation/test_lane_schedules` has more and larger plans.
"""

from __future__ import annotations

import heapq
from collections import defaultdict

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sim_lanes import ACTS as SIM_ACTS
from sim_lanes import HOWS, Plan, carry_out

SECONDS = st.sampled_from([0.0, 0.1, 0.5, 1.0, 7.0])
EVENTS = st.lists(
    st.tuples(st.integers(0, 5), SECONDS, st.sampled_from(sorted(set(HOWS)))), min_size=1, max_size=25
)
ACTS = st.lists(st.tuples(st.floats(0, 5), st.sampled_from(sorted(set(SIM_ACTS)))), max_size=5)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    events, lanes = draw(EVENTS), draw(st.integers(1, 20))
    return Plan(
        events=events,
        later=draw(st.integers(0, len(events) - 1)),
        lanes=lanes,
        max_unacked=lanes + draw(st.sampled_from([0, 1, 50])),
        max_ahead=draw(st.sampled_from([1, 2, 5, 20, 10_000])),
        prefetch=draw(st.sampled_from([1, 2, 5, 100])),
        limited=draw(st.booleans()),
        grace=draw(st.sampled_from([0.2, 1.0, 10.0])),
        taking=draw(st.sampled_from([0, 0, 1, 2, 5])),
        link=draw(st.sampled_from(["", "leaves out", "reads ahead"])),
        by_key=draw(st.booleans()),
        acts=draw(ACTS),
        order=draw(st.integers(0, 2**16)),
    )


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(100, logger="runnel_trio")


@given(plans())
# Each of these has failed once.
@example(Plan(events=[(0, 0.0, "left out"), *[(0, 0.0, "ok")] * 2], max_ahead=1, link="leaves out"))
@example(Plan(events=[(0, 0.0, "ok")] * 6, taking=2, link="reads ahead"))
@example(
    Plan(
        events=[(0, 30.0, "ok"), (1, 0.0, "ok")],
        acts=[(2, "kill"), (0, "foreign delete"), (0, "join")],
    )
)
def test_whatever_is_planned_each_keys_events_are_handled_in_order_and_none_is_lost(plan: Plan) -> None:
    carry_out(plan)


def expected(plan: Plan) -> dict[tuple[int, int], float]:
    """When each event begins: whichever comes first in the log whose key is free, as soon as a lane is."""
    waiting: list[tuple[int, int, float]] = []
    counts: dict[int, int] = defaultdict(int)
    for key, takes, _ in plan.events:
        waiting.append((key, counts[key], takes))
        counts[key] += 1
    begun: dict[tuple[int, int], float] = {}
    working: list[tuple[float, int]] = []
    now = 0.0
    while waiting or working:
        busy = {key for _, key in working}
        ready = next((x for x in waiting if x[0] not in busy), None)
        if ready is not None and len(working) < plan.lanes:
            waiting.remove(ready)
            key, n, takes = ready
            begun[key, n] = now
            heapq.heappush(working, (now + takes, key))
        else:
            now, _ = heapq.heappop(working)
    return begun


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.floats(0.5, 9),
            st.sampled_from(["ok", "break", "return", "aclose", "ignore"]),
        ),
        min_size=1,
        max_size=25,
        unique_by=lambda event: event[1],
    ),
    st.integers(1, 8),
    st.integers(0, 2**16),
)
def test_each_event_begins_as_soon_as_its_key_and_a_lane_are_free(
    events: list[tuple[int, float, str]], lanes: int, order: int
) -> None:
    plan = Plan(events=events, lanes=lanes, max_unacked=1000, order=order)
    begun, times = carry_out(plan).begun, expected(plan)
    start = min(begun.values())
    assert {one: time - start for one, time in begun.items()} == pytest.approx(times, abs=1e-3)
