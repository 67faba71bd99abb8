"""Reading many partitions of a cluster by one task: in turn.

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

__all__ = ["ClusterReads"]

#: Seconds to wait for one of several partitions after something came, and when nothing came for long:
#: an event that comes after a pause is seen so much later, at most.
_SHORTEST = 0.005
_LONGEST = 0.25


@attrs.define(eq=False, kw_only=True)
class ClusterReads:
    """See `_reader.Source`.

    Attributes:
        topology: of the cluster.
        unblock: asks a node to end the block of its client with an id; answers 1 if it was blocked.
        block: seconds that a read may wait in the server.
    """

    topology: Topology
    unblock: Callable[[Node, int], Awaitable[int]]
    block: float
    _waits: dict[Node, BlockingRead] = attrs.field(factory=dict, init=False)
    _current: BlockingRead | None = attrs.field(default=None, init=False)
    _asked: Node = attrs.field(default=("", 0), init=False)
    _asking: dict[int, Node] = attrs.field(factory=dict, init=False)
    _woken: bool = attrs.field(default=False, init=False)
    _turn: int = attrs.field(default=0, init=False)
    _patience: float = attrs.field(default=_SHORTEST, init=False)

    async def read(
        self, positions: Mapping[str, bytes], count: int, seconds: float
    ) -> Mapping[str, Sequence[Entry]]:
        """See `BlockingRead.read`."""
        if self.topology.stale:
            await trio.to_thread.run_sync(
                self.topology.refresh, abandon_on_cancel=True, limiter=self.topology.limiter
            )
        if len(positions) > 1:
            if found := await self._look(positions, count):
                self._patience = _SHORTEST
                return found
            seconds = min(seconds, self._patience)
            self._patience = min(_LONGEST, self._patience * 1.5)
        self._turn += 1
        key = list(positions)[self._turn % len(positions)]
        return await self._block_on(key, positions[key], count, seconds)

    async def _block_on(
        self, key: str, xid: bytes, count: int, seconds: float
    ) -> Mapping[str, Sequence[Entry]]:
        node, asking = self._node(key)
        wait = self._wait(node)
        wait.begin()
        if self._woken:
            return {}
        self._current = wait
        try:
            return await wait.read({key: xid}, count, seconds, asking=asking)
        finally:
            self._current = None

    async def _look(self, positions: Mapping[str, bytes], count: int) -> dict[str, Sequence[Entry]]:
        by_node: dict[Node, dict[str, bytes]] = {}
        found: dict[str, Sequence[Entry]] = {}
        for key, xid in positions.items():
            node, asking = self._node(key)
            if asking:
                found.update(await self._wait(node).read({key: xid}, count, 0.0, asking=True))
            else:
                by_node.setdefault(node, {})[key] = xid
        for node, own in by_node.items():
            found.update(await self._wait(node).look(own, count))
        return found

    def _node(self, key: str) -> tuple[Node, bool]:
        """Where a key is, and whether it is on its way there: that is said anew each time."""
        asked = self._asking.pop(slot_of(key), None)
        return (self.topology.node_of(key), False) if asked is None else (asked, True)

    def _wait(self, node: Node) -> BlockingRead:
        self._asked = node
        wait = self._waits.get(node)
        if wait is None:
            wait = self._waits[node] = BlockingRead(
                endpoint=self.topology.endpoint(node), unblock=partial(self.unblock, node), block=self.block
            )
        return wait

    def begin(self) -> None:
        """See `Source`."""
        self._woken = False

    def wake(self) -> None:
        """See `Source`."""
        self._woken = True
        if self._current is not None:
            self._current.wake()

    def redirected(self, error: Redirected) -> None:
        """See `Source`."""
        node = self.topology.redirected(error, self._asked)
        if error.asking:
            self._asking[error.slot] = node

    def failed(self) -> None:
        """See `Source`."""
        self.topology.suspect()

    def close(self) -> None:
        """See `Source`."""
        for wait in self._waits.values():
            wait.close()
