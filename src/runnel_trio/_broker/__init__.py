"""The outside, behind one seam: `_protocol` says what a broker can do, and two of them can.

`_redis` is the only room that knows redis-py; it is entered when a URL asks for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from runnel_trio._broker._memory import open_memory
from runnel_trio._broker._protocol import Broker, Place

__all__ = ["open_broker"]


@asynccontextmanager
async def open_broker(place: Place) -> AsyncIterator[Broker]:
    """The broker of a place, opened; the URL ``memory://`` means the one that has no server."""
    if place.url.startswith("memory://") and place.factory is None:
        async with open_memory(place.url) as memory:
            yield memory
        return
    from runnel_trio._broker._redis._broker import open_redis  # its import is not for everybody

    async with open_redis(place) as broker:
        yield broker
