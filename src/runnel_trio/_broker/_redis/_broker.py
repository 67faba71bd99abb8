"""The broker on Redis or Valkey: what kind of verbs is in which file, and how it is opened."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis._admin import RedisAdmin
from runnel_trio._broker._redis._catalog import RedisCatalog
from runnel_trio._broker._redis._logs import RedisLogs
from runnel_trio._broker._redis._outbox import RedisOutbox
from runnel_trio._broker._redis._ownership import RedisOwnership
from runnel_trio._broker._redis._parking import RedisParking
from runnel_trio._broker._redis._parties import RedisParties
from runnel_trio._broker._redis._tables import RedisTables
from runnel_trio._broker._redis._transport._errors import advised
from runnel_trio._broker._redis._transport._fitness import check_fitness
from runnel_trio._broker._redis._transport._scripts import PlainCommand
from runnel_trio._broker._redis._transport._servers import open_servers
from runnel_trio._broker._values import ServerConfig
from runnel_trio._embedded._server import SCHEME, embedded_server
from runnel_trio._override import override
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["RedisBroker", "open_redis"]

#: Not stopped by a suspended machine, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@asynccontextmanager
async def open_redis(config: ServerConfig) -> AsyncIterator[RedisBroker]:
    """Connect, check that the server will do, and serve until the body ends.

    Args:
        config: of the server, or ``embedded://…``: then the server lives as long as the body.

    Raises:
        BrokerUnavailable: nobody answers.
        BrokerRefused: it does not let us in.
        Misconfigured: it is too old, or evicts keys.
    """
    async with AsyncExitStack() as stack:
        if config.url.startswith(SCHEME) and config.factory is None:
            config = ServerConfig(await stack.enter_async_context(embedded_server(config.url)))
        try:
            servers = await stack.enter_async_context(open_servers(config))
            facts = await servers.facts()
        except BrokerUnavailable as error:
            raise advised(error) from error
        clustered = servers.topology.clustered
        about = [check_fitness(info, url, clustered=clustered) for url, info in facts]
        yield RedisBroker(servers=servers, about=about[0])


@attrs.define(eq=False, kw_only=True)
class RedisBroker(
    RedisCatalog,
    RedisLogs,
    RedisOwnership,
    RedisParking,
    RedisOutbox,
    RedisTables,
    RedisParties,
    RedisAdmin,
    Broker,
):
    """All verbs, and what is known of the server once it is connected."""

    about: str
    url: str = attrs.field(init=False, repr=False)  # it may hold a password
    clustered: bool = attrs.field(init=False)
    keys_per_read: int = attrs.field(init=False)
    clock: Callable[[], float] = attrs.field(default=partial(time.clock_gettime, _CLOCK), init=False)

    def __attrs_post_init__(self) -> None:
        self.url = self.servers.topology.url
        self.clustered = self.servers.topology.clustered
        self.keys_per_read = self.servers.keys_per_read

    @override
    def watch(self, away: Callable[[], None], back: Callable[[float], None]) -> None:
        self.servers.outage.on_away, self.servers.outage.on_back = away, back

    @override
    def wall(self) -> float:
        return time.time()

    @override
    def id_time(self) -> float:
        return time.time()  # this machine's clock, where the server has its own

    @override
    async def time(self) -> float:
        ((seconds, microseconds),) = await self.ask([PlainCommand(("TIME",), "")])
        return int(seconds) + int(microseconds) / 1e6
