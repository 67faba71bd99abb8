"""Tasks, timers and crontabs of a worker: when they run, what becomes of their errors, how they end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Stream, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store
from runnel_trio._worker._background import BackgroundTask
from runnel_trio.exceptions import Misconfigured
from runnel_trio.settings import Settings

Facts = Callable[[str], list[dict[str, Any]]]

NINE = datetime(2026, 5, 4, 9, tzinfo=UTC).timestamp()


def fact_names(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.fact for record in caplog.records if hasattr(record, "fact")]


def at(moments: list[float]) -> list[float]:
    return [round(moment, 3) for moment in moments]


async def test_a_task_runs_when_a_worker_starts_and_is_cancelled_when_it_stops(
    app: App, autojump_clock: MockClock
) -> None:
    seen = []

    @app.task
    async def once() -> None:
        seen.append("once")

    @app.task
    async def always() -> None:
        try:
            await trio.sleep_forever()
        finally:
            seen.append("ended")

    async with app.worker():
        await trio.sleep(5)
        assert seen == ["once"]
        began = trio.current_time()
    assert seen == ["once", "ended"]
    assert trio.current_time() == began


async def test_a_worker_without_processors_runs_and_one_with_some_runs_both(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    ticks, handled = [], []

    @app.timer(interval=1)
    async def tick() -> None:
        ticks.append(trio.current_time())

    async with app.worker():
        await trio.sleep(2.5)
    assert len(ticks) == 2

    @app.processor(orders)
    async def handle(events: Any) -> None:
        async for record in events.records():
            handled.append(record.n)

    async with app.worker(processors=["handle"]):
        await orders.send(order(key="a", n=1))
        await trio.sleep(2.5)
    assert len(ticks) == 4
    assert handled == [1]


async def test_nothing_at_all_to_run_is_refused(app: App) -> None:
    with pytest.raises(Misconfigured, match="has no processor to run"):
        await app.run()


async def test_a_timer_keeps_its_beat_and_leaves_out_what_a_long_run_missed(
    app: App, autojump_clock: MockClock, facts: Facts
) -> None:
    moments: list[float] = []
    durations = iter([0.5, 2.2, 0.1, 0.1])

    @app.timer(interval=1)
    async def tick() -> None:
        moments.append(trio.current_time() - began)
        await trio.sleep(next(durations))

    began = trio.current_time()
    async with app.worker():
        await trio.sleep(6.5)
    assert at(moments) == [1, 2, 5, 6]
    (skipped,) = facts("runs-skipped")
    assert skipped == {"function": "tick", "count": 2}


def runner(store: Store, *functions: BackgroundTask, **settings: Any) -> Worker:
    return Worker(
        broker=MemoryBroker(store=store),
        app="test",
        functions=functions,
        settings=Settings(**settings),
    )


async def test_a_crontab_runs_at_its_times_of_day(autojump_clock: MockClock) -> None:
    store, moments = Store(began=NINE - trio.current_time()), []

    async def work() -> None:
        moments.append(store.time_of_day() - NINE)

    worker = runner(store, BackgroundTask(function=work, spec="*/10 * * * *", timezone=UTC))
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        await trio.sleep(1805)
        worker.stop()
    assert at(moments) == [600, 1200, 1800]


@pytest.mark.parametrize(
    ("shift", "expected"),
    [
        (+7200, 990),  # one run for all that were jumped over, and then as before
        (-3600, 4620),  # what has run does not run again: the next one is due an hour later
        (-86400 * 365, 1020),  # the clock was wrong: nobody waits for a year
    ],
    ids=["forward", "back", "a year back"],
)
async def test_a_clock_that_is_set_makes_no_run_twice_and_none_wait(
    shift: float, expected: float, autojump_clock: MockClock
) -> None:
    store, moments = Store(began=NINE - trio.current_time()), []
    began = trio.current_time()

    async def work() -> None:
        moments.append(trio.current_time() - began)

    worker = runner(store, BackgroundTask(function=work, spec="* * * * *", timezone=UTC))
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        await trio.sleep(990)
        ran = len(moments)
        assert store.began is not None
        store.began += shift
        await trio.sleep(4000)
        worker.stop()
    after = moments[ran:]
    assert ran == 16
    assert expected <= after[0] <= expected + 10
    steps = {round(later - earlier) for earlier, later in pairwise(after[1:])}
    assert steps <= {60}


@pytest.mark.parametrize("policy", ["ignore", "halt"])
@pytest.mark.parametrize("kind", ["task", "timer"])
async def test_an_error_is_told_or_ends_the_worker_with_it(
    kind: str, policy: str, app: App, autojump_clock: MockClock, facts: Facts
) -> None:
    calls = []
    register: Callable[[Any], Any] = (
        app.task(exception_policy=policy)
        if kind == "task"
        else app.timer(interval=1, exception_policy=policy)
    )

    @register
    async def fails() -> None:
        calls.append(1)
        raise LookupError("no such thing")

    if policy == "halt":
        with pytest.raises(LookupError, match="no such thing"):
            await app.run()
        assert len(calls) == 1
        return
    async with app.worker():
        await trio.sleep(3.5)
    assert len(calls) == (1 if kind == "task" else 3)
    told = facts("background-failed")[0]
    assert told["function"] == "fails"
    assert "no such thing" in told["traceback"]


async def test_by_default_a_task_ends_the_worker_and_a_timer_does_not(app: App) -> None:
    async def work() -> None: ...

    app.task(work)
    app.timer(interval=1)(work)
    app.crontab("* * * * *")(work)
    assert [x.exception_policy.value for x in app.background] == ["halt", "ignore", "ignore"]


async def test_a_run_under_way_may_end_within_the_grace_period_and_no_other_begins(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []

    def lasting(seconds: float) -> BackgroundTask:
        async def work() -> None:
            seen.append(f"begins {seconds}")
            await trio.sleep(seconds)
            seen.append(f"ends {seconds}")

        return BackgroundTask(function=work, interval=1)

    worker = runner(Store(), lasting(3), lasting(30), default_grace_period=5)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        await trio.sleep(1.5)
        worker.stop()
        stopped = trio.current_time()
    assert trio.current_time() - stopped == pytest.approx(5)
    assert sorted(seen) == ["begins 3", "begins 30", "ends 3"]
    assert "run-cancelled" in fact_names(caplog)


async def test_an_abort_cancels_what_is_under_way_at_once(autojump_clock: MockClock) -> None:
    async def work() -> None:
        await trio.sleep(30)

    worker = runner(Store(), BackgroundTask(function=work, interval=1), default_grace_period=20)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        await trio.sleep(1.5)
        worker.abort()
        stopped = trio.current_time()
    assert trio.current_time() == stopped


async def test_an_error_on_the_way_out_of_a_cancellation_is_not_lost(
    app: App, autojump_clock: MockClock
) -> None:
    @app.task
    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError("while it ended")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with app.worker():
            await trio.sleep(1)
    assert caught.group_contains(LookupError, match="while it ended")
    assert not caught.group_contains(trio.Cancelled)


@pytest.mark.parametrize(
    ("register", "said"),
    [
        (lambda app: app.timer(interval=0), "interval=0 must be more than 0"),
        (lambda app: app.timer(interval=float("nan")), "interval=nan"),
        (lambda app: app.crontab("every day"), "'every day' is no cron expression"),
        (
            lambda app: app.task(lambda: None),
            r"must be an async function: `async def …` \(\S+test_background.py:\d+\)",
        ),
        (lambda app: app.task(on_leader=True)(lambda: None), "must be an async function: `async def"),
        (lambda app: app.timer(interval=1)(lambda: None), "must be an async function: `async def"),
        (lambda app: app.crontab("@hourly")(lambda: None), "must be an async function: `async def"),
        (lambda app: app.task(needs), "called without arguments, and wants what"),
        (lambda app: app.task(exception_policy="quarantine")(plain), "no partition that could stand still"),
        (lambda app: app.task(exception_policy="later")(plain), "exception_policy='later'"),
    ],
)
def test_what_cannot_run_is_refused_when_it_is_declared(
    register: Callable[[App], Any], said: str, app: App
) -> None:
    with pytest.raises(Misconfigured, match=said):
        register(app)
    assert app.background == []


async def needs(what: int) -> None: ...


async def plain() -> None: ...


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("45 17 * * *", "spec='45 17 * * *' first=2026-05-04T17:45:00+02:00"),
        ("*/10 * * * * 0", "spec='*/10 * * * * 0' second=0 first=2026-05-04T11:10:00+02:00"),
        # Meant as second 0 of minute 3, as others read six columns; this is each second of three o'clock.
        ("0 3 * * * *", "spec='0 3 * * * *' second=* first=2026-05-05T03:00:00+02:00"),
        ("@daily", "spec='@daily' first=2026-05-05T00:00:00+02:00"),
    ],
)
async def test_it_is_told_how_a_crontab_is_read_and_when_it_runs_first(
    caplog: pytest.LogCaptureFixture, autojump_clock: MockClock, spec: str, told: str
) -> None:
    caplog.set_level("INFO", "runnel_trio")
    store = Store(began=NINE - trio.current_time())
    worker = runner(store, BackgroundTask(function=plain, spec=spec, timezone=ZoneInfo("Europe/Berlin")))
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        await trio.sleep(1)
        worker.stop()
    assert [x.getMessage() for x in caplog.records if getattr(x, "fact", "") == "scheduled"] == [
        f"scheduled function=plain {told}"
    ]
