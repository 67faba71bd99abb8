"""When timers and crontabs are due: no drift, no pile, and each time of day once, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from dateutil import tz
from hypothesis import given
from hypothesis import strategies as st

from runnel_trio._rules._schedule import Crontab, next_tick
from runnel_trio.exceptions import Misconfigured

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2026, 3, 28, 22, tzinfo=BERLIN), datetime(2026, 10, 24, 22, tzinfo=BERLIN)
ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
    "America/St_Johns",
    "UTC",
]


def runs(spec: str, start: datetime, count: int, zone: tzinfo = BERLIN) -> list[str]:
    moment, found = start.timestamp(), []
    for _ in range(count):
        moment = Crontab(spec, zone).after(moment)
        found.append(f"{datetime.fromtimestamp(moment, zone):%d %H:%M%z}")
    return found


@given(interval=st.floats(0.01, 1e5), durations=st.lists(st.floats(0, 1e6), min_size=1, max_size=20))
def test_a_timer_keeps_its_beat_and_never_runs_twice_for_one(interval: float, durations: list[float]) -> None:
    now, last = 0.0, 0
    for duration in durations:
        number, skipped = next_tick(0.0, interval, last, now)
        assert number == last + 1 + skipped
        assert number * interval >= now * (1 - 1e-9)
        assert not skipped or (number - 1) * interval <= now * (1 + 1e-9)
        now, last = max(now, number * interval) + duration, number


@pytest.mark.parametrize(
    ("spec", "start", "expected"),
    [
        ("30 2 * * *", SPRING, ["29 03:00+0200", "30 02:30+0200"]),
        ("30 2 * * *", AUTUMN, ["25 02:30+0200", "26 02:30+0100"]),
        ("0,30 2,3 * * *", SPRING, ["29 03:00+0200", "29 03:30+0200", "30 02:00+0200"]),
        ("*/20 2 * * *", AUTUMN, ["25 02:00+0200", "25 02:20+0200", "25 02:40+0200", "26 02:00+0100"]),
        ("0 3 * * *", SPRING, ["29 03:00+0200", "30 03:00+0200"]),
        ("0 3 * * *", AUTUMN, ["25 03:00+0100", "26 03:00+0100"]),
        ("0 0 * * 0", AUTUMN, ["25 00:00+0200", "01 00:00+0100"]),
    ],
)
def test_a_spec_that_names_hours_runs_once_for_each_time_it_names(
    spec: str, start: datetime, expected: list[str]
) -> None:
    assert runs(spec, start, len(expected)) == expected
    assert runs(spec, start, len(expected), tz.gettz("Europe/Berlin")) == expected


def test_started_in_an_hour_that_is_there_twice_it_knows_that_it_is_the_second_one() -> None:
    second = datetime(2026, 10, 25, 2, 10, fold=1, tzinfo=BERLIN)
    assert runs("30 2 * * *", second, 1) == ["26 02:30+0100"]
    assert runs("30 * * * *", second, 1) == ["25 02:30+0100"]


@pytest.mark.parametrize("spec", ["*/30 * * * *", "@hourly", "15 * * * *", "* * * * * */20"])
@pytest.mark.parametrize("start", [SPRING, AUTUMN], ids=["spring", "autumn"])
def test_a_spec_for_every_hour_runs_in_real_time(spec: str, start: datetime) -> None:
    crontab, moments = Crontab(spec, BERLIN), [start.timestamp()]
    while moments[-1] < start.timestamp() + 12 * 3600:
        moments.append(crontab.after(moments[-1]))
    steps = {later - earlier for earlier, later in pairwise(moments[1:])}
    assert len(steps) == 1


def test_half_an_hour_is_a_change_of_the_clock_as_well() -> None:
    zone = ZoneInfo("Australia/Lord_Howe")
    back = datetime(2026, 4, 4, 12, tzinfo=zone)  # at 02:00 it is 01:30 again
    assert runs("45 1 * * *", back, 2, zone) == ["05 01:45+1100", "06 01:45+1030"]


@given(
    spec=st.sampled_from(
        ["30 2 * * *", "0 */6 * * *", "*/7 * * * *", "59 23 * * 1", "0 0 1 * *", "30 1,2,3 * * *"]
    ),
    zone=st.sampled_from(ZONES),
    moment=st.integers(1_700_000_000, 1_900_000_000),
)
def test_what_is_next_comes_later_and_nothing_lies_between(spec: str, zone: str, moment: int) -> None:
    crontab = Crontab(spec, ZoneInfo(zone))
    due = crontab.after(moment)
    assert due > moment
    assert crontab.after((moment + due) / 2) == due
    assert crontab.after(due - 0.5) == due
    assert crontab.between(moment, due) == 1


@given(zone=st.sampled_from(ZONES), day=st.integers(0, 3000))
def test_a_daily_run_comes_once_on_every_day(zone: str, day: int) -> None:
    where = ZoneInfo(zone)
    noon = datetime(2024, 1, 1, 12, tzinfo=where) + timedelta(days=day)
    crontab = Crontab("30 2 * * *", where)
    assert crontab.between(noon.timestamp(), (noon + timedelta(days=7)).timestamp()) == 7


def test_six_fields_have_seconds_at_the_end() -> None:
    moment = Crontab("30 2 * * * 15", UTC).after(0)
    assert moment == 2.5 * 3600 + 15


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("", "it has 0 columns"), ("*", "it has 1 column"), ("* * *", "it has 3 columns"), ("every day", "2 columns"),
        ("0 0 1 1 * 0 2030", "it has 7 columns"), ("61 * * * *", "out of range"), ("@never", "there are @hourly, "),
        (None, "NoneType"), (5, "int"),
    ],
)  # fmt: skip
def test_what_is_no_cron_expression_is_refused_when_it_is_declared(spec: str, why: str) -> None:
    with pytest.raises(
        Misconfigured, match=f"is no cron expression: .*{why}.* minute hour day month weekday, as in"
    ):
        Crontab(spec, UTC)


@pytest.mark.parametrize(
    "spec",
    ["R * * * *", "h h * * *", "* R(0-5) * * *", "r/10 * * * *", "1,R * * * *", "* * * * * R", "R-5 * * * *"],
)
def test_a_time_that_each_worker_would_draw_is_refused(spec: str) -> None:
    with pytest.raises(Misconfigured, match="each worker would draw its own"):
        Crontab(spec, UTC)


def test_names_of_months_and_days_are_no_drawn_times() -> None:
    Crontab("0 0 * mar,APR fri,thu", UTC)


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(Misconfigured, match="never comes"):
        Crontab("0 0 30 2 *", UTC)


def test_a_zone_by_name_is_refused() -> None:
    name: object = "Europe/Berlin"
    with pytest.raises(Misconfigured, match="is no tzinfo"):
        Crontab("0 0 * * *", name)  # type: ignore[arg-type]  # that is what is refused
