"""Clients of redis-py: one that somebody has made leads an app to its servers, and an app makes one that leads there."""

from __future__ import annotations

import gc
import warnings
from typing import Any

import pytest
import trio
from fault_app import Order
from fault_server import Server
from fault_store import Store
from redis import Redis
from redis.cluster import ClusterNode, RedisCluster
from redis.sentinel import Sentinel
from rig_cluster import Cluster
from rig_group import SERVICE, Group

from runnel_trio import App, BrokerUnavailable, Misconfigured
from runnel_trio.testing import drained


def sweep() -> None:
    """redis-py's own clients leave connections to Sentinels, and the first ones to a cluster, to the collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


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
        await drained(app, within=60)
        assert app.redis_client() is made
    made.close()
    sweep()
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


async def of_their_own(store: Store, url: str, kind: type[Any]) -> None:
    """What an app's own client writes is there."""
    app = App("faults", redis_url=url)
    async with app.session():
        redis = await trio.to_thread.run_sync(app.redis_client)
        assert type(redis) is kind
        await trio.to_thread.run_sync(redis.set, "mine", "kept")
        redis.close()
        del redis
    sweep()
    assert b"kept" in [client.get("mine") for client in store.clients if client.keys("mine")]


async def test_a_client_of_your_own_for_one_server(server: Server) -> None:
    await of_their_own(server, server.url, Redis)


async def test_a_client_of_your_own_for_a_master(group: Group) -> None:
    await of_their_own(group, group.url, Redis)


async def test_a_client_of_your_own_for_a_cluster(cluster: Cluster) -> None:
    url = cluster.url.replace("//", "//127.0.0.1:1,")  # a node that is away
    await of_their_own(cluster, url, RedisCluster)


async def test_without_a_server_there_is_no_client() -> None:
    app = App("faults", redis_url="memory://")
    with pytest.raises(BrokerUnavailable, match="not connected"):
        app.redis_client()
    async with app.session():
        with pytest.raises(Misconfigured, match="no server"):
            app.redis_client()
