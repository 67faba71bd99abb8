"""Servers without memory, partitions without room, and what operators do to logs, cursors and scripts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
from fault_bench import EXPIRY, MAX_UNACKED, PARTITIONS, Bench, Gate, kinds, pause
from fault_history import check_groups

from runnel_trio import ExceptionPolicy, StreamFull

Mutate = Callable[..., None]


def lost(caplog: pytest.LogCaptureFixture) -> int:
    """How many events were told to be lost."""
    told = [record for record in caplog.records if getattr(record, "fact", "") == "events-lost"]
    return sum(record.facts["count"] for record in told)  # type: ignore[attr-defined]


def seqs(bench: Bench) -> list[int]:
    """Of what was handled, where there is one key."""
    return [line.seq for line in bench.diary.handled()]


async def no_memory(bench: Bench) -> list[str]:
    """Row 21: the server has no memory left, for longer than a lease lasts."""
    async with (
        bench.producer() as producer,
        trio.open_nursery() as nursery,
        bench.app(work=pause(0.012)).worker(),
    ):
        await producer.send(400)
        bench.server.client.config_set("maxmemory", 1)
        nursery.start_soon(partial(producer.send, 20, batch=20))
        await trio.sleep(1.5 * EXPIRY)
        await bench.drained(6)  # before whoever sends gives up
        found = list(check_groups(bench.server.groups()))
        assert len(producer.acked) == 400, "who sends waits"
        bench.server.client.config_set("maxmemory", 0)
        await bench.until(lambda: len(producer.acked) == 420)
        await bench.drained()
    return found + await bench.verdict()


async def test_a_server_without_memory_is_drained_and_then_takes_what_waited(bench: Bench) -> None:
    assert await no_memory(bench) == []


async def test_gate_without_the_flag_a_server_without_memory_is_not_drained(
    bench: Bench, mutate: Mutate
) -> None:
    mutate("oom")
    assert "G" in kinds(await no_memory(bench))


async def full_partition(bench: Bench) -> list[str]:
    """Row 23: more is sent than a partition has room for, and nothing is handled for a while."""
    gate, longest = Gate(), 0
    async with (
        bench.producer(partition_size=50) as producer,
        bench.app(work=gate).worker(),
        trio.open_nursery() as nursery,
    ):
        gate.close()
        nursery.start_soon(partial(producer.send, 200, key="a"))
        with trio.move_on_after(0.5):
            await bench.until(lambda: len(producer.acked) > 50)
        waits = len(producer.acked) <= 50
        (key,) = [key for key in bench.server.logs().values() if bench.server.client.xlen(key)]
        longest = bench.server.client.xlen(key)
        gate.open()
        await bench.until(lambda: len(producer.acked) == 200)
        await bench.drained()
    crowded = [] if waits and longest <= 50 else [f"B {longest} where 50 have room, and nobody waits"]
    # What every processor has passed is trimmed, so the log does not have the whole story.
    return crowded + await bench.verdict(journal=False, order=False)


async def test_a_full_partition_makes_senders_wait_and_drops_nothing(bench: Bench) -> None:
    assert await full_partition(bench) == []
    assert [line.seq for line in bench.diary.handled()] == list(range(200))


async def test_gate_without_looking_for_room_a_partition_grows(bench: Bench, mutate: Mutate) -> None:
    mutate("room")
    assert "B" in kinds(await full_partition(bench))


async def test_a_group_that_nobody_works_for_refuses_for_ever_rather_than_lose(bench: Bench) -> None:
    async with bench.producer(partition_size=50, overflow="error") as producer, bench.app().worker():
        await producer.send(10, key="a")
        await bench.drained()
        (key,) = [key for key in bench.server.logs().values() if bench.server.client.xlen(key)]
        bench.server.client.xgroup_create(key, "dead", id="0")
        with pytest.raises(StreamFull):
            await producer.send(100, key="a")
        with pytest.raises(StreamFull):
            await producer.send(10, key="a")
        assert bench.server.client.xlen(key) == 50
        bench.server.client.xgroup_destroy(key, "dead")
        producer.acked.sort()
        await producer.send(1, key="a")
        await bench.drained()
    assert await bench.verdict(journal=False, order=False) == []


def trimmed(client: Any, key: str, xids: list[bytes]) -> None:
    client.xtrim(key, minid=xids[10], approximate=False)


def deleted(client: Any, key: str, xids: list[bytes]) -> None:
    client.xdel(key, *xids[:10])


def cleared(client: Any, key: str, xids: list[bytes]) -> None:
    client.xtrim(key, maxlen=0, approximate=False)


REMOVALS = pytest.mark.parametrize(("remove", "count"), [(trimmed, 10), (deleted, 10), (cleared, 60)])


@REMOVALS
async def test_what_others_remove_while_nobody_reads_is_counted_exactly(
    remove: Any, count: int, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    app = bench.app()
    async with bench.producer() as producer:
        async with app.worker():
            await producer.send(20, key="a")
            await bench.drained()
        await remove_ahead(bench, producer, remove)
        async with app.worker():
            await bench.until(lambda: lost(caplog) >= count)
            await producer.send(5, key="a")
            await bench.drained()
    left = [seq for seq in range(85) if not 20 <= seq < 20 + count]
    assert seqs(bench) == left
    assert lost(caplog) == count
    assert set(await bench.verdict(journal=False, order=False)) == {
        f"L {count} of 85 lost: {[('a', seq) for seq in range(20, 25)]}"
    }


@REMOVALS
async def test_what_others_remove_before_an_owner_at_work_has_read_it_is_counted_exactly(
    remove: Any, count: int, bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()
    async with bench.producer() as producer, bench.app(work=gate, prefetch_count=1).worker():
        await producer.send(20, key="a")
        await bench.drained()
        gate.close()
        await producer.send(1, key="a")
        await bench.until(lambda: gate.waiting)
        await remove_ahead(bench, producer, remove)
        gate.open()
        await bench.until(lambda: lost(caplog) >= count - 2)
        await producer.send(5, key="a")
        await bench.drained()
        await bench.until(lambda: len(seqs(bench)) + lost(caplog) == 86)
    assert seqs(bench) == sorted(set(seqs(bench)))
    assert count - 2 <= lost(caplog) <= count, "one can have been read ahead, and one be on its way"


async def remove_ahead(bench: Bench, producer: Any, remove: Any) -> None:
    """Send sixty more, and remove some of them before they can be read."""
    (key,) = [key for key in bench.server.logs().values() if bench.server.client.xlen(key)]
    last = bench.server.client.xinfo_stream(key)["last-generated-id"]
    bench.proxy.hold()
    await producer.send(60, key="a")
    remove(bench.server.client, key, [xid for xid, _ in bench.server.client.xrange(key, f"({last.decode()}")])
    bench.proxy.release()


def cursor_to(bench: Bench, place: int) -> None:
    """As an operator does: behind that many entries."""
    (key,) = [key for key in bench.server.logs().values() if bench.server.client.xlen(key)]
    xid, _ = bench.server.client.xrange(key, count=place)[-1]
    bench.server.client.xgroup_setid(key, "note", xid, entries_read=place)


async def test_an_idle_owner_goes_back_to_where_an_operator_sets_the_cursor(bench: Bench) -> None:
    async with bench.producer() as producer, bench.app().worker():
        await producer.send(40, key="a")
        await bench.drained()
        cursor_to(bench, 10)
        with trio.fail_after(60):  # with the next heartbeat
            await bench.handled(70)
        await bench.drained()
    assert seqs(bench) == [*range(40), *range(10, 40)]


@pytest.mark.parametrize("place", [10, 70], ids=["back", "ahead"])
async def test_an_owner_at_work_goes_to_where_an_operator_sets_the_cursor(place: int, bench: Bench) -> None:
    gate = Gate()
    async with bench.producer() as producer, bench.app(work=gate, prefetch_count=5).worker():
        await producer.send(40, key="a")
        await bench.drained()
        gate.close()
        await producer.send(40, key="a")
        await bench.until(lambda: gate.waiting)
        cursor_to(bench, place)
        gate.open()
        await bench.until(lambda: seqs(bench)[-(80 - place) :] == list(range(place, 80)))
    before = seqs(bench)[: -(80 - place)]
    assert before == list(range(len(before)))
    assert len(before) <= 40 + MAX_UNACKED + 1, "until the next commit"
    told = await bench.verdict(repeats=max(0, len(before) - place), journal=False, order=False)
    assert told == ([skipped(bench)] if place > len(before) else [])


def skipped(bench: Bench) -> str:
    """What the verdict says of the events that the operator left out."""
    missing = sorted(set(range(80)) - set(seqs(bench)))
    return f"L {len(missing)} of 80 lost: {[('a', seq) for seq in missing[:5]]}"


async def forgetting(bench: Bench) -> list[str]:
    """Row 26: the server forgets its scripts, again and again."""
    found: list[str] = []
    async with bench.producer() as producer:
        try:
            async with bench.app().worker(), trio.open_nursery() as nursery:
                nursery.start_soon(partial(producer.send, 1000, batch=5))
                for _ in range(300):
                    await trio.to_thread.run_sync(bench.server.client.script_flush)
                await bench.until(lambda: len(producer.acked) == 1000)
                await bench.drained()
        except* Exception as errors:
            found = [f"X {error}" for error in errors.exceptions]
    return found or await bench.verdict()


async def test_a_server_that_forgets_its_scripts_is_told_them_again(bench: Bench) -> None:
    assert await forgetting(bench) == []


async def test_gate_without_telling_again_a_forgotten_script_ends_the_worker(
    bench: Bench, mutate: Mutate
) -> None:
    mutate("noscript")
    found = await forgetting(bench)
    assert any("NOSCRIPT" in line or "No matching script" in line for line in found)


async def test_a_quarantine_outlives_server_and_worker_and_the_others_go_on(bench: Bench) -> None:
    async def work(order: Any) -> None:
        if (order.key, order.n) == ("a", 5):
            raise RuntimeError("never this one")

    app = bench.app(work=work, exception_policy=ExceptionPolicy.QUARANTINE)
    async with bench.producer() as producer:
        for _ in range(2):
            async with app.worker():
                await producer.send(240)
                await bench.until(lambda: list(bench.server.client.keys("*:quarantine:note")))
                await bench.until(lambda: others_are_done(bench))
            bench.server.kill()
            await bench.server.start()
    handled = {(line.key, line.seq) for line in bench.diary.handled()}
    assert ("a", 4) in handled
    assert ("a", 5) not in handled
    ((name,),) = [bench.server.client.keys("*:quarantine:note")]
    stands = int(name.partition(b"}")[0].rpartition(b":")[2])
    behind = {line.partition for line in bench.diary.handled() if line.seq >= 20}
    assert behind == set(range(PARTITIONS)) - {stands}


def others_are_done(bench: Bench) -> bool:
    """All partitions but one."""
    lags = [group["lag"] for groups in bench.server.groups().values() for group in groups]
    return lags.count(0) == PARTITIONS - 1
