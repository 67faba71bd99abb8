"""The memory broker: the same verbs and the same rules, in this process, on Trio's clock.

With `trio.testing.MockClock` a cluster of workers runs in virtual time. `_store.Store` is what a server
would be, `MemoryBroker` a client of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import attrs
import trio

from runnel_trio._broker._memory._admin import MemoryAdmin
from runnel_trio._broker._memory._catalog import MemoryCatalog
from runnel_trio._broker._memory._logs import MemoryLogs
from runnel_trio._broker._memory._outbox import MemoryOutbox
from runnel_trio._broker._memory._ownership import MemoryOwnership
from runnel_trio._broker._memory._parking import MemoryParking
from runnel_trio._broker._memory._parties import MemoryParties
from runnel_trio._broker._memory._store import Store
from runnel_trio._broker._memory._tables import MemoryTables
from runnel_trio._broker._protocol import Broker
from runnel_trio._override import override

__all__ = ["MemoryBroker", "open_memory"]

_stores: trio.lowlevel.RunVar[dict[str, Store]] = trio.lowlevel.RunVar("runnel_trio_stores")


@asynccontextmanager
async def open_memory(url: str) -> AsyncIterator[MemoryBroker]:
    """A client of the store that ``url`` names (``memory://NAME``), one for each run of Trio."""
    try:
        stores = _stores.get()
    except LookupError:
        stores = {}
        _stores.set(stores)
    yield MemoryBroker(url=url, store=stores.setdefault(url, Store()))


@attrs.define(eq=False, kw_only=True)
class MemoryBroker(
    MemoryCatalog,
    MemoryLogs,
    MemoryOwnership,
    MemoryParking,
    MemoryOutbox,
    MemoryTables,
    MemoryParties,
    MemoryAdmin,
    Broker,
):
    """All verbs; what it says of its server is the same for every store."""

    url: str = "memory://"
    about: str = "none, only the memory of this process"
    clock: Callable[[], float] = trio.current_time
    clustered: bool = False
    keys_per_read: int = 32

    @override
    def watch(self, away: Callable[[], None], back: Callable[[float], None]) -> None:
        """Nothing is ever away."""

    @override
    def wall(self) -> float:
        return self.store.time_of_day()

    @override
    def id_time(self) -> float:
        return trio.current_time()

    @override
    async def time(self) -> float:
        await trio.lowlevel.checkpoint()
        return trio.current_time()
