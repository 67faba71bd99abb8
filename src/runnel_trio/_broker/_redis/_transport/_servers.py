"""The way to the servers: over which connections, and what travels together.

    commands ─┐  Batcher ── Connection ──▶ one server    CommandLanes ─┐  a Batcher and a ClusterTransport
    sends ────┘  Batcher ── Connection ──▶               SendLanes ────┘  for each node of a cluster
    reader       BlockingRead, over a Connection         ClusterReads

`OneServer` is what a URL of one server, or of a group with one master, leads to; `Nodes` is a cluster. The
verbs of the broker do not see the difference.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from operator import attrgetter
from typing import Any, Protocol, TypeAlias

import attrs
import outcome
import trio

from runnel_trio._broker._redis._transport._batcher import Batcher
from runnel_trio._broker._redis._transport._blocking_read import BlockingRead
from runnel_trio._broker._redis._transport._cluster_connection import ClusterTransport, CommandLanes, SendLanes
from runnel_trio._broker._redis._transport._cluster_reads import ClusterReads
from runnel_trio._broker._redis._transport._coalescer import SendCoalescer
from runnel_trio._broker._redis._transport._connection import Connection, Transport
from runnel_trio._broker._redis._transport._endpoint import Endpoint, Seeds, check_files, found, is_secure
from runnel_trio._broker._redis._transport._outage import Outage
from runnel_trio._broker._redis._transport._reader import RedisReader, Source
from runnel_trio._broker._redis._transport._scripts import Call, Node, Plain
from runnel_trio._broker._redis._transport._sender import Sender, SendRequest, Shipment
from runnel_trio._broker._redis._transport._topology import Topology
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._broker._values import Batch, ServerConfig, StreamSpec
from runnel_trio._scopes import helpers
from runnel_trio.exceptions import BrokerUnavailable, RunnelError

__all__ = ["Request", "Servers", "open_servers"]

#: Calls whose replies are wanted together.
Request: TypeAlias = Sequence[Call | Plain]
_Commands: TypeAlias = Batcher[Request, list[Any]]

#: Partitions that one reader of a server serves without strain: each read sends all its keys again.
_KEYS_PER_READ = 32
#: Requests that wait for replicas one behind the other: together for less than a socket's timeout.
_WAITS = 16


class Commands(Protocol):
    """What carries calls."""

    async def call(self, request: Request) -> list[Any]:
        """As `Batcher.call`."""
        ...


class Sends(Protocol):
    """What carries shipments."""

    @property
    def idle(self) -> bool:
        """As `Batcher.idle`."""
        ...

    def call(self, request: Shipment) -> Awaitable[Mapping[int, int]]:
        """As `Batcher.call`."""
        ...

    def one(self, stream: StreamSpec, number: int, batch: Batch) -> Awaitable[Mapping[int, int]]:
        """As `SendCoalescer.one`."""
        ...


class Servers(Protocol):
    """The way to the servers."""

    @property
    def url(self) -> str:
        """Where they are, for people and for clients of their own."""
        ...

    @property
    def clustered(self) -> bool:
        """Whether keys are spread over nodes."""
        ...

    @property
    def outage(self) -> Outage:
        """Shared by everything that talks to them."""
        ...

    @property
    def commands(self) -> Commands:
        """For what is read, and for what may be repeated."""
        ...

    @property
    def sends(self) -> Sends:
        """For what is appended."""
        ...

    @property
    def waits(self) -> Commands:
        """For commands that wait for replicas."""
        ...

    @property
    def keys_per_read(self) -> int:
        """See `_protocol.Broker`."""
        ...

    @property
    def senders(self) -> Sequence[Sender]:
        """Who has sent something."""
        ...

    def of_nodes(self, keys: Iterable[str]) -> list[tuple[str | Node, str]]:
        """Where keys are, and one of them for each node."""
        ...

    def node_of(self, key: str) -> str:
        """The name of the node that has a key; of one server, nothing."""
        ...

    def reader(self, log_key: Callable[[int], str], block: float) -> RedisReader:
        """A new reader."""
        ...

    def transport(self) -> Transport:
        """A connection for one user."""
        ...

    async def facts(self) -> list[tuple[str, bytes]]:
        """What each server says of itself: its URL, and its answer to INFO."""
        ...


@attrs.frozen(eq=False, kw_only=True)
class OneServer:
    """See `Servers`."""

    endpoint: Endpoint
    outage: Outage
    commands: _Commands
    sends: SendCoalescer
    waits: _Commands
    senders: Sequence[Sender]
    clustered = False
    keys_per_read = _KEYS_PER_READ

    @property
    def url(self) -> str:
        """See `Servers`."""
        return self.endpoint.url

    def of_nodes(self, keys: Iterable[str]) -> list[tuple[str | Node, str]]:
        """See `Servers`."""
        return [("", next(iter(keys)))]

    def node_of(self, key: str) -> str:
        """See `Servers`."""
        return ""

    def reader(self, log_key: Callable[[int], str], block: float) -> RedisReader:
        """See `Servers`."""
        wait = BlockingRead(endpoint=self.endpoint, unblock=partial(_unblock, self.commands, ""), block=block)
        return _reader(self, wait, log_key, block)

    def transport(self) -> Connection:
        """See `Servers`."""
        return Connection(self.endpoint)

    async def facts(self) -> list[tuple[str, bytes]]:
        """See `Servers`."""
        (info,) = await self.commands.call([Plain(("INFO",), "")])
        return [(self.url, info)]


@attrs.frozen(eq=False, kw_only=True)
class Nodes:
    """See `Servers`."""

    topology: Topology
    outage: Outage
    commands: CommandLanes
    sends: SendLanes
    waits: CommandLanes
    senders: Sequence[Sender]
    clustered = True
    keys_per_read = 1

    @property
    def url(self) -> str:
        """See `Servers`."""
        return self.topology.url

    def of_nodes(self, keys: Iterable[str]) -> list[tuple[str | Node, str]]:
        """See `Servers`."""
        return list({self.topology.node_of(key): key for key in keys}.items())

    def node_of(self, key: str) -> str:
        """See `Servers`."""
        host, port = self.topology.node_of(key)
        return f"{host}:{port}"

    def reader(self, log_key: Callable[[int], str], block: float) -> RedisReader:
        """See `Servers`."""
        turns = ClusterReads(topology=self.topology, unblock=partial(_unblock, self.commands), block=block)
        return _reader(self, turns, log_key, block)

    def transport(self) -> ClusterTransport:
        """See `Servers`."""
        return ClusterTransport(self.topology)

    async def facts(self) -> list[tuple[str, bytes]]:
        """See `Servers`."""
        nodes = self.topology.nodes
        infos = await self.commands.call([Plain(("INFO",), node) for node in nodes])
        return [(self.topology.endpoint(node).url, info) for node, info in zip(nodes, infos, strict=True)]


async def _unblock(commands: Commands, where: str | Node, client: int) -> int:
    (answer,) = await commands.call([Plain(("CLIENT", "UNBLOCK", client), where)])
    return int(answer)


def _reader(wire: Servers, source: Source, log_key: Callable[[int], str], block: float) -> RedisReader:
    return RedisReader(source=source, outage=wire.outage, log_key=log_key, block=block)


@asynccontextmanager
async def open_servers(config: ServerConfig) -> AsyncIterator[Servers]:
    """The way to a server; connections are made when they are needed.

    Raises:
        Misconfigured: the configuration cannot be read, or is no cluster.
        BrokerUnavailable, BrokerRefused: a cluster that nobody tells us about.
    """
    leads = found(config) if config.factory is None else await trio.to_thread.run_sync(found, config)
    if is_secure(leads.pool):
        await trio.to_thread.run_sync(check_files, leads)
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(helpers())
        open_ = _Opener(Outage(url=leads.url), stack, nursery)
        if isinstance(leads, Seeds):
            topology = Topology(leads)
            await trio.to_thread.run_sync(topology.refresh)
            through = partial(ClusterTransport, topology)
            commands = CommandLanes(topology=topology, open=partial(open_.commands, through))
            sends = SendLanes(topology=topology, open=partial(open_.sends, through))
            waits = CommandLanes(topology=topology, open=partial(open_.commands, through, _WAITS))
            yield Nodes(
                topology=topology,
                outage=open_.outage,
                commands=commands,
                sends=sends,
                waits=waits,
                senders=open_.senders,
            )
        else:
            connection = partial(Connection, leads)
            yield OneServer(
                endpoint=leads,
                outage=open_.outage,
                commands=open_.commands(connection),
                sends=open_.sends(connection),
                waits=open_.commands(connection, _WAITS),
                senders=open_.senders,
            )


@attrs.frozen(eq=False)
class _Opener:
    """Makes batchers that run until all is closed."""

    outage: Outage
    stack: AsyncExitStack
    nursery: trio.Nursery
    senders: list[Sender] = attrs.field(factory=list, init=False)

    def commands(self, transport: Callable[[], Transport], limit: int = 1024) -> _Commands:
        batcher: _Commands = Batcher(carry=partial(_carry, self._kept(transport())), limit=limit)
        self.nursery.start_soon(batcher.run)
        return batcher

    def sends(self, transport: Callable[[], Transport]) -> SendCoalescer:
        sender = Sender(transport=self._kept(transport()), outage=self.outage)
        self.senders.append(sender)
        batcher: Batcher[SendRequest, dict[int, int]] = Batcher(
            carry=sender.carry, weigh=attrgetter("weight")
        )
        self.nursery.start_soon(batcher.run)
        return SendCoalescer(batcher)

    def _kept(self, transport: Transport) -> Transport:
        self.stack.callback(transport.close)
        return transport


async def _carry(
    transport: Transport, requests: Sequence[Request], waiter: Waiter
) -> list[outcome.Outcome[list[Any]]]:
    replies = iter(await transport.talk([call for request in requests for call in request], waiter))
    outcomes: list[outcome.Outcome[list[Any]]] = []
    for request in requests:
        own = [next(replies) for _ in request]
        # What passes by itself goes first: then the request is repeated, and each call may be.
        errors = [x for x in own if isinstance(x, RunnelError)]
        errors.sort(key=lambda error: not isinstance(error, BrokerUnavailable))
        outcomes.append(outcome.Error(errors[0]) if errors else outcome.Value(own))
    return outcomes
