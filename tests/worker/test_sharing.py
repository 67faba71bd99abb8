"""Workers share a processor's partitions: who comes is given some, who goes leaves them, nothing else moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Processor, Stream, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store
from runnel_trio._broker._values import Acquired, Batch, Beat

SIZE = 16


class Cluster:
    """Workers by name over one store, and everything that was handled."""

    def __init__(self, processor: Processor) -> None:
        self.processor = processor
        self.store = Store()
        self.broker = MemoryBroker(store=self.store)
        #: member, partition, epoch, number of the event, when its handling began
        self.begun: list[tuple[str, int, int, int, float]] = []

    @asynccontextmanager
    async def worker(self, name: str, processor: Processor | None = None) -> AsyncIterator[Worker]:
        broker = MemoryBroker(store=self.store)
        worker = Worker(broker=broker, processors=[processor or self.processor], member=name)
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            yield worker
            nursery.cancel_scope.cancel()

    def owners(self) -> dict[int, str]:
        """Who holds each partition now."""
        spec = self.processor.spec
        leases = [self.broker._log(spec, number).lease(spec).owner for number in range(SIZE)]
        return dict(enumerate(leases))

    def counts(self) -> dict[str, int]:
        owners = list(self.owners().values())
        return {owner: owners.count(owner) for owner in set(owners)}

    async def settles(self, **counts: int) -> None:
        with trio.fail_after(60):
            while self.counts() != counts:
                await trio.sleep(0.001)

    async def append(self, first: int, last: int) -> None:
        values = [b'{"key":"a","n":%d}' % n for n in range(first, last)]
        batches = {number: Batch((b"data",), values) for number in range(SIZE)}
        await self.broker.append(self.processor.stream.spec, batches)

    def numbers(self, partition: int) -> list[int]:
        return [n for _, number, _, n, _ in self.begun if number == partition]


Make = Callable[..., Cluster]


@pytest.fixture
def make(app: App, order: Any) -> Make:
    def build(pause: float = 0.0, **options: Any) -> Cluster:
        stream: Stream[Any] = app.stream("many", order, "key", partition_count=SIZE)

        @app.processor(stream, **{"lock_expiry": 2, **options})
        async def handle(events: Any) -> None:
            number, epoch = events.partition.number, events.partition.epoch
            lease = cluster.broker._log(handle.spec, number).lease(handle.spec)
            owner = lease.owner
            async for record in events.records():
                cluster.begun.append((owner, number, epoch, record.n, trio.current_time()))
                await trio.sleep(pause)

        cluster = Cluster(handle)
        return cluster

    return build


async def test_who_comes_is_given_a_share_and_what_stays_does_not_move(
    make: Make, autojump_clock: MockClock
) -> None:
    cluster = make()
    async with cluster.worker("a"):
        await cluster.settles(a=16)
        async with cluster.worker("b"):
            await cluster.settles(a=8, b=8)
            before = cluster.owners()
            async with cluster.worker("c"):
                await cluster.settles(a=5, b=6, c=5) if before[0] == "b" else await cluster.settles(
                    a=6, b=5, c=5
                )
                now = cluster.owners()
                assert all(now[number] in {before[number], "c"} for number in before)
            back = cluster.owners()
            assert all(back[number] == now[number] for number in now if now[number] != "c")


async def test_who_leaves_is_followed_at_once(make: Make, autojump_clock: MockClock) -> None:
    cluster = make()
    async with cluster.worker("a"), cluster.worker("b"):
        await cluster.settles(a=8, b=8)
        async with cluster.worker("c"):
            await trio.sleep(1)
        left = trio.current_time()
        await cluster.settles(a=8, b=8)
        assert trio.current_time() - left < 0.05


async def test_events_that_are_moved_about_are_handled_once_and_in_order(
    make: Make, autojump_clock: MockClock
) -> None:
    cluster = make(pause=0.01)
    async with cluster.worker("a"):
        await cluster.append(0, 300)
        for name in "bcd":
            async with cluster.worker(name):
                await trio.sleep(0.5)
        await trio.sleep(10)
    for number in range(SIZE):
        assert cluster.numbers(number) == list(range(300))
    assert {member for member, *_ in cluster.begun} == {"a", "b", "c", "d"}


async def test_a_partition_that_stays_sees_no_pause(make: Make, autojump_clock: MockClock) -> None:
    cluster = make(pause=0.01)
    async with cluster.worker("a"):
        await cluster.append(0, 100)
        await trio.sleep(0.2)
        async with cluster.worker("b"):
            await trio.sleep(0.2)
            stayed = [number for number, owner in cluster.owners().items() if owner == "a"]
    times = [at for _, number, _, _, at in cluster.begun if number == stayed[0]]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert max(gaps) < 0.02


async def test_a_slow_event_of_a_leaver_holds_up_only_its_own_partition(
    make: Make, autojump_clock: MockClock
) -> None:
    cluster = make(pause=3.0, grace_period=5)
    async with cluster.worker("a"), trio.open_nursery() as nursery:
        async with cluster.worker("b") as leaver:
            await cluster.settles(a=8, b=8)
            slow = next(number for number, owner in cluster.owners().items() if owner == "b")
            batch = {slow: Batch((b"data",), [b'{"key":"a","n":0}'])}
            await cluster.broker.append(cluster.processor.stream.spec, batch)
            await trio.sleep(0.1)
            leaver.stop()
            await trio.sleep(0.1)
            assert cluster.counts() == {"a": 15, "b": 1}
            await trio.sleep(4)
            assert cluster.counts() == {"a": 16}
        nursery.cancel_scope.cancel()
    assert cluster.numbers(slow) == [0]


async def test_more_workers_than_partitions_stand_by_and_take_over_at_once(
    make: Make, autojump_clock: MockClock
) -> None:
    cluster = make()
    async with trio.open_nursery() as nursery:
        workers = []
        for n in range(SIZE + 2):
            worker = Worker(
                broker=MemoryBroker(store=cluster.store), processors=[cluster.processor], member=f"w{n:02}"
            )
            await nursery.start(worker.run)
            workers.append(worker)
        await cluster.settles(**{f"w{n:02}": 1 for n in range(SIZE)})
        workers[3].stop()
        left = trio.current_time()
        await cluster.settles(**{f"w{n:02}": 1 for n in range(SIZE + 1) if n != 3})
        assert trio.current_time() - left < 0.05
        nursery.cancel_scope.cancel()


async def test_what_a_living_member_does_not_give_up_is_asked_for_again_and_told_once(
    make: Make, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = make(assignment_attempts=3, assignment_sleep=5)
    spec, stubborn = cluster.processor.spec, MemoryBroker(store=cluster.store)
    await stubborn.beat(Beat(spec, "z", 1000, "{}"))
    granted = await stubborn.acquire(spec, "z", dict.fromkeys(range(SIZE)))

    def told() -> list[dict[str, Any]]:
        found = [x for x in caplog.records if getattr(x, "fact", "") == "still-held"]
        return [x.facts for x in found]  # type: ignore[attr-defined]

    async with trio.open_nursery() as nursery:
        worker = Worker(broker=cluster.broker, processors=[cluster.processor], member="a")
        nursery.start_soon(worker.run)
        await trio.sleep(9.9)
        assert told() == []
        await trio.sleep(0.2)
        assert told() == [{"processor": "handle", "partitions": 8, "by": ["z"]}]
        await trio.sleep(20)
        assert len(told()) == 1
        assert cluster.counts() == {"z": 16}
        released = trio.current_time()
        await stubborn.release(spec, [x.lease for x in granted if isinstance(x, Acquired)])
        await cluster.settles(**{"a": 8, "": 8})
        assert trio.current_time() - released < 0.05, "a release is heard, and not slept over"
        worker.stop()


async def test_with_a_join_delay_many_that_come_at_once_make_one_plan(
    make: Make, autojump_clock: MockClock
) -> None:
    cluster = make(join_delay=0.5)
    async with trio.open_nursery() as nursery:
        for name in "abcd":
            worker = Worker(
                broker=MemoryBroker(store=cluster.store), processors=[cluster.processor], member=name
            )
            nursery.start_soon(worker.run)
        await cluster.settles(a=4, b=4, c=4, d=4)
        epochs = {
            cluster.broker._log(cluster.processor.spec, n).lease(cluster.processor.spec).epoch
            for n in range(SIZE)
        }
        assert len(epochs) <= SIZE
        assert trio.current_time() == pytest.approx(0.5, abs=0.1)
        nursery.cancel_scope.cancel()


async def test_processors_on_one_stream_each_see_every_event_and_share_on_their_own(
    app: App, order: Any, autojump_clock: MockClock
) -> None:
    stream: Stream[Any] = app.stream("many", order, "key", partition_count=SIZE)
    seen: dict[str, list[int]] = {"one": [], "two": []}

    @app.processor(stream, lock_expiry=2)
    async def one(events: Any) -> None:
        async for record in events.records():
            seen["one"].append(record.n)

    @app.processor(stream, lock_expiry=2)
    async def two(events: Any) -> None:
        async for record in events.records():
            seen["two"].append(record.n)

    async with app.worker(processors=["one"]), app.worker(), app.session():
        await stream.send(*(order(key=str(n), n=n) for n in range(100)))
        await trio.sleep(5)
        async with app._shared.used() as broker:
            assert len((await broker.members(one.spec)).members) == 2
            assert len((await broker.members(two.spec)).members) == 1
    assert {name: sorted(numbers) for name, numbers in seen.items()} == {
        name: list(range(100)) for name in seen
    }
