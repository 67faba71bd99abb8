"""Everything outside of the process, behind one interface: `_protocol` defines a broker, and there are two.

Only `_redis` knows redis-py; it is imported when a URL asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ServerConfig
from runnel_trio.exceptions import Misconfigured

__all__ = ["open_broker", "redis_client"]


@asynccontextmanager
async def open_broker(config: ServerConfig) -> AsyncIterator[Broker]:
    """The broker of a server, opened; the URL ``memory://`` means the one that has none."""
    if config.url.startswith("memory://") and config.factory is None:
        from runnel_trio._broker._memory._broker import open_memory  # each kind is imported when it is used

        async with open_memory(config.url) as memory:
            yield memory
        return
    from runnel_trio._broker._redis._broker import open_redis  # as above

    async with open_redis(config) as broker:
        yield broker


def redis_client(config: ServerConfig) -> Any:
    """A client of redis-py for that server.

    Raises:
        Misconfigured: there is no server at that config.
    """
    if config.url.startswith("memory://") and config.factory is None:
        raise Misconfigured("memory:// is no server: there is nothing for a Redis client to connect to")
    from runnel_trio._broker._redis._transport._endpoint import client_of  # as above

    return client_of(config)
