"""Reading many partitions by one task: of one server by one command, of a cluster in turn.

A cluster refuses one command for several partitions, also on one node. So a reader that has one partition
waits in the server for it. One that has several looks at all of them, each node's in one round trip. Between
looks it blocks on one partition, a different one each time, for up to 0.25 s when idle.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

import attrs
import trio

from runnel_trio._broker._redis._transport._blocking_read import BlockingRead
from runnel_trio._broker._redis._transport._errors import Redirected
from runnel_trio._broker._redis._transport._scripts import Node
from runnel_trio._broker._redis._transport._topology import Topology, slot_of
from runnel_trio._broker._values import Entry
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["ClusterReads"]

#: Seconds to wait for one of several partitions after something came, and when nothing came for long:
#: an event that comes after a pause is seen so much later, at most.
_SHORTEST = 0.005
_LONGEST = 0.25


@attrs.define(eq=False, kw_only=True)
class ClusterReads:
    """The reads of one reader, over a connection to each node that has been needed.

    Attributes:
        topology: which node has a key.
        unblock: asks a node to end the block of its client with an id; answers 1 if it was blocked.
        block: seconds that a read may wait in the server.
    """

    topology: Topology
    unblock: Callable[[Node, int], Awaitable[int]]
    block: float
    _reads: dict[Node, BlockingRead] = attrs.field(factory=dict, init=False)
    _current: BlockingRead | None = attrs.field(default=None, init=False)
    _asked: Node = attrs.field(default=("", 0), init=False)
    _asking: dict[int, Node] = attrs.field(factory=dict, init=False)
    _woken: bool = attrs.field(default=False, init=False)
    _turn: int = attrs.field(default=0, init=False)
    _patience: float = attrs.field(default=_SHORTEST, init=False)

    async def read(
        self, positions: Mapping[str, bytes], count: int, seconds: float
    ) -> Mapping[str, Sequence[Entry]]:
        """Entries behind positions in logs, by key; none after `wake`.

        Args:
            positions: ids by key.
            count: at most so many entries of each log.
            seconds: how long it may wait for the first entry.

        Raises:
            Redirected: the next read asks the node that was named.
            BrokerUnavailable, BrokerRefused: as they say.
        """
        self._woken = False
        try:
            if self.topology.stale:
                await trio.to_thread.run_sync(
                    self.topology.refresh, abandon_on_cancel=True, limiter=self.topology.limiter
                )
            if self.topology.clustered and len(positions) > 1:
                return await self._in_turn(positions, count, seconds)
            return await self._block_on(positions, count, seconds)
        except Redirected as error:
            node = self.topology.redirected(error, self._asked)
            if error.asking:
                self._asking[error.slot] = node
            raise
        except BrokerUnavailable:
            self.topology.suspect()
            raise

    async def _in_turn(
        self, positions: Mapping[str, bytes], count: int, seconds: float
    ) -> Mapping[str, Sequence[Entry]]:
        if found := await self._look(positions, count):
            self._patience = _SHORTEST
            return found
        seconds = min(seconds, self._patience)
        self._patience = min(_LONGEST, self._patience * 1.5)
        self._turn += 1
        key = list(positions)[self._turn % len(positions)]
        return await self._block_on({key: positions[key]}, count, seconds)

    async def _block_on(
        self, positions: Mapping[str, bytes], count: int, seconds: float
    ) -> Mapping[str, Sequence[Entry]]:
        """Wait in the server; all keys are on one node."""
        node, asking = self._node(next(iter(positions)))
        read = self._read(node)
        read.begin()
        if self._woken:
            return {}
        self._current = read
        try:
            return await read.read(positions, count, seconds, asking=asking)
        finally:
            self._current = None

    async def _look(self, positions: Mapping[str, bytes], count: int) -> dict[str, Sequence[Entry]]:
        by_node: dict[Node, dict[str, bytes]] = {}
        found: dict[str, Sequence[Entry]] = {}
        for key, xid in positions.items():
            node, asking = self._node(key)
            if asking:
                found.update(await self._read(node).read({key: xid}, count, 0.0, asking=True))
            else:
                by_node.setdefault(node, {})[key] = xid
        for node, own in by_node.items():
            found.update(await self._read(node).look(own, count))
        return found

    def _node(self, key: str) -> tuple[Node, bool]:
        """Where a key is, and whether it is on its way there: that is said anew each time."""
        asked = self._asking.pop(slot_of(key), None) if self._asking else None
        return (self.topology.node_of(key), False) if asked is None else (asked, True)

    def _read(self, node: Node) -> BlockingRead:
        self._asked = node
        read = self._reads.get(node)
        if read is None:
            read = self._reads[node] = BlockingRead(
                endpoint=self.topology.endpoint(node), unblock=partial(self.unblock, node), block=self.block
            )
        return read

    def wake(self) -> None:
        """Make the read under way return soon."""
        self._woken = True
        if self._current is not None:
            self._current.wake()

    def close(self) -> None:
        """Give up all connections."""
        for read in self._reads.values():
            read.close()
