"""The outside, behind one seam: `_protocol` says what a broker can do, and two of them can.

`_redis` is the only room that knows redis-py; it is entered when a URL asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runnel_trio._broker._memory import open_memory
from runnel_trio._broker._protocol import Broker

__all__ = ["open_broker"]


@asynccontextmanager
async def open_broker(url: str) -> AsyncIterator[Broker]:
    """The broker at ``url``, opened: redis://, rediss://, unix://, embedded:// or memory://."""
    if url.startswith("memory://"):
        async with open_memory(url) as memory:
            yield memory
        return
    from runnel_trio._broker._redis._broker import open_redis  # its import is not for everybody

    async with open_redis(url) as broker:
        yield broker
