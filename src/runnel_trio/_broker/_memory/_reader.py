"""Reads of the memory broker: they wait until something is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from runnel_trio._broker._memory._store import Log, Store
from runnel_trio._broker._values import Entry

__all__ = ["MemoryReader"]


@attrs.define(eq=False)
class MemoryReader:
    """See `_protocol.Reader`."""

    _log: Callable[[int], Log]
    _store: Store
    _block: float
    interruptions: int = attrs.field(default=0, init=False)
    _woken: trio.Event = attrs.field(factory=trio.Event, init=False)

    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        """See `_protocol.Reader`."""
        await trio.lowlevel.checkpoint()
        found = self._look(positions, count)
        if found or self._woken.is_set():
            self._woken = trio.Event()
            return found
        with trio.move_on_after(self._block):
            async with trio.open_nursery() as nursery:
                for wait in (self._woken.wait, self._store.appended):
                    nursery.start_soon(_then_cancel, wait, nursery.cancel_scope)
        self._woken = trio.Event()
        return self._look(positions, count)

    def _look(self, positions: Mapping[int, bytes], count: int) -> dict[int, Sequence[Entry]]:
        found = {number: self._log(number).after(xid, count) for number, xid in positions.items()}
        return {number: entries for number, entries in found.items() if entries}

    def wake(self) -> None:
        """See `_protocol.Reader`."""
        self._woken.set()

    async def aclose(self) -> None:
        """See `_protocol.Reader`."""
        await trio.lowlevel.checkpoint()


async def _then_cancel(wait: Callable[[], object], scope: trio.CancelScope) -> None:
    await wait()  # type: ignore[misc]  # either of two coroutine functions
    scope.cancel()
