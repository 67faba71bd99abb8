"""Parked keys in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import trio

from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Parking
from runnel_trio._broker._values import ParkedChange, ProcessorSpec
from runnel_trio._override import override
from runnel_trio._rules._parked import Facts, Head, parse_value

__all__ = ["MemoryParking"]


class MemoryParking(MemoryVerbs, Parking):
    """The lists are kept in the log that they belong to."""

    @override
    async def parked_heads(self, processor: ProcessorSpec, number: int) -> Mapping[bytes, Head]:
        await trio.lowlevel.checkpoint()
        return self._log(processor, number).heads(processor.name)

    @override
    async def parked_values(
        self, processor: ProcessorSpec, number: int, keys: Collection[bytes] | None = None
    ) -> Mapping[bytes, tuple[Head, Facts]]:
        await trio.lowlevel.checkpoint()
        lists = self._log(processor, number).parked.get(processor.name, {})
        wanted = {key: x for key, x in lists.items() if keys is None or key in keys}
        return {key: parse_value(x.head.text + b" " + x.facts) for key, x in wanted.items()}

    @override
    async def parked_entries(
        self, processor: ProcessorSpec, number: int, key: bytes, first: int, last: int
    ) -> Sequence[bytes | None]:
        await trio.lowlevel.checkpoint()
        kept = self._log(processor, number).parked.get(processor.name, {}).get(key)
        return [kept.entries.get(x) if kept else None for x in range(first, last + 1)]

    @override
    async def change_parked(
        self, processor: ProcessorSpec, number: int, changes: Sequence[ParkedChange]
    ) -> Sequence[bool]:
        await trio.lowlevel.checkpoint()
        done = [self._change(processor, number, change) for change in changes]
        self._tell(processor, "parked", [number])
        return done

    @override
    async def move_parked(self, processor: ProcessorSpec, number: int, change: ParkedChange) -> bool:
        await trio.lowlevel.checkpoint()
        never_owned = self._log(processor, number).lease(processor).epoch == 0
        return never_owned and self._change(processor, number, change)

    def _change(self, processor: ProcessorSpec, number: int, change: ParkedChange) -> bool:
        log = self._log(processor, number)
        if log.heads(processor.name).get(change.key) != change.seen:
            return False
        log.change_parked(processor.name, [change])
        return True
