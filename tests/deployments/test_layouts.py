"""A stream on a cluster gets other partitions: no step of that touches two nodes, and order holds."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
import trio
from rig_cluster import Cluster

from runnel_trio import App, Misconfigured, Record
from runnel_trio._operate._repartition import Repartition
from runnel_trio.middleware import Dead, DeadLetterMiddleware
from runnel_trio.testing import drained


class Tick(Record):
    key: int
    n: int


async def test_partitions_change_on_a_cluster_under_load(cluster: Cluster) -> None:
    app = App("moved", redis_url=cluster.url, default_partition_count=4, default_lock_expiry=2)
    ticks = app.stream("ticks", Tick, partition_by="key")
    letters = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid", partition_count=16))
    seen: dict[int, list[int]] = defaultdict(list)
    layouts: set[int] = set()

    @app.processor(ticks, middleware=[letters])
    async def handle(events: Any) -> None:
        async for tick in events.records():
            layouts.add(events.partition.layout)
            seen[tick.key].append(tick.n)
            assert tick.n % 50, "a letter"

    async def send() -> None:
        for n in range(200):
            await ticks.send(*(Tick(key=key, n=n) for key in range(12)))
            await trio.sleep(0.005)

    with trio.fail_after(60):
        async with app.worker(), app._shared.used() as broker, trio.open_nursery() as nursery:
            nursery.start_soon(send)
            for count in (16, 4):
                await trio.sleep(0.2)
                change = Repartition(broker, ticks.declared_spec)
                await change.begin(count)
                while not await change.finish(await change.look()):
                    await trio.sleep(0.05)
        async with app.worker():
            await drained(handle, within=60)
        assert len(await letters.letters()) == 4 * 12
    assert seen == {key: list(range(200)) for key in range(12)}
    assert layouts == {1, 2, 3}


async def test_dead_letters_must_find_their_partition_on_the_node_of_the_event(cluster: Cluster) -> None:
    app = App("moved", redis_url=cluster.url, default_partition_count=4)
    ticks = app.stream("ticks", Tick, partition_by="key")
    sink = app.stream("dead", Dead, partition_by="xid", partition_count=4)

    @app.processor(ticks, middleware=[DeadLetterMiddleware(sink)])
    async def handle(events: Any) -> None: ...

    async with app._shared.used() as broker, app.operator() as op:
        for stream in (ticks, sink):
            await broker.declare(stream.declared_spec)
        with pytest.raises(Misconfigured, match="Give it 16 first"):
            await op.repartition("ticks").layouts(16)
        with pytest.raises(Misconfigured, match="fewer partitions than <Stream moved.ticks"):
            await op.repartition("dead").layouts(2)
        await broker.repartition(sink.spec, 16)
        await op.repartition("ticks").layouts(16)
