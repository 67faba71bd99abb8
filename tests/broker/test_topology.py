"""Which node has a key: always the same, where there is one server."""

from __future__ import annotations

import pytest

from runnel_trio._broker._redis._transport._endpoint import Endpoint, resolve
from runnel_trio._broker._redis._transport._errors import Redirected
from runnel_trio._broker._redis._transport._topology import Topology, slot_of
from runnel_trio._broker._values import ServerConfig
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable

ONE = "redis://127.0.0.1:1"
KEY, ELSEWHERE = "runnel:{shop:3}:orders:log", ("b", 7002)


def topology(url: str) -> Topology:
    return Topology(resolve(ServerConfig(url)))


def redirected(*, asking: bool) -> Redirected:
    return Redirected("redirected", slot_of(KEY), ELSEWHERE, asking=asking)


@pytest.mark.parametrize("url", [ONE, "redis+sentinel://127.0.0.1:1/main"])
def test_one_server_has_every_key_and_is_never_asked(url: str) -> None:
    one = topology(url)
    (node,) = one.nodes
    assert [one.node_of(x) for x in (KEY, "{other}", "", ELSEWHERE)] == [node] * 4
    assert isinstance(one.endpoint(node), Endpoint)
    assert one.endpoint(node).url == one.url == url
    one.suspect()
    assert not one.stale
    one.refresh()  # would fail, if it asked
    assert not one.clustered


@pytest.mark.parametrize("asking", [True, False])
def test_one_server_that_names_another_belongs_to_a_cluster(*, asking: bool) -> None:
    one = topology(ONE)
    with pytest.raises(BrokerRefused, match=r"belongs to a cluster: use redis\+cluster"):
        one.redirected(redirected(asking=asking), one.nodes[0])


def test_of_a_cluster_nothing_is_known_until_it_was_asked() -> None:
    cluster = topology("redis+cluster://a:7001,b:7002")
    assert cluster.clustered
    assert cluster.stale
    with pytest.raises(BrokerUnavailable, match="nothing is known"):
        cluster.node_of(KEY)
    assert cluster.node_of(ELSEWHERE) == ELSEWHERE
    assert cluster.endpoint(ELSEWHERE).url == "redis://b:7002"


def test_a_redirection_is_believed_but_not_one_for_this_once() -> None:
    cluster = topology("redis+cluster://a:7001,b:7002")
    cluster._learn(("a", 7001), [[0, 16383, [b"a", 7001, b"id"]]])
    assert cluster.redirected(redirected(asking=True), ("a", 7001)) == ELSEWHERE
    assert cluster.node_of(KEY) == ("a", 7001)
    assert cluster.redirected(redirected(asking=False), ("a", 7001)) == ELSEWHERE
    assert cluster.node_of(KEY) == ELSEWHERE
    assert cluster.node_of("{other}") == ("a", 7001)
