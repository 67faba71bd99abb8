"""A worker that was cut off and comes back: what it believes is out of date, and it harms nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Processor, Stream, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store
from runnel_trio._broker._values import Batch, Beat

EXPIRY = 4.0
VERBS = {"acquire", "commit", "release", "log_states", "beat", "leave", "plan"}


class CutOff:
    """A broker whose verbs wait while the line is down; some of them longer."""

    def __init__(self, store: Store) -> None:
        self._inner = MemoryBroker(store=store)
        self._up = trio.Event()
        self._up.set()
        self.delays: dict[str, float] = {}

    def down(self) -> None:
        self._up = trio.Event()

    def up(self, **delays: float) -> None:
        self.delays = delays
        self._up.set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._through(name, found) if name in VERBS else found

    def _through(self, name: str, verb: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any) -> Any:
            if not self._up.is_set():
                await self._up.wait()
                await trio.sleep(self.delays.get(name, 0.0))
            return await verb(*arguments)

        return call


class Cluster:
    """Workers over one store, and who handled what from when to when."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self.store = Store()
        self.begun: list[tuple[str, int, float]] = []

    @asynccontextmanager
    async def worker(self, name: str) -> AsyncIterator[CutOff]:
        broker: Any = CutOff(self.store)
        worker = Worker(broker=broker, processors=[self.processor], member=name)
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            yield broker
            nursery.cancel_scope.cancel()

    async def append(self, values: list[bytes]) -> None:
        broker = MemoryBroker(store=self.store)
        await broker.append(self.processor.stream.spec, {0: Batch((b"data",), values)})

    def by(self, name: str) -> list[int]:
        return [n for member, n, _ in self.begun if member == name]


@pytest.fixture
def cluster(app: App, order: Any) -> Cluster:
    one: Stream[Any] = app.stream("one", order, "key", partition_count=1)
    epochs: dict[int, str] = {}

    @app.processor(one, lock_expiry=EXPIRY, grace_period=1)
    async def handle(events: Any) -> None:
        lease = found.store.log(events.partition.key).leases["handle"]
        if lease.epoch == events.partition.epoch:
            epochs[lease.epoch] = lease.owner
        async for record in events.records():
            found.begun.append((epochs[events.partition.epoch], record.n, trio.current_time()))
            await trio.sleep(0.5)

    found = Cluster(handle)
    return found


def values(count: int) -> list[bytes]:
    return [b'{"key":"a","n":%d}' % n for n in range(count)]


@pytest.mark.parametrize("knows", [True, False], ids=["knew the other", "never heard of the other"])
@pytest.mark.parametrize(
    "delays", [{}, {"beat": 1.0}, {"commit": 1.0}, {"commit": 1.0, "log_states": 1.0}], ids=str
)
async def test_who_comes_back_neither_handles_nor_takes_what_another_owns_now(
    delays: dict[str, float], knows: bool, cluster: Cluster, autojump_clock: MockClock
) -> None:
    async with cluster.worker("A") as line, AsyncExitStack() as stack:
        if knows:
            await stack.enter_async_context(cluster.worker("B"))
        await cluster.append(values(100))
        await trio.sleep(3)
        line.down()
        if not knows:
            await stack.enter_async_context(cluster.worker("B"))
        await trio.sleep(12)
        assert cluster.begun[-1][0] == "B"
        line.up(**delays)
        await trio.sleep(5)
        begun = list(cluster.begun)
    first = next(at for member, _, at in begun if member == "B")
    assert [at for member, _, at in begun if member == "A" and at > first] == []
    mine = cluster.by("B")
    assert mine == list(range(mine[0], mine[0] + len(mine)))


async def test_who_comes_back_when_the_other_has_gone_again_begins_behind_it(
    cluster: Cluster, autojump_clock: MockClock
) -> None:
    async with cluster.worker("A") as line:
        async with cluster.worker("B"):
            await cluster.append(values(100))
            await trio.sleep(3)
            line.down()
            await trio.sleep(12)
        line.up()
        await trio.sleep(5)
    first = [member for member, _, _ in cluster.begun].index("B")
    later = cluster.begun[first:]
    assert {member for member, _, _ in later} == {"A", "B"}
    assert [n for _, n, _ in later] == list(range(later[0][1], later[0][1] + len(later)))


async def test_a_worker_alone_that_was_cut_off_goes_on_where_it_was(
    cluster: Cluster, autojump_clock: MockClock
) -> None:
    async with cluster.worker("A") as line:
        await cluster.append(values(20))
        await trio.sleep(2.2)
        line.down()
        await trio.sleep(12)
        stopped = len(cluster.begun)
        await trio.sleep(1)
        assert len(cluster.begun) == stopped < 20, "nothing is begun when the lease may be another's"
        line.up()
        back = trio.current_time()
        await trio.sleep(12)
    assert cluster.by("A") == list(range(20))
    assert cluster.begun[stopped][2] - back < 0.1, "it does not wait for its next heartbeat"


async def test_what_a_member_owned_before_it_was_removed_is_not_its_own_for_ever(
    app: App, order: Any, autojump_clock: MockClock
) -> None:
    """Back again, it is alive, so nobody takes by force what it still holds, and does not run any more."""
    stream: Stream[Any] = app.stream("two", order, "key", partition_count=2)

    @app.processor(stream, lock_expiry=EXPIRY)
    async def handle(events: Any) -> None:
        async for _ in events:
            pass

    cluster = Cluster(handle)
    other, spec = MemoryBroker(store=cluster.store), handle.spec
    leases = [cluster.store.log(other.log_key(stream.spec, n)).leases for n in range(2)]
    async with cluster.worker("A") as line:
        line.down()
        await trio.sleep(2 * EXPIRY)
        view = await other.beat(Beat(spec, "B", 100.0, ""))
        await other.plan(spec, view.generation, {"B": (0, 1)})
        line.up()
        with trio.fail_after(EXPIRY):
            while {lease["handle"].owner for lease in leases} != {"A", ""}:
                await trio.sleep(0.01)
        await trio.sleep(EXPIRY)
        plan = (await other.members(spec)).plan
        assert [[lease["handle"].owner for lease in leases][n] for n in plan["B"]] == [""]
