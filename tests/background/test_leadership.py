"""One worker leads: another one at once when it leaves, soon when it dies, and never two at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store
from runnel_trio._broker._values import AppSpec
from runnel_trio._worker._background import BackgroundTask
from runnel_trio._worker._member._session import MemberSession
from runnel_trio.settings import Settings

EXPIRY = 4.0


class Line:
    """A client of the store whose verbs wait while the line is down, on a machine that can be asleep."""

    def __init__(self, store: Store) -> None:
        self._inner, self._up = MemoryBroker(store=store), trio.Event()
        self._up.set()
        self.slept = 0.0

    def clock(self) -> float:
        """As the real one: it goes on while the machine sleeps, and Trio's does not."""
        return trio.current_time() + self.slept

    def down(self) -> None:
        self._up = trio.Event()

    def up(self) -> None:
        self._up.set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._through(found) if name in {"beat", "leave"} else found

    def _through(self, verb: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            await self._up.wait()
            return await verb(*arguments)

        return call


@attrs.define(eq=False)
class Cluster:
    """Workers of one app, and who led when."""

    store: Store = attrs.field(factory=Store)
    terms: list[tuple[str, float, float | None]] = attrs.field(factory=list)
    leading: list[str] = attrs.field(factory=list)
    most: int = 0

    @asynccontextmanager
    async def worker(self, name: str) -> AsyncIterator[Line]:
        async def lead() -> None:
            place, began = len(self.terms), trio.current_time()
            self.terms.append((name, began, None))
            self.leading.append(name)
            self.most = max(self.most, len(self.leading))
            try:
                await trio.sleep_forever()
            finally:
                self.leading.remove(name)
                self.terms[place] = (name, began, trio.current_time())

        line: Any = Line(self.store)
        work = BackgroundTask(function=lead, on_leader=True)
        settings = Settings(default_lock_expiry=EXPIRY)
        worker = Worker(broker=line, app="test", functions=[work], settings=settings, member=name)
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            yield line
            nursery.cancel_scope.cancel()

    async def until(self, *names: str) -> float:
        """Until exactly these lead; how long that took."""
        began = trio.current_time()
        with trio.fail_after(60):
            while self.leading != list(names):
                await trio.sleep(0.01)
        return trio.current_time() - began


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


async def test_the_one_that_has_been_there_for_longest_leads(
    cluster: Cluster, autojump_clock: MockClock
) -> None:
    async with cluster.worker("A"), cluster.worker("B"), cluster.worker("C"):
        await cluster.until("A")
        await trio.sleep(100)
        assert cluster.leading == ["A"]
    assert [name for name, _, _ in cluster.terms] == ["A"]


async def test_when_the_leader_leaves_its_tasks_end_and_then_the_next_one_leads_at_once(
    cluster: Cluster, autojump_clock: MockClock
) -> None:
    async with trio.open_nursery() as nursery:
        started = trio.Event()
        leave = trio.Event()

        async def first() -> None:
            async with cluster.worker("A"):
                started.set()
                await leave.wait()

        nursery.start_soon(first)
        await started.wait()
        async with cluster.worker("B"), cluster.worker("C"):
            await cluster.until("A")
            leave.set()
            assert await cluster.until("B") < 0.05
            assert cluster.most == 1
        nursery.cancel_scope.cancel()
    ended = cluster.terms[0][2]
    assert ended is not None
    assert ended <= cluster.terms[1][1]


async def test_a_leader_that_is_not_heard_of_stops_before_the_next_one_begins(
    cluster: Cluster, autojump_clock: MockClock
) -> None:
    async with cluster.worker("A") as line, cluster.worker("B"):
        await cluster.until("A")
        await trio.sleep(10)
        line.down()
        assert await cluster.until() <= EXPIRY
        assert await cluster.until("B") <= EXPIRY
        line.up()
        await trio.sleep(20)
        assert cluster.leading == ["B"]
        assert cluster.most == 1


@pytest.mark.parametrize("moment", [0.01, 0.3, 0.6, 0.99])
async def test_after_a_crash_of_the_leader_the_next_one_leads_within_one_lock_period(
    moment: float, cluster: Cluster, autojump_clock: MockClock
) -> None:
    async with cluster.worker("A") as line:
        await trio.sleep(moment)
        async with cluster.worker("B"):
            await cluster.until("A")
            await trio.sleep(10.5)
            crashed = trio.current_time()
            line.down()
            await cluster.until()
            await cluster.until("B")
            assert trio.current_time() - crashed <= EXPIRY + 0.02
    assert cluster.most == 1


async def test_a_leader_that_was_cut_off_alone_leads_again_when_it_is_back(
    cluster: Cluster, autojump_clock: MockClock
) -> None:
    async with cluster.worker("A") as line:
        await cluster.until("A")
        line.down()
        await cluster.until()
        line.up()
        assert await cluster.until("A") <= EXPIRY
    assert [name for name, _, _ in cluster.terms] == ["A", "A"]


async def test_a_worker_that_runs_nothing_as_leader_does_not_stand_for_it(
    cluster: Cluster, autojump_clock: MockClock
) -> None:
    async def everywhere() -> None: ...

    broker = MemoryBroker(store=cluster.store)
    worker = Worker(broker=broker, app="test", functions=[BackgroundTask(function=everywhere)])
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        assert (await broker.members(AppSpec("test"))).members == ()
        worker.stop()


async def test_timers_of_the_leader_run_there_alone(app: App, autojump_clock: MockClock) -> None:
    ticks: list[float] = []

    @app.timer(interval=1, on_leader=True)
    async def tick() -> None:
        ticks.append(trio.current_time())

    async with app.worker(), app.worker(), app.worker():
        await trio.sleep(5.5)
    assert len(ticks) == 5


@pytest.mark.parametrize("machine_slept", [True, False], ids=["asleep", "frozen"])
@pytest.mark.parametrize("when", [{"interval": 1.0}, {"spec": "* * * * * *", "timezone": UTC}], ids=str)
async def test_what_is_due_when_a_leader_wakes_up_is_not_begun_before_it_leads_again(
    when: dict[str, Any],
    machine_slept: bool,
    cluster: Cluster,
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runs = []

    async def tick() -> None:
        runs.append(trio.current_time())  # and no await: nothing in it could be cancelled

    line: Any = Line(cluster.store)
    work = BackgroundTask(function=tick, on_leader=True, **when)
    settings = Settings(default_lock_expiry=EXPIRY)
    worker = Worker(broker=line, app="test", functions=[work], settings=settings)
    async with trio.open_nursery() as nursery:
        await nursery.start(worker.run)
        for naps in range(1, 6):
            await trio.sleep(2.6)
            line.down()
            before = len(runs)
            if machine_slept:
                line.slept += EXPIRY
            else:
                autojump_clock.jump(EXPIRY)
            await trio.sleep(5)
            assert len(runs) == before > 0
            line.up()
            await trio.sleep(2.6)
            assert len(runs) > before, "it leads again"
            assert [x.fact for x in caplog.records if hasattr(x, "fact")].count("leads-no-more") >= naps
        worker.stop()


async def test_an_answer_that_trio_hears_late_takes_no_trust_back(autojump_clock: MockClock) -> None:
    session = MemberSession(broker=MemoryBroker(), party=AppSpec("test"), member="A", expiry=EXPIRY, about="")
    await session.beat()
    session.answered(2.0, session.view)  # to the thread, while Trio was held up
    trusted = session.validity.until
    session.heard(1.0, session.view)
    assert session.validity.until == trusted


async def test_leadership_on_a_server_passes_on_when_the_leader_leaves() -> None:
    app = App("led", redis_url="embedded://", default_lock_expiry=5, leadership_poll_interval=60_000)
    terms: list[str] = []
    begun = [trio.Event(), trio.Event()]

    @app.task(on_leader=True)
    async def lead() -> None:
        begun[terms.count("begun")].set()
        terms.append("begun")
        try:
            await trio.sleep_forever()
        finally:
            terms.append("ended")

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            first: Worker = await nursery.start(app.run)
            await begun[0].wait()
            second: Worker = await nursery.start(app.run)
            first.stop()
            await begun[1].wait()
            assert terms == ["begun", "ended", "begun"]
            second.stop()
    assert terms == ["begun", "ended", "begun", "ended"]
