"""Calls on their way through a cluster: each to the node that has its key, or to the next one.

Heartbeats, senders and batches of commands are built on it, and do not see how many nodes there are.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Sequence
from typing import Any

import attrs

from runnel_trio._broker._redis._transport._connection import Connection
from runnel_trio._broker._redis._transport._errors import Redirected
from runnel_trio._broker._redis._transport._scripts import Command, Node, PlainCommand
from runnel_trio._broker._redis._transport._topology import Topology
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["ClusterConnection"]

#: To how many nodes a call is sent before its caller has to repeat it.
_TURNS = 5
_ASKING = PlainCommand(("ASKING",), "")


@attrs.frozen
class _AsText:
    """Sent as EVAL: after ASKING there is no second try with the script's text."""

    call: Command
    script = ""

    @property
    def route(self) -> str | Node:
        """As `Command.route`."""
        return self.call.route

    def by_digest(self) -> tuple[Any, ...]:
        """With the text."""
        return self.call.by_text()

    def by_text(self) -> tuple[Any, ...]:
        """With the text."""
        return self.call.by_text()


@attrs.frozen
class _Stage:
    """What goes to one node now.

    Attributes:
        node: which.
        asking: whether each call is announced by ASKING, as the slot is being moved there.
        at: indices of the calls in the journey.
        calls: what is sent.
    """

    node: Node
    asking: bool
    at: Sequence[int]
    calls: Sequence[Command]


@attrs.define(eq=False)
class _Journey:
    """Calls, where each one is to go next, and what was answered so far."""

    topology: Topology
    calls: Sequence[Command]
    replies: list[Any] = attrs.field(init=False)
    _left: list[int] = attrs.field(init=False)
    _asking: dict[int, Node] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.replies = [None] * len(self.calls)
        self._left = list(range(len(self.calls)))

    def stages(self) -> Iterator[_Stage]:
        """What goes to which node. For each, `answered` or `lost` is called before the next one is made."""
        for _ in range(_TURNS):
            groups: dict[tuple[Node, bool], list[int]] = {}
            for i in self._left:
                asked = self._asking.pop(i, None)
                node = asked or self.topology.node_of(self.calls[i].route)
                groups.setdefault((node, asked is not None), []).append(i)
            self._left = []
            for (node, asking), at in groups.items():
                own = [self.calls[i] for i in at]
                sent = [x for call in own for x in (_ASKING, _AsText(call))] if asking else own
                yield _Stage(node, asking, at, sent)

    def answered(self, stage: _Stage, replies: Sequence[Any]) -> None:
        """Keep replies; what was redirected is left."""
        own = replies[1::2] if stage.asking else replies
        for i, reply in zip(stage.at, own, strict=True):
            self.replies[i] = reply
            if isinstance(reply, Redirected):
                node = self.topology.redirected(reply, stage.node)
                self._left.append(i)
                if reply.asking:
                    self._asking[i] = node

    def lost(self, stage: _Stage, error: BrokerUnavailable) -> None:
        """The node did not answer, or not all."""
        self.topology.suspect()
        for i in stage.at:
            self.replies[i] = error


@attrs.define(eq=False)
class ClusterConnection:
    """A connection to each node that has been needed. For one user at a time.

    It carries calls, and gives for each its reply, or one of our errors. One server has nothing to choose and
    nothing to follow: its connection is used as it is.
    """

    _topology: Topology
    _connections: dict[Node, Connection] = attrs.field(factory=dict, init=False)
    _only: Connection | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if not self._topology.clustered:
            self._only = self._connection(self._topology.nodes[0])

    def exchange(self, calls: Sequence[Command]) -> list[Any]:
        """The replies. It blocks.

        What a node of a cluster does not answer has its error in the place of the reply.

        Raises:
            BrokerUnavailable, BrokerRefused: as one server says, or as nobody tells us about the cluster.
        """
        if self._only is not None:
            return self._only.exchange(calls)
        self._topology.refresh()
        journey = _Journey(self._topology, calls)
        for stage in journey.stages():
            try:
                journey.answered(stage, self._connection(stage.node).exchange(stage.calls))
            except BrokerUnavailable as error:
                journey.lost(stage, error)
        return journey.replies

    def talk(self, calls: Iterable[Command], waiter: Waiter) -> Awaitable[list[Any]]:
        """As `exchange`, from Trio; see `Connection.talk`."""
        if self._only is not None:
            return self._only.talk(calls, waiter)
        return self._talk_to_nodes(list(calls), waiter)

    async def _talk_to_nodes(self, calls: Sequence[Command], waiter: Waiter) -> list[Any]:
        if self._topology.stale:
            await waiter.in_thread(self._topology.refresh)
        journey = _Journey(self._topology, calls)
        for stage in journey.stages():
            try:
                journey.answered(stage, await self._connection(stage.node).talk(stage.calls, waiter))
            except BrokerUnavailable as error:
                journey.lost(stage, error)
        return journey.replies

    def _connection(self, node: Node) -> Connection:
        connection = self._connections.get(node)
        if connection is None:
            connection = self._connections[node] = Connection(self._topology.endpoint(node))
        return connection

    def interrupt(self) -> None:
        """From another thread: make the exchange under way fail now."""
        for connection in list(self._connections.values()):
            connection.interrupt()

    def close(self) -> None:
        """Give up all connections."""
        for connection in self._connections.values():
            connection.close()
