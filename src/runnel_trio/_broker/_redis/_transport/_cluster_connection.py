"""Calls on their way through a cluster: each to the node that has its key, or to the next one.

A `ClusterTransport` stands where a `Connection` does for one server, so what is built on transports does not
see the difference: heartbeats, a sender, a batch of commands. Lanes give each node batches of its own, so
that a node that is away holds up nobody but its own partitions. Which lane carries what is a matter of speed
alone: a call whose slot has moved meanwhile is carried on by the lane that has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

import attrs
import outcome

from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._transport._batcher import Batcher
from runnel_trio._broker._redis._transport._coalescer import SendCoalescer
from runnel_trio._broker._redis._transport._connection import Connection
from runnel_trio._broker._redis._transport._errors import Redirected
from runnel_trio._broker._redis._transport._scripts import Call, Command, Node, Plain
from runnel_trio._broker._redis._transport._sender import Shipment
from runnel_trio._broker._redis._transport._topology import Topology
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._broker._values import Batch, StreamSpec
from runnel_trio._scopes import gather
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["ClusterTransport", "CommandLanes", "SendLanes"]

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")
_Lane = TypeVar("_Lane", bound="_Carrier")

#: How often a call is passed on before its caller is told to come again.
_TURNS = 5
_ASKING = Plain(("ASKING",), "")


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
class ClusterTransport:
    """See `_connection.Transport`: a connection to each node that has been needed."""

    _topology: Topology
    _connections: dict[Node, Connection] = attrs.field(factory=dict, init=False)

    def exchange(self, calls: Sequence[Command]) -> list[Any]:
        """See `Transport`; what a node does not answer has its error in the place of the reply."""
        self._topology.refresh()
        journey = _Journey(self._topology, calls)
        for stage in journey.stages():
            try:
                journey.answered(stage, self._connection(stage.node).exchange(stage.calls))
            except BrokerUnavailable as error:
                journey.lost(stage, error)
        return journey.replies

    async def talk(self, calls: Iterable[Command], waiter: Waiter) -> list[Any]:
        """See `exchange`."""
        made = list(calls)
        if self._topology.stale:
            await waiter.in_thread(self._topology.refresh)
        journey = _Journey(self._topology, made)
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
        """See `Transport`."""
        for connection in list(self._connections.values()):
            connection.interrupt()

    def close(self) -> None:
        """See `Transport`."""
        for connection in self._connections.values():
            connection.close()


class _Carrier(Protocol):
    """A `Batcher`, or a `SendCoalescer`."""

    def call(self, request: Any) -> Awaitable[Any]:
        """See there."""
        ...


@attrs.define(eq=False, kw_only=True)
class _Lanes(Generic[_Lane, _Request, _Reply]):
    """One lane for each node.

    Attributes:
        topology: which node has what.
        open: makes a lane that runs.
    """

    topology: Topology
    open: Callable[[], _Lane]
    idle = False
    _lanes: dict[Node, _Lane] = attrs.field(factory=dict, init=False)

    async def _carry(self, parts: Mapping[Node, _Request]) -> dict[Node, _Reply]:
        """The replies to all parts, which go at the same time.

        Raises:
            BrokerUnavailable: before any other error: then all of it is repeated.
        """
        if len(parts) == 1:
            ((node, part),) = parts.items()
            return {node: await self._lane(node).call(part)}
        outcomes = await gather(partial(self._lane(node).call, part) for node, part in parts.items())
        errors = [x.error for x in outcomes if isinstance(x, outcome.Error)]
        if errors:
            raise min(errors, key=lambda error: not isinstance(error, BrokerUnavailable))
        return {node: x.unwrap() for node, x in zip(parts, outcomes, strict=True)}

    def _lane(self, node: Node) -> _Lane:
        lane = self._lanes.get(node)
        if lane is None:
            lane = self._lanes[node] = self.open()
        return lane


class CommandLanes(_Lanes[Batcher[Sequence[Call | Plain], list[Any]], Sequence[Call | Plain], list[Any]]):
    """Commands, each node's together."""

    async def call(self, request: Sequence[Call | Plain]) -> list[Any]:
        """As `Batcher.call`."""
        nodes = [self.topology.node_of(call.route) for call in request]
        parts: dict[Node, list[Call | Plain]] = {}
        for node, call in zip(nodes, request, strict=True):
            parts.setdefault(node, []).append(call)
        replies = {node: iter(own) for node, own in (await self._carry(parts)).items()}
        return [next(replies[node]) for node in nodes]


class SendLanes(_Lanes[SendCoalescer, Shipment, Mapping[int, int]]):
    """Sends, each node's together.

    Each lane numbers its sends as a producer of its own, so that one which is overtaken by a send over
    another lane, because its slot has moved, is not taken for a repetition.
    """

    def one(self, stream: StreamSpec, number: int, batch: Batch) -> Awaitable[Mapping[int, int]]:
        """As `SendCoalescer.one`."""
        return self._lane(self.topology.node_of(_keys.log(stream, number))).one(stream, number, batch)

    async def call(self, request: Shipment) -> Mapping[int, int]:
        """As `Batcher.call`."""
        batches: dict[Node, dict[int, Batch]] = {}
        for number, batch in request.batches.items():
            node = self.topology.node_of(_keys.log(request.stream, number))
            batches.setdefault(node, {})[number] = batch
        stored: dict[int, int] = {}
        parts = {node: Shipment(request.stream, own) for node, own in batches.items()}
        for own in (await self._carry(parts)).values():
            stored.update(own)
        return stored
