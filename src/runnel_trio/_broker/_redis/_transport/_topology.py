"""Which node has a key. One server, or the master of a group, is a cluster of one node.

A cluster is asked which node has which slots when it is opened, after a redirection, and after a node did not
answer; in between, what a redirection says is believed. Used from Trio and from the thread of heartbeats.

See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import attrs
import trio
from redis.crc import key_slot

from runnel_trio._broker._redis._transport._endpoint import Endpoint, Seeds
from runnel_trio._broker._redis._transport._errors import Redirected, translating
from runnel_trio._broker._redis._transport._scripts import Node
from runnel_trio._report._redaction import redacted
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, Misconfigured, RunnelError

__all__ = ["Topology", "slot_of"]

#: Seconds between two askings at least: a cluster that is changing is asked by everybody at once.
_PAUSE = 0.1
#: Seconds that one node may take to tell.
_PATIENCE = 1.0
#: The node of a server that is alone; where that is, its endpoint says.
_ALONE: Node = ("", 0)


@lru_cache(maxsize=1 << 17)
def slot_of(key: str) -> int:
    """The slot of a key: of what stands in its braces, if it has any.

    Example:
        >>> slot_of("runnel:{shop:3}:orders:log") == slot_of("{shop:3}")
        True
    """
    return key_slot(key.encode())


@attrs.define(eq=False)
class Topology:
    """The nodes and their slots.

    Attributes:
        clustered: whether keys are spread over nodes. If not, nothing ever changes here.
        nodes: the masters, in order of their first slots.
        limiter: for those who refresh from Trio.
    """

    _found: Endpoint | Seeds
    clustered: bool = attrs.field(init=False)
    nodes: tuple[Node, ...] = attrs.field(default=(), init=False)
    limiter: trio.CapacityLimiter = attrs.field(factory=lambda: trio.CapacityLimiter(1), init=False)
    _seeds: tuple[Node, ...] = attrs.field(default=(), init=False)
    _owners: dict[int, Node] = attrs.field(factory=dict, init=False)
    _endpoints: dict[Node, Endpoint] = attrs.field(factory=dict, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _stale: bool = attrs.field(init=False)
    _asked: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        if isinstance(self._found, Seeds):
            self._seeds = self._found.nodes
        else:
            self.nodes, self._endpoints = (_ALONE,), {_ALONE: self._found}
        self.clustered = self._stale = bool(self._seeds)

    @property
    def url(self) -> str:
        """Where they are, for people and for clients of their own."""
        return self._found.url

    @property
    def stale(self) -> bool:
        """Whether `refresh` would ask."""
        return self._stale and time.monotonic() - self._asked >= _PAUSE

    def endpoint(self, node: Node) -> Endpoint:
        """Where a node is."""
        found = self._endpoints.get(node)
        if found is None:
            host, port = node
            url = f"redis://{host}:{port}"
            address = {"host": host, "port": port}
            pool, timeout = self._found.pool, self._found.timeout
            found = Endpoint(url=url, pool=pool, address=address, timeout=timeout)
            found = self._endpoints.setdefault(node, found)
        return found

    def node_of(self, route: str | Node) -> Node:
        """The node that has a key's slot; of a node, itself; of nothing, any.

        Where nobody is known to have the slot, any: it will say who has it, or that nobody has.

        Raises:
            BrokerUnavailable: no node is known yet.
        """
        if not self.clustered:
            return _ALONE
        if not isinstance(route, str):
            return route
        owner = self._owners.get(slot_of(route)) if route else None
        if owner is None:
            if not self.nodes:
                raise BrokerUnavailable(f"{redacted(self.url)}: nothing is known about the cluster yet")
            return random.choice(self.nodes)
        return owner

    def suspect(self) -> None:
        """What is known may be wrong."""
        self._stale = self.clustered

    def redirected(self, error: Redirected, asked: Node) -> Node:
        """Believe a redirection; the node that it names.

        Raises:
            BrokerRefused: by a server that was taken to be alone.
        """
        if not self.clustered:
            raise BrokerRefused(f"{error}: the server belongs to a cluster: use redis+cluster://") from error
        host, port = error.node
        node = (host or asked[0], port)
        if not error.asking:
            self._owners[error.slot] = node
            self._stale = True
        return node

    def refresh(self) -> None:
        """Ask one node after the other, until one tells; where there is a need. It blocks.

        Raises:
            BrokerUnavailable: none tells.
            BrokerRefused: none lets us in.
            Misconfigured: they are no cluster.
        """
        with self._lock:
            if not self.stale:
                return
            known = list(self.nodes)
            random.shuffle(known)
            errors: list[RunnelError] = []
            for node in dict.fromkeys([*known, *self._seeds]):
                try:
                    self._learn(node, self._ask(node))
                except (BrokerUnavailable, BrokerRefused) as error:
                    errors.append(error)
                else:
                    self._asked, self._stale = time.monotonic(), False
                    return
            self._asked = time.monotonic()
        raise min(errors, key=lambda error: isinstance(error, BrokerUnavailable))

    def _ask(self, node: Node) -> Sequence[Any]:
        endpoint = self.endpoint(node)
        connection = attrs.evolve(endpoint, timeout=min(endpoint.timeout, _PATIENCE)).connect()
        try:
            with translating(endpoint.url):
                connection.send_command("CLUSTER", "SLOTS")
                answer: Sequence[Any] = connection.read_response(disable_decoding=True)
        except BrokerRefused as error:
            if "cluster support disabled" in str(error):
                raise Misconfigured(f"{endpoint.url} is no node of a cluster: use redis://") from error
            raise
        finally:
            connection.disconnect()
        if not answer:
            raise BrokerUnavailable(f"{endpoint.url} knows of no slots: the cluster is not complete yet")
        return answer

    def _learn(self, asked: Node, answer: Sequence[Any]) -> None:
        owners: dict[int, Node] = {}
        nodes: dict[Node, None] = {}
        for first, last, (host, port, *_), *_replicas in sorted(answer, key=lambda part: int(part[0])):
            node = (_name(host) or asked[0], int(port))
            nodes[node] = None
            owners.update(dict.fromkeys(range(int(first), int(last) + 1), node))
        self._owners, self.nodes = owners, tuple(nodes)


def _name(host: bytes | str | None) -> str:
    """A node that does not know its own name tells none, or a question mark."""
    name = host.decode() if isinstance(host, bytes) else host or ""
    return "" if name == "?" else name
