"""Calls on their way through a cluster: each to the node that has its key, or to the next one.

A `ClusterLine` stands where a `Line` does for one server, so what is built on lines does not see the
difference: heartbeats, a sender, a batch of commands. Lanes give each node batches of its own, so that a node
that is away holds up nobody but its own partitions. Which lane carries what is a matter of speed alone: a
call whose slot has moved meanwhile is carried on by the lane that has it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import attrs
import trio

from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._transport._batcher import Gateway
from runnel_trio._broker._redis._transport._coalescer import Crowd
from runnel_trio._broker._redis._transport._connection import Hop, Line
from runnel_trio._broker._redis._transport._errors import Redirected
from runnel_trio._broker._redis._transport._scripts import Call, Command, Node, Plain
from runnel_trio._broker._redis._transport._sender import Shipment
from runnel_trio._broker._redis._transport._topology import Topology
from runnel_trio._broker._values import Batch, StreamSpec
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["ClusterLine", "CommandLanes", "SendLanes"]

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")
_Lane = TypeVar("_Lane", bound="_Carrier")

#: How often a call is passed on before its caller is told to come again.
_TURNS = 5
_ASKING = Plain(("ASKING",), "")


@attrs.frozen
class _Told:
    """A call with its script's text: one that goes where its slot is still on its way cannot be repeated."""

    call: Command
    script = ""

    @property
    def place(self) -> str | Node:
        """As `Command.place`."""
        return self.call.place

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
        places: of the calls in the journey.
    """

    node: Node
    asking: bool
    places: Sequence[int]

    def sent(self, calls: Sequence[Command]) -> list[Command]:
        """What is sent, of all calls of the journey."""
        own = [calls[place] for place in self.places]
        return [x for call in own for x in (_ASKING, _Told(call))] if self.asking else own


@attrs.define(eq=False)
class _Journey:
    """Calls, where each one is to go next, and what was answered so far."""

    topology: Topology
    calls: Sequence[Command]
    replies: list[Any] = attrs.field(init=False)
    left: list[int] = attrs.field(init=False)
    _asking: dict[int, Node] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.replies = [None] * len(self.calls)
        self.left = list(range(len(self.calls)))

    def stages(self) -> list[_Stage]:
        """Where the calls go that are left."""
        places: dict[tuple[Node, bool], list[int]] = {}
        for place in self.left:
            asked = self._asking.pop(place, None)
            node = asked or self.topology.node_of(self.calls[place].place)
            places.setdefault((node, asked is not None), []).append(place)
        self.left = []
        return [_Stage(node, asking, own) for (node, asking), own in places.items()]

    def answered(self, stage: _Stage, replies: Sequence[Any]) -> None:
        """Keep replies; what was redirected is left."""
        own = replies[1::2] if stage.asking else replies
        for place, reply in zip(stage.places, own, strict=True):
            self.replies[place] = reply
            if isinstance(reply, Redirected):
                node = self.topology.redirected(reply, stage.node)
                self.left.append(place)
                if reply.asking:
                    self._asking[place] = node

    def lost(self, stage: _Stage, error: BrokerUnavailable) -> None:
        """The node did not answer, or not all."""
        self.topology.suspect()
        for place in stage.places:
            self.replies[place] = error


@attrs.define(eq=False)
class ClusterLine:
    """See `_connection.Talker`: a connection to each node that has been needed."""

    _topology: Topology
    _lines: dict[Node, Line] = attrs.field(factory=dict, init=False)

    def exchange(self, calls: Sequence[Command]) -> list[Any]:
        """See `Talker`; what a node does not answer has its error in the place of the reply."""
        journey = _Journey(self._topology, calls)
        for _ in range(_TURNS):
            self._topology.refresh()
            for stage in journey.stages():
                try:
                    journey.answered(stage, self._line(stage.node).exchange(stage.sent(calls)))
                except BrokerUnavailable as error:
                    journey.lost(stage, error)
            if not journey.left:
                break
        return journey.replies

    async def talk(self, calls: Iterable[Command], hop: Hop) -> list[Any]:
        """See `exchange`."""
        made = list(calls)
        journey = _Journey(self._topology, made)
        for _ in range(_TURNS):
            if self._topology.stale:
                await hop(self._refreshed)
            for stage in journey.stages():
                try:
                    journey.answered(stage, await self._line(stage.node).talk(stage.sent(made), hop))
                except BrokerUnavailable as error:
                    journey.lost(stage, error)
            if not journey.left:
                break
        return journey.replies

    def _refreshed(self) -> list[Any]:
        self._topology.refresh()
        return []

    def _line(self, node: Node) -> Line:
        line = self._lines.get(node)
        if line is None:
            line = self._lines[node] = Line(self._topology.endpoint(node))
        return line

    def interrupt(self) -> None:
        """See `Talker`."""
        for line in list(self._lines.values()):
            line.interrupt()

    def close(self) -> None:
        """See `Talker`."""
        for line in self._lines.values():
            line.close()


class _Carrier(Protocol):
    """A `Gateway`, or a `Crowd`."""

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

    async def _carried(self, parts: Mapping[Node, _Request]) -> dict[Node, _Reply]:
        """The replies to all parts, which go at the same time.

        Raises:
            BrokerUnavailable: before any other error: then all of it is repeated.
        """
        if len(parts) == 1:
            ((node, part),) = parts.items()
            return {node: await self._lane(node).call(part)}
        replies: dict[Node, _Reply] = {}
        errors: list[Exception] = []

        async def carry(node: Node, part: _Request) -> None:
            try:
                replies[node] = await self._lane(node).call(part)
            except Exception as error:  # by value, so that the nursery has nothing to wrap
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for node, part in parts.items():
                nursery.start_soon(carry, node, part)
        if errors:
            raise min(errors, key=lambda error: not isinstance(error, BrokerUnavailable))
        return replies

    def _lane(self, node: Node) -> _Lane:
        lane = self._lanes.get(node)
        if lane is None:
            lane = self._lanes[node] = self.open()
        return lane


class CommandLanes(_Lanes[Gateway[Sequence[Call | Plain], list[Any]], Sequence[Call | Plain], list[Any]]):
    """Commands, each node's together."""

    async def call(self, request: Sequence[Call | Plain]) -> list[Any]:
        """As `Gateway.call`."""
        nodes = [self.topology.node_of(call.place) for call in request]
        parts: dict[Node, list[Call | Plain]] = {}
        for node, call in zip(nodes, request, strict=True):
            parts.setdefault(node, []).append(call)
        replies = {node: iter(own) for node, own in (await self._carried(parts)).items()}
        return [next(replies[node]) for node in nodes]


class SendLanes(_Lanes[Crowd, Shipment, Mapping[int, int]]):
    """Sends, each node's together.

    Each lane numbers its sends as a producer of its own, so that one which is overtaken by a send over
    another lane, because its slot has moved, is not taken for a repetition.
    """

    def one(self, stream: StreamSpec, number: int, batch: Batch) -> Awaitable[Mapping[int, int]]:
        """As `Crowd.one`."""
        return self._lane(self.topology.node_of(_keys.log(stream, number))).one(stream, number, batch)

    async def call(self, request: Shipment) -> Mapping[int, int]:
        """As `Gateway.call`."""
        batches: dict[Node, dict[int, Batch]] = {}
        for number, batch in request.batches.items():
            node = self.topology.node_of(_keys.log(request.stream, number))
            batches.setdefault(node, {})[number] = batch
        stored: dict[int, int] = {}
        parts = {node: Shipment(request.stream, own) for node, own in batches.items()}
        for own in (await self._carried(parts)).values():
            stored.update(own)
        return stored
