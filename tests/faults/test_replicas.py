"""What is wanted on replicas is there before it counts, and it is told when it is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from fault_app import Order
from fault_bench import Bench
from fault_server import Server

from runnel_trio import App, NotReplicated, Stream


@pytest.fixture
async def replica(bench: Bench, tmp_path: Path) -> AsyncIterator[Server]:
    """A replica of the bench's server, linked to it."""
    replica = Server(tmp_path / "replica")
    try:
        await replica.start()
        replica.client.replicaof("127.0.0.1", bench.server.port)
        await bench.until(lambda: replica.client.info("replication")["master_link_status"] == "up")
        yield replica
    finally:
        replica.end()


def orders_of(app: App) -> Stream[Order]:
    return app.stream("orders", Order, partition_by="key")


def some(count: int) -> list[Order]:
    return [Order(key=f"k{n % 7}", n=n) for n in range(count)]


async def test_a_send_returns_when_replicas_have_it(bench: Bench, replica: Server) -> None:
    orders = orders_of(App("faults", redis_url=bench.server.url, default_partition_count=4))
    await orders.send(*some(50), wait_replicas=1, within=60)
    assert sum(replica.client.xlen(key) for key in replica.logs().values()) == 50


async def test_a_send_that_replicas_do_not_have_in_time_says_so_and_is_stored(
    bench: Bench, replica: Server
) -> None:
    orders = orders_of(App("faults", redis_url=bench.server.url, default_partition_count=4))
    await orders.send(*some(10), wait_replicas=1, within=60)
    replica.freeze()
    with pytest.raises(
        NotReplicated, match=r"orders: the records are stored, but only 0 of 1 replica"
    ) as caught:
        await orders.send(*some(10), wait_replicas=1, within=0.3)
    assert (caught.value.wanted, caught.value.reached) == (1, 0)
    assert sum(map(len, bench.server.stored().values())) == 20
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: orders.send(*some(1), wait_replicas=1, within=60))
        await trio.testing.wait_all_tasks_blocked(0.05)
        await orders.send(*some(5))  # others are not held up
        assert sum(map(len, bench.server.stored().values())) == 26
        replica.thaw()


async def test_more_replicas_than_there_are_is_told_how_many_have_it(bench: Bench, replica: Server) -> None:
    orders = orders_of(App("faults", redis_url=bench.server.url, default_partition_count=4))
    with pytest.raises(NotReplicated) as caught:
        await orders.send(*some(10), wait_replicas=3, within=0.3)
    assert caught.value.reached == 1
    with pytest.raises(NotReplicated):
        await trio.to_thread.run_sync(lambda: orders.send_sync(*some(1), wait_replicas=3, within=0.3))


async def test_commits_count_when_replicas_have_them(
    bench: Bench, replica: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runnel_trio._worker._member._committer._MISSED", 0.2)
    app = App("faults", redis_url=bench.server.url, default_partition_count=1, default_commit_replicas=1)
    orders, seen = orders_of(app), []

    @app.processor(orders, max_unacked=5, lock_expiry=5)
    async def note(events: object) -> None:
        async for order in events.records():  # type: ignore[attr-defined]
            seen.append(order.n)

    async with app.worker():
        await orders.send(*some(10))
        await bench.until(lambda: bench.server.lag() == 0)
        replica.freeze()
        await orders.send(*some(50))
        await bench.until(lambda: "not-replicated" in caplog.text)
        assert 10 <= len(seen) <= 15, "no more than max_unacked that no replica knows of"
        replica.thaw()
        await bench.until(lambda: bench.server.lag() == 0)
    assert seen == [*range(10), *range(50)]
