"""A client of redis-py that somebody has made leads to the same server, group or cluster."""

from __future__ import annotations

from typing import Any

from fault_app import Order
from fault_server import Server
from fault_store import Store
from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel
from rig_cluster import Cluster
from rig_group import SERVICE, Group

from runnel_trio import App
from runnel_trio.testing import drained


async def works(store: Store, made: Any) -> None:
    """What is sent is handled, and stored there."""
    app, seen = App("faults", redis_factory=lambda: made, default_partition_count=4), []
    orders = app.stream("orders", Order, partition_by="key")

    @app.processor(orders, name="note")
    async def note(events: Any) -> None:
        async for order in events.records():
            seen.append((order.key, order.n))

    sent = [Order(key=key, n=n) for n in range(5) for key in "abcdefgh"]
    async with app.worker():
        await orders.send(*sent)
        await drained(app, within=20)
    assert sorted(seen) == sorted((order.key, order.n) for order in sent)
    assert sum(map(len, store.stored().values())) == len(sent)


async def test_a_client_of_one_server(server: Server) -> None:
    await works(server, Redis(port=server.port))


async def test_a_client_of_the_master_that_sentinels_name(group: Group) -> None:
    sentinels = Sentinel([("127.0.0.1", one.port) for one in group.sentinels])
    await works(group, sentinels.master_for(SERVICE))


async def test_a_client_of_a_cluster(cluster: Cluster) -> None:
    nodes = [ClusterNode("127.0.0.1", node.port) for node in cluster.nodes]
    await works(cluster, RedisCluster(startup_nodes=nodes))
