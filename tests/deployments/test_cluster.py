"""A cluster of three masters: its slots move, its nodes freeze and die, and every key keeps its order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from fault_app import Order
from fault_bench import KEYS, MAX_UNACKED, PARTITIONS, Bench, Producer, pause
from rig_cluster import Cluster, Node

from runnel_trio import App, Misconfigured, NotReplicated

#: Of `faults`; that of 2 is never on the node of 3, the others move from test to test.
LOGS = [f"runnel:{{faults:{n}}}:orders:log" for n in range(PARTITIONS)]
MEMBERS = "runnel:{faults/orders/note}:members"

#: Seconds from the death of a master to events of its partitions; the nodes alone need about two.
RECOVERY = 30.0
#: Seconds that a lease lasts where nobody is to lose one over what happens, however slow the machine is.
LONG = RECOVERY

Benches = Callable[[Any], Bench]
Move = Callable[..., Awaitable[None]]


@pytest.fixture
def bench(bench: Benches, cluster: Cluster) -> Bench:
    """Before the cluster."""
    return bench(cluster)


def latest(bench: Bench) -> dict[int, int]:
    """Partition → how many of its events were handled."""
    counts: dict[int, int] = defaultdict(int)
    for line in bench.diary.handled():
        counts[line.partition] += 1
    return counts


async def goes_on(bench: Bench, *numbers: int) -> None:
    """Each of these partitions handles another event, and does not wait until a node has answered or not."""
    before = latest(bench)
    await bench.until(lambda: all(latest(bench)[n] > before[n] for n in numbers))


def key_in(number: int) -> str:
    """One of the producer's keys whose partition that is."""
    orders = App("faults", redis_url="memory://", default_partition_count=PARTITIONS).stream(
        "orders", Order, partition_by="key"
    )
    return next(key for key in KEYS if orders.partition_of(Order(key=key, n=0)) == number)


async def test_two_workers_share_what_lies_on_several_nodes(bench: Bench, cluster: Cluster) -> None:
    async with bench.producer() as producer, bench.app("one").worker(), bench.app("two").worker():
        await producer.send(600)
        await bench.drained()
    assert await bench.verdict(journal=False) == []
    assert len({cluster.owner(log) for log in LOGS}) > 1, "of several nodes"
    assert {line.owner for line in bench.diary.handled()} == {"one", "two"}


async def test_a_worker_that_is_killed_is_replaced(bench: Bench) -> None:
    child = bench.child("after_handler:40")
    async with bench.producer() as producer:
        await producer.send(120)
        await child.frozen()
        child.kill()
        async with bench.app().worker():
            await producer.send(120)
            await bench.drained()
    assert await bench.verdict(journal=False, repeats=PARTITIONS * MAX_UNACKED) == []


@pytest.mark.parametrize("what", [LOGS[0], MEMBERS], ids=["log", "members"])
@pytest.mark.parametrize("move", [Cluster.move, Cluster.move_at_once], ids=["by_key", "at_once"])
async def test_a_slot_moves_while_all_write_and_read(
    move: Move, what: str, bench: Bench, cluster: Cluster
) -> None:
    slowly = {"slowly": 0.05} if move is Cluster.move else {}
    app = bench.app(work=pause(0.002), lock_expiry=LONG)
    async with bench.producer() as producer, app.worker(), trio.open_nursery() as nursery:
        nursery.start_soon(lambda: producer.send(600, pause=0.01))
        await bench.handled(60)
        owners = cluster.owners()
        for target in cluster.others(cluster.owner(what)):
            await move(cluster, what, target, **slowly)
            await goes_on(bench, *range(PARTITIONS))
        assert cluster.owners() == owners, "nobody has lost anything over it"
        await bench.drained()
    assert await bench.verdict(journal=False) == []


async def test_a_reader_that_waits_follows_its_partition(bench: Bench, cluster: Cluster) -> None:
    async with bench.producer() as producer, bench.app(lock_expiry=LONG, read_timeout=100_000).worker():
        await producer.send(120)
        await bench.drained()
        (target, *_) = cluster.others(cluster.owner(LOGS[1]))
        await cluster.move(LOGS[1], target)
        await producer.send(1, key=key_in(1))
        await bench.until(lambda: bench.diary.count() == 121)
        await bench.drained()
    assert await bench.verdict(journal=False) == []


async def test_what_is_wanted_on_a_replica_is_there_or_it_is_told(bench: Bench, cluster: Cluster) -> None:
    _, replica = await cluster.backed(LOGS[2])
    app = bench.app(work=pause(0.001), lock_expiry=LONG, commit_replicas=1, max_unacked=5)
    async with bench.producer() as producer, app.worker():
        producer.replicas = 1
        await producer.send(20, key=key_in(2))
        assert len(producer.acked) == 20, "sends are confirmed"
        await bench.until(lambda: cluster.lag() == 0)
        replica.freeze()
        producer.replicas = 0
        await producer.send(20, key=key_in(2))
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert bench.diary.count() <= 25, "no more than max_unacked that the replica does not have"
        replica.thaw()
        await bench.handled(40)
        await bench.until(lambda: cluster.lag() == 0)
    assert await bench.verdict(journal=False) == []
    elsewhere = App("elsewhere", redis_url=cluster.url).stream("strewn", Order, partition_by="key")
    with pytest.raises(NotReplicated, match="0 of 1 replica"):
        await elsewhere.send(*(Order(key=key, n=0) for key in KEYS), wait_replicas=1, within=0.3)


def on(cluster: Cluster, node: Node) -> tuple[list[int], list[int]]:
    """The partitions of a node, and all others."""
    its = [n for n in range(PARTITIONS) if cluster.owner(LOGS[n]) is node]
    others = [n for n in range(PARTITIONS) if n not in its]
    assert others, "there are some"
    return its, others


async def queue(producer: Producer, key: str) -> None:
    """Send to one partition, a little at a time, until there is enough."""
    while not producer.enough:
        await producer.send(1, key=key, pause=0.02)


async def test_a_master_is_killed_and_its_replica_takes_its_place(bench: Bench, cluster: Cluster) -> None:
    """One that has partitions, and what the members of the processor tell each other."""
    dead, _ = await cluster.backed(LOGS[2], MEMBERS)
    lost, others = on(cluster, dead)
    app = bench.app(work=pause(0.005), lock_expiry=LONG)
    async with bench.producer() as producer, app.worker(), trio.open_nursery() as nursery:
        await producer.send(120)
        await bench.drained()
        assert dead.client.wait(1, 1000) == 1, "the replica has it all"
        before, slots = latest(bench), dead.slots()

        def served_again() -> bool:
            return any(slots <= node.slots() for node in cluster.others(dead))

        dead.kill()
        killed = trio.current_time()
        for number in range(PARTITIONS):
            nursery.start_soon(queue, producer, key_in(number))
        turns = 0
        while not await trio.to_thread.run_sync(served_again):
            await goes_on(bench, *others)
            turns += 1
        assert turns > 2, "they have not waited for that"
        await bench.until(lambda: all(latest(bench)[n] > before[n] for n in lost), RECOVERY)
        assert trio.current_time() - killed < RECOVERY
        producer.enough = True
        await bench.drained()
    # What the dead node had not told its replica of, if anything: commits, never events.
    assert await bench.verdict(journal=False, repeats=len(lost) * MAX_UNACKED) == []


async def test_a_node_that_stands_still_holds_up_its_own_partitions_only(
    bench: Bench, cluster: Cluster
) -> None:
    frozen = cluster.owner(LOGS[2])
    stuck, others = on(cluster, frozen)
    for node in cluster.nodes:
        node.client.config_set("cluster-replica-no-failover", "yes")
    app = bench.app(work=pause(0.002), lock_expiry=LONG)
    async with bench.producer() as producer, app.worker(), trio.open_nursery() as nursery:
        await producer.send(120)
        await bench.drained()
        before = latest(bench)
        frozen.freeze()
        for number in range(PARTITIONS):
            nursery.start_soon(queue, producer, key_in(number))
        while not await trio.to_thread.run_sync(cluster.misses, frozen):
            await goes_on(bench, *others)
        await goes_on(bench, *others)
        assert [latest(bench)[n] for n in stuck] == [before[n] for n in stuck]
        frozen.thaw()
        await goes_on(bench, *range(PARTITIONS))
        producer.enough = True
        await bench.drained()
    assert await bench.verdict(journal=False) == []


async def test_scripts_that_one_node_forgets_are_told_again(bench: Bench, cluster: Cluster) -> None:
    async with bench.producer() as producer, bench.app(work=pause(0.001)).worker():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: producer.send(400, pause=0.005))
            for turn in range(20):
                await bench.handled(20 * turn)
                cluster.nodes[turn % 3].client.script_flush()
        await bench.drained()
    assert await bench.verdict(journal=False) == []


async def test_one_node_that_answers_is_enough_to_begin_with(bench: Bench, cluster: Cluster) -> None:
    url = f"redis+cluster://127.0.0.1:1,127.0.0.1:{cluster.nodes[1].port}"
    async with bench.producer(url) as producer, bench.app(url=url).worker():
        await producer.send(120)
        await bench.drained()
    assert await bench.verdict(journal=False) == []


async def test_a_cluster_has_one_database(bench: Bench, cluster: Cluster) -> None:
    with trio.fail_after(60), pytest.raises(Misconfigured, match="database"):
        await bench.app(url=f"{cluster.url}/1").run()


async def test_a_server_alone_is_no_cluster(bench: Bench, server: Any) -> None:
    url = f"redis+cluster://127.0.0.1:{server.port}"
    with trio.fail_after(60), pytest.raises(Misconfigured, match="cluster"):
        await bench.app(url=url).run()


async def test_a_node_named_as_a_server_alone_is_refused_with_the_right_url(
    bench: Bench, cluster: Cluster
) -> None:
    url = f"redis://127.0.0.1:{cluster.nodes[0].port}"
    with trio.fail_after(60), pytest.raises(Misconfigured, match=r"redis\+cluster://"):
        await bench.app(url=url).run()
