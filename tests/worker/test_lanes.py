"""Many keys of a partition at a time: each key's events one after another, in order; other keys wait for none of them."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, HandlerTimeout, Middleware, Misconfigured, Record, Stream
from runnel_trio._broker._values import Batch
from runnel_trio.testing import drained


class Task(Record):
    """One key's n-th event, and the seconds that it takes."""

    key: str
    n: int
    takes: float = 0.0


@attrs.define
class Bench:
    """One partition, and what was done in it, in which order."""

    app: App
    tasks: Stream[Any]
    log: list[tuple[str, str, int, float]] = attrs.field(factory=list)

    def begin(self, task: Task) -> None:
        self.log.append(("begin", task.key, task.n, trio.current_time()))

    def end(self, task: Task) -> None:
        self.log.append(("end", task.key, task.n, trio.current_time()))

    async def handle(self, task: Task) -> None:
        self.begin(task)
        await trio.sleep(task.takes)
        self.end(task)

    def done(self, key: str) -> list[int]:
        return [n for what, found, n, _ in self.log if (what, found) == ("end", key)]

    def when(self, key: str, n: int = 0) -> float:
        return next(time for what, found, m, time in self.log if (what, found, m) == ("end", key, n))

    @property
    def most_at_a_time(self) -> int:
        level = most = 0
        for what, *_ in self.log:
            level += 1 if what == "begin" else -1
            most = max(most, level)
        return most

    def refuse_overlaps(self) -> None:
        """Each key's events began in order, and one when the one before had ended."""
        for key in {found for _, found, *_ in self.log}:
            mine = [(what, n) for what, found, n, _ in self.log if found == key]
            numbers = [n for what, n in mine if what == "begin"]
            assert numbers == sorted(numbers)
            assert mine == [(what, n) for n in numbers for what in ("begin", "end")]


@pytest.fixture
def bench() -> Bench:
    app = App("lanes", redis_url="memory://", default_partition_count=1)
    return Bench(app, app.stream("tasks", Task, "key"))


async def test_a_key_that_takes_a_minute_holds_up_no_other(bench: Bench, autojump_clock: MockClock) -> None:
    @bench.app.processor(bench.tasks, concurrency=2)
    async def handle(events: Any) -> None:
        async for task in events.records():
            await bench.handle(task)

    async with bench.app.worker():
        await bench.tasks.send(Task(key="slow", n=0, takes=60))
        await bench.tasks.send(*(Task(key=f"k{n % 7}", n=n // 7, takes=0.1) for n in range(70)))
        began = trio.current_time()
        with trio.fail_after(59):
            while sum(len(bench.done(f"k{n}")) for n in range(7)) < 70:
                await trio.sleep(0.1)
        assert trio.current_time() - began < 8
        assert bench.done("slow") == []
        await drained(handle, within=10_000)
    assert bench.done("slow") == [0]
    assert bench.most_at_a_time == 2
    bench.refuse_overlaps()


@pytest.mark.parametrize("concurrency", [2, 8, 100])
async def test_as_many_keys_as_there_may_be_are_handled_at_a_time(
    bench: Bench, autojump_clock: MockClock, concurrency: int
) -> None:
    @bench.app.processor(bench.tasks, concurrency=concurrency)
    async def handle(events: Any) -> None:
        async for task in events.records():
            await bench.handle(task)

    await bench.tasks.send(*(Task(key=f"k{n % 40}", n=n // 40, takes=1) for n in range(400)))
    began = trio.current_time()
    async with bench.app.worker():
        await drained(handle, within=10_000)
        took = trio.current_time() - began
    assert bench.most_at_a_time == min(concurrency, 40)
    assert took == pytest.approx(400 / min(concurrency, 40), rel=0.1, abs=1)
    bench.refuse_overlaps()


async def test_handlers_that_wait_for_nothing_share_one_lane(bench: Bench) -> None:
    calls = 0

    @bench.app.processor(bench.tasks, concurrency=50)
    async def handle(events: Any) -> None:
        nonlocal calls
        calls += 1
        async for task in events.records():
            bench.begin(task)
            bench.end(task)

    async with bench.app.worker():
        await bench.tasks.send(*(Task(key=f"k{n % 40}", n=n // 40) for n in range(2000)))
        await drained(handle, within=10_000)
    assert calls == 1
    assert bench.most_at_a_time == 1


async def test_a_function_that_waits_before_its_loop_starts_as_many_copies_as_are_of_use(
    bench: Bench, autojump_clock: MockClock
) -> None:
    @bench.app.processor(bench.tasks, concurrency=10)
    async def handle(events: Any) -> None:
        await trio.sleep(5)  # to connect to something
        async for task in events.records():
            await bench.handle(task)

    async with bench.app.worker():
        began = trio.current_time()
        await bench.tasks.send(*(Task(key=f"k{n}", n=0, takes=1) for n in range(20)))
        await drained(handle, within=10_000)
        assert trio.current_time() - began < 9
    assert bench.most_at_a_time == 10


async def test_lists_hold_each_key_in_order_and_no_key_is_in_two(
    bench: Bench, autojump_clock: MockClock
) -> None:
    lists: list[list[tuple[str, int]]] = []
    busy: set[str] = set()

    @bench.app.processor(bench.tasks, concurrency=4)
    async def handle(events: Any) -> None:
        async for tasks in events.take(10, within=0.5).records():
            keys = {task.key for task in tasks}
            assert not keys & busy
            busy.update(keys)
            lists.append([(task.key, task.n) for task in tasks])
            await trio.sleep(1)
            busy.difference_update(keys)

    async with bench.app.worker():
        await bench.tasks.send(*(Task(key=f"k{n % 12}", n=n // 12) for n in range(120)))
        await drained(handle, within=10_000)
    for key in range(12):
        assert [n for found in lists for name, n in found if name == f"k{key}"] == list(range(10))
    assert max(map(len, lists)) == 10


async def test_what_is_done_ahead_is_not_done_again_by_the_next_owner(
    bench: Bench, autojump_clock: MockClock
) -> None:
    hangs = True

    @bench.app.processor(bench.tasks, concurrency=4, grace_period=0.5)
    async def handle(events: Any) -> None:
        async for task in events.records():
            bench.begin(task)
            await trio.sleep(math.inf if task.key == "hangs" and hangs else task.takes)
            bench.end(task)

    async with bench.app.session():
        await bench.tasks.send(Task(key="hangs", n=0))
        await bench.tasks.send(*(Task(key=f"k{n % 5}", n=n // 5, takes=0.01) for n in range(500)))
        async with bench.app.worker():
            with trio.fail_after(100):
                while sum(what == "end" for what, *_ in bench.log) < 500:
                    await trio.sleep(0.1)
        assert bench.done("hangs") == []
        hangs = False
        bench.log.clear()
        async with bench.app.worker():
            await bench.tasks.send(Task(key="k0", n=100))
            await drained(handle, within=10_000)
    assert sorted((key, n) for what, key, n, _ in bench.log if what == "end") == [("hangs", 0), ("k0", 100)]


async def test_what_was_done_ahead_is_skipped_by_an_owner_with_one_lane(
    bench: Bench, autojump_clock: MockClock
) -> None:
    hangs = True

    def declare(name: str, **options: Any) -> Any:
        app = App("lanes", redis_url="memory://", default_partition_count=1)
        tasks = app.stream("tasks", Task, "key")

        @app.processor(tasks, name="handle", grace_period=0.5, **options)
        async def handle(events: Any) -> None:
            async for task in events.records():
                bench.begin(task)
                await trio.sleep(math.inf if task.key == "hangs" and hangs else 0.01)
                bench.end(task)

        return app, tasks, handle

    app, tasks, _ = declare("many", concurrency=3)
    async with app.session():
        await tasks.send(Task(key="hangs", n=0), *(Task(key=f"k{n}", n=0) for n in range(20)))
        async with app.worker():
            with trio.fail_after(100):
                while sum(what == "end" for what, *_ in bench.log) < 20:
                    await trio.sleep(0.1)
        hangs = False
        bench.log.clear()
        app.processors.clear()

        @app.processor(tasks, name="handle")
        async def handle(events: Any) -> None:
            async for task in events.records():
                await bench.handle(task)

        async with app.worker():
            await tasks.send(Task(key="k1", n=1))
            await drained(handle, within=100)
    assert [(key, n) for what, key, n, _ in bench.log if what == "end"] == [("hangs", 0), ("k1", 1)]


async def test_an_operators_rewind_repeats_what_was_done_ahead_too(
    bench: Bench, autojump_clock: MockClock
) -> None:
    @bench.app.processor(bench.tasks, concurrency=4, grace_period=0.5)
    async def handle(events: Any) -> None:
        async for task in events.records():
            bench.begin(task)
            await trio.sleep(1000 if task.key == "hangs" else 0.01)
            bench.end(task)

    async with bench.app.session():
        await bench.tasks.send(Task(key="hangs", n=0), *(Task(key=f"k{n}", n=0) for n in range(20)))
        async with bench.app.worker():
            with trio.fail_after(100):
                while sum(what == "end" for what, *_ in bench.log) < 20:
                    await trio.sleep(0.1)
        await handle.reset("0")
        bench.log.clear()
        async with bench.app.worker():
            with trio.fail_after(100):
                while sum(what == "end" for what, *_ in bench.log) < 20:
                    await trio.sleep(0.1)


async def test_a_worker_that_runs_repeats_what_was_done_ahead_after_a_rewind_to_where_the_cursor_is(
    bench: Bench, autojump_clock: MockClock
) -> None:
    @bench.app.processor(bench.tasks, concurrency=4, grace_period=0.5)
    async def handle(events: Any) -> None:
        async for task in events.records():
            await bench.handle(task)

    async with bench.app.worker():
        await bench.tasks.send(Task(key="slow", n=0, takes=100), *(Task(key=f"k{n}", n=0) for n in range(20)))
        await trio.sleep(10)
        assert sum(len(bench.done(f"k{n}")) for n in range(20)) == 20
        await handle.reset("0", force=True)
        await bench.tasks.send(Task(key="k0", n=1))
        await trio.sleep(10)
        assert sum(len(bench.done(f"k{n}")) for n in range(20)) >= 41
        await drained(handle, within=10_000)


async def test_a_turn_that_takes_too_long_fails_and_is_tried_by_the_policy(
    bench: Bench, autojump_clock: MockClock
) -> None:
    seen: list[BaseException] = []

    class Watch(Middleware):
        async def handler(
            self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any
        ) -> AsyncIterator[Any]:
            try:
                async for item in parent:
                    yield item
            finally:
                if events.exception is not None:
                    seen.append(events.exception)

    @bench.app.processor(
        bench.tasks, concurrency=3, timeout=5, exception_policy="ignore", middleware=[Watch()]
    )
    async def handle(events: Any) -> None:
        async for task in events.records():
            try:
                await bench.handle(task)
            except BaseException:
                if task.key != "deaf":
                    raise

    async with bench.app.worker():
        await bench.tasks.send(
            Task(key="a", n=0, takes=100), Task(key="a", n=1, takes=1), Task(key="b", n=0, takes=4.9),
            Task(key="deaf", n=0, takes=100), Task(key="deaf", n=1, takes=1),
        )  # fmt: skip
        await drained(handle, within=10_000)
        assert trio.current_time() < 20
    assert [bench.done(key) for key in ("a", "b", "deaf")] == [[1], [0], [1]]
    assert [type(error) for error in seen] == [HandlerTimeout, HandlerTimeout]
    assert str(seen[0]) == "handling took longer than timeout=5 s"


async def test_more_lanes_than_may_be_unacknowledged_are_refused(bench: Bench) -> None:
    with pytest.raises(Misconfigured, match=r"concurrency=10 is more than max_unacked=5.* max_unacked=10"):

        @bench.app.processor(bench.tasks, concurrency=10, max_unacked=5)
        async def handle(events: Any) -> None: ...


async def test_nobody_looks_further_ahead_than_max_ahead(bench: Bench, autojump_clock: MockClock) -> None:
    @bench.app.processor(bench.tasks, concurrency=5, max_ahead=30)
    async def handle(events: Any) -> None:
        async for task in events.records():
            await bench.handle(task)

    async with bench.app.worker():
        await bench.tasks.send(Task(key="slow", n=0, takes=100))
        await bench.tasks.send(*(Task(key=f"k{n % 9}", n=n // 9, takes=0.1) for n in range(90)))
        await trio.sleep(50)
        assert sum(what == "end" for what, *_ in bench.log) == 29
        await drained(handle, within=10_000)
    bench.refuse_overlaps()


@pytest.mark.parametrize("leave", ["break", "return", "raise", "aclose", "cancel"])
async def test_how_one_lane_ends_is_nothing_to_the_others(
    bench: Bench, autojump_clock: MockClock, leave: str
) -> None:
    @bench.app.processor(bench.tasks, concurrency=8, exception_policy="ignore")
    async def handle(events: Any) -> None:
        async for task in events.records():
            bench.begin(task)
            with trio.move_on_after(2 if leave == "cancel" and task.key == "odd" else math.inf):
                await trio.sleep(task.takes)
            bench.end(task)
            if task.key == "odd":
                if leave == "break":
                    break
                if leave == "return":
                    return
                if leave == "raise":
                    raise ValueError(task.n)
                if leave == "aclose":
                    await events.aclose()

    async with bench.app.worker():
        await bench.tasks.send(
            *(Task(key="odd" if n % 4 == 0 else f"k{n % 11}", n=n, takes=3) for n in range(88))
        )
        await drained(handle, within=10_000)
    assert bench.done("odd") == list(range(0, 88, 4))
    assert sorted(n for what, _, n, _ in bench.log if what == "end") == list(range(88))
    bench.refuse_overlaps()


@pytest.mark.parametrize("policy", ["halt", "quarantine"])
async def test_the_other_lanes_end_what_they_have_in_hand_when_the_partition_ends(
    bench: Bench, autojump_clock: MockClock, policy: str
) -> None:
    @bench.app.processor(bench.tasks, concurrency=4, exception_policy=policy, grace_period=60)
    async def handle(events: Any) -> None:
        async for task in events.records():
            await bench.handle(task)
            if task.key == "bad":
                raise ValueError("no")

    async def run() -> None:
        async with bench.app.worker():
            await bench.tasks.send(
                Task(key="bad", n=0, takes=1), *(Task(key=f"k{n}", n=0, takes=20) for n in range(9))
            )
            await trio.sleep(50)

    if policy == "halt":
        with pytest.raises(ValueError, match="no"):
            await run()
    else:
        await run()
    assert sorted(key for what, key, *_ in bench.log if what == "end") == ["bad", "k0", "k1", "k2"]


async def test_an_entry_that_cannot_be_read_waits_for_nobody_and_holds_up_nobody(
    bench: Bench, autojump_clock: MockClock
) -> None:
    @bench.app.processor(bench.tasks, concurrency=2, exception_policy="ignore")
    async def handle(events: Any) -> None:
        async for task in events.records():
            await bench.handle(task)

    async with bench.app.worker():
        await bench.tasks.send(Task(key="slow", n=0, takes=100))
        async with bench.app._shared.used() as broker:
            await broker.append(bench.tasks.spec, {0: Batch((b"data",), [b"{}", b"no json"])})
        await bench.tasks.send(Task(key="k", n=0, takes=1))
        await trio.sleep(50)
        assert bench.done("k") == [0]
        await drained(handle, within=10_000)
    assert bench.done("slow") == [0]


async def test_a_key_that_cannot_be_told_fails_with_what_was_raised(
    bench: Bench, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    broken = False

    def customer(task: Task) -> str:
        if broken and task.n == 1:
            raise ZeroDivisionError("nobody knows")
        return task.key

    tasks = bench.app.stream("others", Task, customer)

    @bench.app.processor(tasks, concurrency=2, exception_policy="ignore")
    async def handle(events: Any) -> None:
        async for task in events.records():
            await bench.handle(task)

    await tasks.send(*(Task(key="k", n=n) for n in range(3)))
    broken = True
    async with bench.app.worker():
        await drained(handle, within=10_000)
    assert bench.done("k") == [0, 2]
    (ignored,) = [x for x in caplog.records if x.getMessage().startswith("ignored")]
    assert "ZeroDivisionError('nobody knows')" in ignored.getMessage()
