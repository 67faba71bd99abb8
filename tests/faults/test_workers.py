"""Workers that are killed, frozen, stopped and replaced, at the worst moments there are."""

from __future__ import annotations

import signal
import time

import pytest
import trio
from fault_bench import EXPIRY, MAX_UNACKED, PARTITIONS, Bench, Child, Gate, kinds, pause
from fault_history import Journal, Move

POINTS = ["before_handler", "after_handler", "before_commit", "after_commit"]


def holders(bench: Bench) -> set[str]:
    """Who owns anything."""
    return {owner for owner, _ in bench.server.owners().values() if owner}


async def joined(bench: Bench, child: Child) -> str:
    """Until it owns everything; by which name."""
    await bench.until(lambda: len(bench.server.owners()) == PARTITIONS)
    (name,) = holders(bench)
    return name


async def shared(bench: Bench, first: str) -> None:
    """Until it has given half of it away."""

    def half() -> bool:
        owners = [owner for owner, _ in bench.server.owners().values()]
        return owners.count(first) == PARTITIONS // 2 and "" not in owners

    await bench.until(half)


async def without(bench: Bench, lost: str) -> None:
    """Until others own everything."""
    await bench.until(lambda: not {lost, ""} & {owner for owner, _ in bench.server.owners().values()})


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_that_is_killed_at_any_point_is_replaced_and_nothing_is_lost(
    point: str, bench: Bench
) -> None:
    victim = bench.child(f"{point}:30")
    async with bench.producer() as producer:
        await producer.send(12)
        name = await joined(bench, victim)
        async with bench.app(work=pause(0.001)).worker():
            await shared(bench, name)
            await producer.send(400)
            await victim.frozen()
            victim.kill()
            began = trio.current_time()
            await without(bench, name)
            assert trio.current_time() - began < 10 * EXPIRY
            await producer.send(40)
            await bench.drained()
    assert await bench.verdict(repeats=PARTITIONS // 2 * MAX_UNACKED) == []


async def zombie(bench: Bench, point: str, mutants: str = "") -> list[str]:
    """Row 2: a worker is frozen until it is replaced, and wakes up while its successor is at work."""
    gate, frozen = Gate(), bench.child(f"{point}:30", mutants=mutants)
    async with bench.producer() as producer:
        await producer.send(12)
        name = await joined(bench, frozen)
        async with bench.app(work=gate).worker():
            await shared(bench, name)
            await producer.send(400)
            await frozen.frozen()
            gate.close()
            commits = len(bench.diary.commits())
            await without(bench, name)
            seen = len(bench.diary.handled())
            frozen.signal(signal.SIGCONT)
            if point.endswith("_commit"):
                await bench.until(lambda: len(bench.diary.commits()) > commits)
            frozen.signal(signal.SIGTERM)
            assert await frozen.ended() == 0, frozen.log.read_text()
            late = [line for line in bench.diary.handled()[seen:] if line.owner == str(frozen.pid)]
            assert len(late) == len({line.partition for line in late}), "what was in hand, at most"
            gate.open()
            await bench.drained()
    return await bench.verdict(repeats=PARTITIONS // 2 * MAX_UNACKED)


@pytest.mark.parametrize("point", POINTS)
async def test_a_worker_that_is_frozen_at_any_point_for_longer_than_its_lease_does_no_harm(
    point: str, bench: Bench
) -> None:
    assert await zombie(bench, point) == []
    if point == "before_commit":
        assert "fenced" in {commit.outcome for commit in bench.diary.commits()}


async def test_gate_without_fence_a_frozen_worker_commits_for_its_successor(bench: Bench) -> None:
    assert "S" in kinds(await zombie(bench, "before_commit", "fence,number"))


async def test_a_worker_whose_handler_holds_up_trio_beyond_the_stall_limit_is_replaced(bench: Bench) -> None:
    gate = Gate()
    stalled = bench.child(RUNNEL_STALL_LIMIT="1.5", FAULT_BLOCK="5")
    async with bench.producer() as producer:
        await producer.send(12)
        name = await joined(bench, stalled)
        async with bench.app(work=gate).worker():
            await shared(bench, name)
            epochs = {epoch for owner, epoch in bench.server.owners().values() if owner == name}
            gate.close()
            await producer.send(400)
            await without(bench, name)
            assert "stall-limit" in stalled.log.read_text()
            seen, commits = len(bench.diary.handled()), len(bench.diary.commits())
            moved = set(Journal.read(bench.server.journals).moves)
            await bench.until(lambda: "stall-over" in stalled.log.read_text())
            await bench.until(lambda: len(bench.diary.handled()) > seen)
            late = [line.partition for line in bench.diary.handled()[seen:] if line.epoch in epochs]
            assert len(late) == len(set(late)), "what was in hand, at most"
            # It has heard that it was removed, or its commit is refused, whichever comes first. One that was
            # made before that, and whose answer waited for the handler, is told late.
            tried = {
                commit.outcome
                for commit in bench.diary.commits()[commits:]
                if commit.epoch in epochs and Move(commit.partition, commit.epoch, commit.last) not in moved
            }
            assert tried <= {"fenced"}
            gate.open()
            await shared(bench, name)  # it is back by itself
            await bench.drained()
    assert await bench.verdict(repeats=PARTITIONS // 2 * MAX_UNACKED) == []


STOPS = [*((point, signal.SIGTERM) for point in [*POINTS, "idle"]), ("after_handler", signal.SIGINT)]


@pytest.mark.parametrize(("point", "number"), STOPS, ids=lambda value: str(getattr(value, "name", value)))
async def test_a_worker_that_is_told_to_stop_at_any_point_gives_everything_back_at_once(
    point: str, number: signal.Signals, bench: Bench
) -> None:
    child = bench.child(f"{point}:30", RUNNEL_DEFAULT_LOCK_EXPIRY="30")
    async with bench.producer() as producer:
        await producer.send(400 if point != "idle" else 40)
        if point == "idle":
            await bench.until(lambda: bench.done() and bench.diary.count() == 40)
        else:
            await child.frozen()
        child.signal(number)
        child.signal(signal.SIGCONT)
        assert await child.ended(25) == 0, child.log.read_text()
        assert holders(bench) == set()
        began = trio.current_time()
        async with bench.app().worker():
            assert trio.current_time() - began < 15, "that is not at the end of the leases"
            await producer.send(40)
            await bench.drained()
    assert await bench.verdict() == []


async def test_workers_that_start_at_the_same_moment_share_and_none_takes_anothers(bench: Bench) -> None:
    apps = [bench.app(f"{n}", work=pause(0.001)) for n in range(4)]
    async with bench.producer() as producer, trio.open_nursery() as nursery:
        workers = []

        async def run(app: object) -> None:
            workers.append(await nursery.start(app.run))  # type: ignore[attr-defined]

        for app in apps:
            nursery.start_soon(run, app)
        await producer.send(400)
        await bench.until(lambda: len(workers) == 4)
        await bench.drained()
        epochs = Journal.read(bench.server.journals).starts
        assert len(epochs) <= 4 * PARTITIONS, "nobody takes to and fro"
        for worker in workers:
            worker.stop()
    assert await bench.verdict() == []


async def test_six_workers_are_replaced_one_by_one_under_load(bench: Bench) -> None:
    async with bench.producer() as producer, trio.open_nursery() as nursery:
        workers = [
            await nursery.start(bench.app(f"{n}", work=pause(0.002), lock_expiry=4).run) for n in range(6)
        ]
        for n in range(6):
            await producer.send(120)
            workers.pop(0).stop()
            workers.append(await nursery.start(bench.app(f"{n + 6}", work=pause(0.002), lock_expiry=4).run))
        await bench.drained()
        epochs = Journal.read(bench.server.journals).starts
        assert len(epochs) <= 12 * PARTITIONS, "nobody takes to and fro"
        for worker in workers:
            worker.stop()
    assert await bench.verdict() == []


@pytest.mark.parametrize("jump", [3600, -3600])
async def test_a_worker_whose_clock_is_set_does_not_notice(
    jump: int, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = time.time
    async with bench.producer() as producer, bench.app(work=pause(0.002)).worker():
        await producer.send(200)
        await bench.handled(50)
        owners = bench.server.owners()
        monkeypatch.setattr(time, "time", lambda: right() + jump)
        await trio.sleep(EXPIRY)  # some heartbeats
        await producer.send(200)
        await bench.drained()
        assert bench.server.owners() == owners
    assert await bench.verdict() == []
