"""Reads of the memory broker: they wait until something is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from runnel_trio._broker._memory._store import Log, Store
from runnel_trio._broker._protocol import Reader
from runnel_trio._broker._values import Entry
from runnel_trio._override import override

__all__ = ["MemoryReader"]


@attrs.define(eq=False)
class MemoryReader(Reader):
    """A read that waits until the store has something new."""

    _log: Callable[[int], Log]
    _store: Store
    _block: float
    _woken: trio.Event = attrs.field(factory=trio.Event, init=False)

    @property
    @override
    def interruptions(self) -> int:
        return 0

    @override
    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        await trio.lowlevel.checkpoint()
        appended = self._store.appended  # before the look: nothing that comes after it is missed
        found = self._look(positions, count)
        if found or self._woken.is_set():
            self._woken = trio.Event()
            return found
        with trio.move_on_after(self._block):
            async with trio.open_nursery() as nursery:
                for wait in (self._woken.wait, appended.wait):
                    nursery.start_soon(_then_cancel, wait, nursery.cancel_scope)
        self._woken = trio.Event()
        return self._look(positions, count)

    def _look(self, positions: Mapping[int, bytes], count: int) -> dict[int, Sequence[Entry]]:
        found = {number: self._log(number).after(xid, count) for number, xid in positions.items()}
        return {number: entries for number, entries in found.items() if entries}

    @override
    def wake(self) -> None:
        self._woken.set()

    @override
    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


async def _then_cancel(wait: Callable[[], object], scope: trio.CancelScope) -> None:
    await wait()  # type: ignore[misc]  # either of two coroutine functions
    scope.cancel()
