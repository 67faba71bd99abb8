"""A master with replicas and Sentinels: whoever is the master, readers, writers and heartbeats follow it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from fault_bench import MAX_UNACKED, PARTITIONS, Bench, Producer, pause
from fault_server import Server
from rig_cluster import until
from rig_group import SERVICE, Group, Sentinel

from runnel_trio import BrokerRefused, BrokerUnavailable, Misconfigured

Benches = Callable[[Any], Bench]
#: Seconds from the death of a master to the first event from the new one; the Sentinels alone need about two.
RECOVERY = 30.0
#: Seconds that a lease lasts where nobody is to lose one over what happens, however slow the machine is.
LONG = RECOVERY


@pytest.fixture
def bench(bench: Benches, group: Group) -> Bench:
    """Before the group."""
    return bench(group)


def fact_names(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged."""
    return [record.fact for record in caplog.records if hasattr(record, "fact")]


async def test_a_group_works_as_a_server_does(bench: Bench) -> None:
    async with bench.producer() as producer, bench.app("one").worker(), bench.app("two").worker():
        await producer.send(600)
        await bench.drained()
    assert await bench.verdict(journal=False) == []
    assert {line.owner for line in bench.diary.handled()} == {"one", "two"}


async def test_a_failover_in_which_nothing_is_lost(bench: Bench, group: Group) -> None:
    app = bench.app(work=pause(0.005), lock_expiry=LONG)
    async with bench.producer() as producer, app.worker():
        await producer.send(600)
        await bench.handled(60)
        owners = group.owners()
        await group.has_all(2)
        async with trio.open_nursery() as nursery:
            dead = group.master
            dead.kill()
            killed, before = trio.current_time(), bench.diary.count()
            nursery.start_soon(lambda: producer.send(240, pause=0.005))
            await group.replaced(dead)
            await until(producer_goes_on(producer, 600), RECOVERY)
            await bench.handled(before + PARTITIONS * MAX_UNACKED + 1)
            assert trio.current_time() - killed < RECOVERY
        assert group.owners() == owners, "nobody has lost anything over it"
        await bench.drained()
    assert await bench.verdict(journal=False, repeats=PARTITIONS * MAX_UNACKED) == []


def producer_goes_on(producer: Any, before: int) -> Callable[[], bool]:
    """Whether it was told that more is stored than before."""
    return lambda: len(producer.acked) > before


async def go_on(producer: Producer) -> None:
    """Send until it is enough; what another master has not got is told, and does not count as acknowledged."""
    while not producer.enough:
        with suppress(BrokerUnavailable):
            await producer.send(10_000, pause=0.01)


@pytest.mark.parametrize("replicas", [0, 2], ids=["sent", "on all replicas"])
async def test_a_failover_that_operators_ask_for(bench: Bench, group: Group, replicas: int) -> None:
    async with bench.producer() as producer, bench.app(work=pause(0.002), lock_expiry=3).worker():
        producer.replicas = replicas
        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on, producer)
            await bench.handled(120)
            await group.has_all(2)
            first = len(producer.acked)
            old = group.master
            await group.handed_over()
            await until(lambda: old.role() in {"replica", "syncing"})
            behind = len(producer.acked) + 10
            await until(lambda: len(producer.acked) > behind + 100)
            producer.enough = True
        await bench.drained()
    if not replicas:  # the old master takes writes until it hears of it, and then forgets them
        del producer.acked[first:behind]
    assert await bench.verdict(journal=False, order=False, repeats=2 * PARTITIONS * MAX_UNACKED) == []


@pytest.mark.parametrize("lanes", [1, 50])
async def test_after_a_failover_that_loses_writes_nothing_later_is_left_out(
    bench: Bench, group: Group, caplog: pytest.LogCaptureFixture, lanes: int
) -> None:
    """By a worker that has nothing to do while the master is replaced."""
    app = bench.app(lock_expiry=6, concurrency=lanes, max_unacked=50)
    async with bench.producer() as producer, app.worker():
        await producer.send_with_ids("a", 1, 30)
        await bench.drained()
        await group.has_all(2)
        group.part()
        await producer.send_with_ids("a", 31, 20)
        await bench.drained()
        lost = producer.acked[30:]
        dead = group.master
        dead.kill()
        await group.replaced(dead)
        # The same ids again, as a server without these entries may give them.
        with trio.fail_after(RECOVERY):
            await producer.send_with_ids("a", 31, 10)
            await bench.handled(60)
        await bench.drained()
        producer.acked = [entry for entry in producer.acked if entry not in lost]
    assert await bench.verdict(journal=False, order=False) == []
    assert "cursor-moved" in fact_names(caplog)


async def test_a_master_that_wakes_up_late_acknowledges_nothing_that_is_lost(
    bench: Bench, group: Group
) -> None:
    """What was on its way when it fell asleep it still takes; and is asked whether a replica has it."""
    for server in group.servers:
        server.client.config_set("min-replicas-to-write", 1)
        server.client.config_set("min-replicas-max-lag", 2)
    app = bench.app(work=pause(0.002), lock_expiry=8)
    async with bench.producer() as producer, app.worker():
        producer.replicas = len(group.replicas)  # whichever of them is promoted has it
        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_on, producer)
            await bench.handled(100)
            old = group.master
            old.freeze()
            await group.replaced(old)
            await trio.sleep(2)  # until no replica of the old one counts any more
            old.thaw()
            count = len(producer.acked)
            await until(lambda: len(producer.acked) > count + 200)
            producer.enough = True
        await bench.drained()
        await until(lambda: old.role() in {"replica", "syncing"})
    assert await bench.verdict(journal=False, repeats=PARTITIONS * MAX_UNACKED) == []


async def test_gate_what_fewer_replicas_have_than_may_be_promoted_is_lost(bench: Bench, group: Group) -> None:
    """It waits for one of two, and the other one becomes the master."""
    async with bench.producer() as producer:
        producer.replicas = len(group.replicas)
        await producer.send(24)
        (has_all, behind), dead = group.replicas, group.master
        dead.client.config_set("requirepass", "of nobody")  # who is in already stays in
        behind.client.execute_command("CLIENT", "KILL", "TYPE", "master")
        producer.replicas = 1
        await producer.send(24)
        assert len(producer.acked) == 48
        has_all.freeze()
        await until(lambda: all(sentinel.misses(has_all) for sentinel in group.sentinels))
        dead.kill()
        assert await group.replaced(dead) is behind
        assert sum(behind.client.xlen(key) for key in behind.client.keys("*:log")) == 24


async def test_the_sentinels_that_answer_are_enough(bench: Bench, group: Group) -> None:
    group.sentinels[0].kill()
    async with bench.producer() as producer, bench.app().worker():
        await producer.send(120)
        await bench.drained()
    assert await bench.verdict(journal=False) == []


async def test_a_service_that_no_sentinel_knows_is_named(bench: Bench, group: Group) -> None:
    with trio.fail_after(60), pytest.raises(Misconfigured, match="trains"):
        await bench.app(url=group.url.replace(SERVICE, "trains")).run()


async def test_another_database_of_the_group(bench: Bench, group: Group) -> None:
    url = f"{group.url}/3"
    async with bench.producer(url) as producer, bench.app(url=url).worker():
        await producer.send(40)
        await bench.handled(40)
    assert set(group.master.client.info("keyspace")) == {"db3"}


@pytest.fixture
async def guarded(server: Server, tmp_path: Path) -> Any:
    """The URL of a server and a Sentinel which both have passwords, and what the Sentinel's is."""
    server.client.config_set("requirepass", "p@ss:w/rd?#")
    more = f'sentinel auth-pass {SERVICE} "p@ss:w/rd?#"\nrequirepass "s&cret%"\n'
    sentinel = Sentinel(tmp_path / "sentinel", server.port, 1, more, requirepass="s&cret%")
    try:
        await sentinel.start()
        yield f"redis+sentinel://:p%40ss%3Aw%2Frd%3F%23@127.0.0.1:{sentinel.port}/{SERVICE}"
    finally:
        sentinel.end()


async def test_passwords_of_the_servers_and_of_the_sentinels(
    guarded: str, bench: Bench, server: Server
) -> None:
    bench.server = server
    url = f"{guarded}?sentinel_password=s%26cret%25"
    async with bench.producer(url) as producer, bench.app(url=url).worker():
        await producer.send(40)
        await bench.drained()
    assert await bench.verdict(journal=False) == []


async def test_sentinels_that_want_a_password_say_so(guarded: str, bench: Bench) -> None:
    with trio.fail_after(60), pytest.raises(BrokerRefused, match="sentinel_password"):
        await bench.app(url=guarded).run()
