"""What the matrix has found, each reduced to its smallest case."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from fault_bench import EXPIRY, Bench, pause
from fault_servers import deleted, flushed

from runnel_trio import App, BrokerRefused
from runnel_trio._broker import open_broker
from runnel_trio._broker._redis._broker import RedisBroker
from runnel_trio._broker._values import Acquired, Batch, ServerConfig
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._committer import Committer


async def test_what_is_handled_right_after_a_refused_commit_is_committed_too(
    autojump_clock: trio.testing.MockClock, app: App, orders: Any
) -> None:
    @app.processor(orders)
    async def note(events: Any) -> None:
        """Only its name is needed."""

    async with open_broker(ServerConfig("memory://")) as broker, trio.open_nursery() as nursery:
        await broker.append(orders.spec, {0: Batch((b"data",), (b"1", b"2"))})
        entries = await broker.entries(orders.spec, 0)
        committer = Committer(broker=broker, processor=note.spec)
        backlogs = []
        for _ in range(2):  # the partition, and the same again
            (granted,) = await broker.acquire(note.spec, "me", {0: None})
            assert isinstance(granted, Acquired)
            backlog = Backlog(capacity=9, position=b"0-0", committed=b"0-0", lease=granted.lease)
            backlog.offer(entries)
            backlog.take()
            backlog.done(0)
            backlogs.append(backlog)
        lost, successor = backlogs
        committer.mark(lost)
        lost.lose()
        committer.mark(successor)
        nursery.start_soon(committer.run)
        await trio.sleep(60)
        nursery.cancel_scope.cancel()
    assert successor.unacknowledged == 0


def facts(caplog: pytest.LogCaptureFixture) -> set[str]:
    return {getattr(record, "fact", "") for record in caplog.records}


@pytest.mark.parametrize("lose", [flushed, deleted])
async def test_a_loss_that_a_commit_meets_before_a_heartbeat_does_is_told(
    lose: Any, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    async with bench.producer() as producer, bench.app(lock_expiry=30).worker():
        await producer.send(60)
        await bench.drained()
        await lose(bench.server)
        await producer.send(60)
        await bench.drained()
    assert {"cursor-gone", "cursor-moved", "log-rewritten"} & facts(caplog)


async def test_a_worker_that_the_server_refuses_ends_without_waiting_for_what_cannot_be(
    bench: Bench,
) -> None:
    began = trio.current_time()
    async with bench.producer() as producer:
        with pytest.raises(BrokerRefused):
            async with bench.app(work=pause(0.002), grace_period=30).worker():
                await producer.send(100)
                await bench.handled(20)
                bench.server.client.acl_setuser("default", enabled=True, commands=["-evalsha", "-eval"])
                await trio.sleep_forever()
    assert trio.current_time() - began < 25


async def test_a_commit_whose_answer_is_late_is_not_taken_for_an_operators_doing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    examine, commit = RedisBroker.log_states, RedisBroker.commit
    asked, committed, known = trio.Event(), trio.Event(), trio.Event()

    async def late_to_leave(self: RedisBroker, *arguments: Any) -> Any:
        asked.set()
        await committed.wait()
        return await examine(self, *arguments)

    async def late_to_arrive(self: RedisBroker, *arguments: Any) -> Any:
        outcomes = await commit(self, *arguments)
        committed.set()
        await known.wait()
        return outcomes

    async with bench.producer() as producer, bench.app().worker():
        await producer.send(20, key="a")
        await bench.drained()
        monkeypatch.setattr(RedisBroker, "log_states", late_to_leave)
        await asked.wait()  # with the next heartbeat
        monkeypatch.setattr(RedisBroker, "commit", late_to_arrive)
        await producer.send(1, key="a")
        with trio.move_on_after(EXPIRY / 2):
            while "cursor-moved" not in facts(caplog):
                await trio.sleep(0.01)
        known.set()
        await bench.drained()
    assert "cursor-moved" not in facts(caplog)
