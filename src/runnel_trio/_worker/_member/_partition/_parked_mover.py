"""Copies the lists of parked keys to the partitions of the next layout, before anybody reads there.

A layout holds its processor as long as keys are parked in it, so nobody has owned a partition of the next one
when their lists arrive. The owner copies a list, and removes it here with a commit. If it ends between the
two, the next owner copies it again. If an owner that was replaced goes on copying, the server refuses that as
soon as somebody has owned the partition where the list goes.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from runnel_trio._broker._protocol import Broker, Ownership
from runnel_trio._broker._values import ParkedChange, ProcessorSpec
from runnel_trio._rules._drained import is_behind
from runnel_trio._rules._parked import Facts, Head, facts_text

__all__ = ["ParkedMover", "is_log_through"]

#: So many entries are copied at a time.
_PAGE = 500


async def is_log_through(broker: Ownership, processor: ProcessorSpec, number: int) -> bool:
    """Whether a processor has acknowledged all that is in a partition: then no event can follow."""
    (state,) = await broker.log_states(processor, [number])
    return state is not None and not is_behind(state)


@attrs.define(eq=False, kw_only=True)
class ParkedMover:
    """Moves what is parked in one layout.

    Attributes:
        broker: where the lists are.
        processor: whose, in the layout that they leave.
        stage: the same, in the layout where they go.
    """

    broker: Broker
    processor: ProcessorSpec
    stage: ProcessorSpec

    async def move(self, number: int, heads: Mapping[bytes, Head]) -> list[tuple[bytes, Head]]:
        """Copy the lists of a partition; returns those that were copied, as they were then."""
        copied = []
        for key, (head, facts) in (await self.broker.parked_values(self.processor, number)).items():
            if heads.get(key) == head and await self._copy(number, key, head, facts):
                copied.append((key, head))
        return copied

    async def _copy(self, number: int, key: bytes, head: Head, facts: Facts) -> bool:
        """Copy a list, in place of what may be left of an earlier copy; whether it is there now."""
        target = facts.hash % self.stage.stream.partition_count
        seen = None
        for first in range(head.first, max(head.first, head.last) + 1, _PAGE):
            last = min(head.last, first + _PAGE - 1)
            found = await self.broker.parked_entries(self.processor, number, key, first, last)
            entries = [packed for packed in found if packed is not None]
            if len(entries) < len(found):
                return False  # an operator has changed it meanwhile
            now = attrs.evolve(head, first=1, last=last - head.first + 1)
            change = ParkedChange(key, seen, now, entries, facts_text(facts))
            if not await self._put(target, change):
                return False
            seen = now
        return True

    async def _put(self, target: int, change: ParkedChange) -> bool:
        if await self.broker.move_parked(self.stage, target, change):
            return True
        there = (await self.broker.parked_heads(self.stage, target)).get(change.key)
        if there is None or change.seen is not None:
            return False
        left = ParkedChange(change.key, there, None)
        return await self.broker.move_parked(self.stage, target, left) and await self.broker.move_parked(
            self.stage, target, change
        )
