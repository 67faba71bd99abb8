"""The verbs about parked keys: of the owner that tries them again, and of operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._values import ParkedChange, ProcessorSpec
from runnel_trio._rules._parked import Facts, Head

__all__ = ["Parking"]


class Parking(Protocol):
    """Lists of parked keys; the rules are in `_rules/_parked`. Owners change them with `Ownership.commit`."""

    async def parked_heads(self, processor: ProcessorSpec, number: int) -> Mapping[bytes, Head]:
        """The heads of all keys that are parked in a partition."""
        ...

    async def parked_values(
        self, processor: ProcessorSpec, number: int, keys: Collection[bytes] | None = None
    ) -> Mapping[bytes, tuple[Head, Facts]]:
        """The same, with what people are told of each; of those of these keys that are parked, if given."""
        ...

    async def parked_entries(
        self, processor: ProcessorSpec, number: int, key: bytes, first: int, last: int
    ) -> Sequence[bytes | None]:
        """The packed entries of a key with these numbers; None for one that is gone."""
        ...

    async def change_parked(
        self, processor: ProcessorSpec, number: int, changes: Sequence[ParkedChange]
    ) -> Sequence[bool]:
        """Change lists for an operator, each alone, and tell the party.

        Returns:
            For each change whether it was made; False: the head was another one.
        """
        ...

    async def move_parked(self, processor: ProcessorSpec, number: int, change: ParkedChange) -> bool:
        """Change a list of a partition that nobody has owned yet in this layout; False: nothing was done."""
        ...
