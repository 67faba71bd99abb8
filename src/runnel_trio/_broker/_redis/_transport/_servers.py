"""The way to the servers: over which connections calls travel, and which of them travel together.

To each node we have three connections, and each carries batches: what has gathered while the one before was
under way. So a node of a cluster that is away holds up its own partitions only. Over which connection a call
leaves is a matter of speed alone: if its slot has moved meanwhile, it is carried on to where that is now.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar

import attrs
import outcome
import trio

from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._transport._batcher import Batcher
from runnel_trio._broker._redis._transport._cluster_connection import ClusterConnection
from runnel_trio._broker._redis._transport._cluster_reads import ClusterReads
from runnel_trio._broker._redis._transport._coalescer import SendCoalescer
from runnel_trio._broker._redis._transport._endpoint import check_files, is_secure, resolve
from runnel_trio._broker._redis._transport._outage import Outage
from runnel_trio._broker._redis._transport._reader import RedisReader
from runnel_trio._broker._redis._transport._scripts import Call, Node, PlainCommand
from runnel_trio._broker._redis._transport._sender import Sender, SendRequest
from runnel_trio._broker._redis._transport._topology import Topology
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._broker._values import Appended, Batch, ServerConfig, StreamSpec
from runnel_trio._scopes import gather, helpers
from runnel_trio.exceptions import BrokerUnavailable, RunnelError

__all__ = ["Request", "Servers", "open_servers"]

#: Calls whose replies are wanted together.
Request: TypeAlias = Sequence[Call | PlainCommand]
_Commands: TypeAlias = Batcher[Request, list[Any]]
_T = TypeVar("_T")

#: Partitions that one reader of a server serves without strain: each read sends all its keys again.
_KEYS_PER_READ = 32
#: Requests that wait for replicas one behind the other: together for less than a socket's timeout.
_WAITS = 16


@attrs.frozen(eq=False)
class _NodeBatchers:
    """What goes to one node, each kind over a connection of its own.

    Attributes:
        commands: what is read, and what may be repeated.
        replica_waits: commands that wait for replicas, which would hold up the others.
        sends: what is appended. It is numbered as by a producer of its own: so what is overtaken by a send to
            another node, because its slot has moved, is not taken for a repetition.
    """

    commands: _Commands
    replica_waits: _Commands
    sends: SendCoalescer


@attrs.define(eq=False)
class Servers:
    """The nodes behind a URL. Batchers for each are opened when they are needed.

    Attributes:
        topology: which node has a key.
        outage: shared by everything that talks to them.
        senders: who has sent something.
    """

    topology: Topology
    outage: Outage
    _nursery: trio.Nursery
    senders: list[Sender] = attrs.field(factory=list, init=False)
    _connections: list[ClusterConnection] = attrs.field(factory=list, init=False)
    _nodes: dict[Node, _NodeBatchers] = attrs.field(factory=dict, init=False)
    #: Those of a server that is alone: then nobody asks where a key is.
    _only: _NodeBatchers | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if not self.topology.clustered:
            self._only = self._batchers(self.topology.nodes[0])

    @property
    def keys_per_read(self) -> int:
        """See `_protocol.Server`."""
        return 1 if self.topology.clustered else _KEYS_PER_READ

    @property
    def sends_at_once(self) -> bool:
        """Whether what is sent now leaves at once, and is not sorted by nodes before."""
        return self._only is not None and self._only.sends.batcher.idle

    def call(self, request: Request, *, awaits_replicas: bool = False) -> Awaitable[list[Any]]:
        """The replies to calls; to be awaited at once.

        Args:
            request: the calls.
            awaits_replicas: whether they wait for replicas.

        Raises:
            BrokerUnavailable: some may be without effect; all of it may be repeated.
            BrokerRefused: of any of them.

        Cancellation: as `Batcher.call`.
        """
        if self._only is not None:
            return (self._only.replica_waits if awaits_replicas else self._only.commands).call(request)
        return self._call_nodes(request, awaits_replicas=awaits_replicas)

    async def _call_nodes(self, request: Request, *, awaits_replicas: bool) -> list[Any]:
        nodes = [self.topology.node_of(call.route) for call in request]
        parts: dict[Node, list[Call | PlainCommand]] = {}
        for node, call in zip(nodes, request, strict=True):
            parts.setdefault(node, []).append(call)
        tasks = {}
        for node, part in parts.items():
            own = self._batchers(node)
            tasks[node] = partial((own.replica_waits if awaits_replicas else own.commands).call, part)
        replies = {node: iter(part) for node, part in (await _run_all(tasks)).items()}
        return [next(replies[node]) for node in nodes]

    def send(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Awaitable[Mapping[int, Appended]]:
        """How many entries each partition took; to be awaited at once. See `_protocol.Logs.append`."""
        if self._only is not None:
            return self._only.sends.send(stream, batches)
        parts: dict[Node, dict[int, Batch]] = {}
        for number, batch in batches.items():
            node = self.topology.node_of(_keys.log(stream, number))
            parts.setdefault(node, {})[number] = batch
        tasks = {node: partial(self._batchers(node).sends.send, stream, own) for node, own in parts.items()}
        if len(tasks) == 1:  # a coroutine around it would be one more that a thousand tasks keep
            (task,) = tasks.values()
            return task()
        return _merge(tasks)

    def _batchers(self, node: Node) -> _NodeBatchers:
        found = self._nodes.get(node)
        if found is None:
            found = _NodeBatchers(self._commands(), self._commands(_WAITS), self._sends())
            self._nodes[node] = found
        return found

    def _commands(self, limit: int = 1024) -> _Commands:
        batcher: _Commands = Batcher(carry=partial(_carry, self._connection()), limit=limit)
        self._nursery.start_soon(batcher.run)
        return batcher

    def _sends(self) -> SendCoalescer:
        sender = Sender(connection=self._connection(), outage=self.outage)
        self.senders.append(sender)
        batcher: Batcher[SendRequest, dict[int, Appended]] = Batcher(
            carry=sender.carry, weigh=attrgetter("weight")
        )
        self._nursery.start_soon(batcher.run)
        return SendCoalescer(batcher)

    def _connection(self) -> ClusterConnection:
        connection = self.connection()
        self._connections.append(connection)
        return connection

    def connection(self) -> ClusterConnection:
        """A new connection for one user, who closes it."""
        return ClusterConnection(self.topology)

    def close(self) -> None:
        """Give up all connections that are ours."""
        for connection in self._connections:
            connection.close()

    def reader(self, log_key: Callable[[int], str], block: float) -> RedisReader:
        """A new reader."""
        reads = ClusterReads(topology=self.topology, unblock=self._unblock, block=block)
        return RedisReader(reads=reads, outage=self.outage, log_key=log_key, block=block)

    async def _unblock(self, node: Node, client: int) -> int:
        (answer,) = await self.call([PlainCommand(("CLIENT", "UNBLOCK", client), node)])
        return int(answer)

    def by_node(self, keys: Iterable[str]) -> Mapping[Node, str]:
        """The nodes of keys, and of each one of the keys that are there."""
        return {self.topology.node_of(key): key for key in keys}

    def name_of(self, key: str) -> str:
        """The name of the node that has a key; of one server, nothing."""
        host, port = self.topology.node_of(key)
        return f"{host}:{port}" if self.topology.clustered else ""

    async def facts(self) -> list[tuple[str, bytes]]:
        """What each server says of itself: its URL, and its answer to INFO."""
        nodes = self.topology.nodes
        infos = await self.call([PlainCommand(("INFO",), node) for node in nodes])
        return [(self.topology.endpoint(node).url, info) for node, info in zip(nodes, infos, strict=True)]


async def _run_all(tasks: Mapping[Node, Callable[[], Awaitable[_T]]]) -> dict[Node, _T]:
    """What tasks of several nodes return, which run at the same time.

    Raises:
        BrokerUnavailable: before any other error: then all of it is repeated.
    """
    if len(tasks) == 1:
        ((node, task),) = tasks.items()
        return {node: await task()}
    outcomes = await gather(tasks.values())
    errors = [x.error for x in outcomes if isinstance(x, outcome.Error)]
    if errors:
        raise min(errors, key=lambda error: not isinstance(error, BrokerUnavailable))
    return {node: x.unwrap() for node, x in zip(tasks, outcomes, strict=True)}


async def _merge(
    tasks: Mapping[Node, Callable[[], Awaitable[Mapping[int, Appended]]]],
) -> dict[int, Appended]:
    return {number: count for own in (await _run_all(tasks)).values() for number, count in own.items()}


async def _carry(
    connection: ClusterConnection, requests: Sequence[Request], waiter: Waiter
) -> list[outcome.Outcome[list[Any]]]:
    replies = iter(await connection.talk([call for request in requests for call in request], waiter))
    outcomes: list[outcome.Outcome[list[Any]]] = []
    for request in requests:
        own = [next(replies) for _ in request]
        # What passes by itself goes first: then the request is repeated, and each call may be.
        errors = [x for x in own if isinstance(x, RunnelError)]
        errors.sort(key=lambda error: not isinstance(error, BrokerUnavailable))
        outcomes.append(outcome.Error(errors[0]) if errors else outcome.Value(own))
    return outcomes


@asynccontextmanager
async def open_servers(config: ServerConfig) -> AsyncIterator[Servers]:
    """The way to the servers of a URL; connections are made when they are needed.

    Raises:
        Misconfigured: the configuration cannot be read, or is no cluster.
        BrokerUnavailable, BrokerRefused: a cluster that nobody tells us about.
    """
    target = resolve(config) if config.factory is None else await trio.to_thread.run_sync(resolve, config)
    if is_secure(target.pool):
        await trio.to_thread.run_sync(check_files, target)
    topology = Topology(target)
    async with helpers() as nursery:
        if topology.clustered:
            await trio.to_thread.run_sync(topology.refresh)
        with closing(Servers(topology, Outage(url=target.url), nursery)) as servers:
            yield servers
