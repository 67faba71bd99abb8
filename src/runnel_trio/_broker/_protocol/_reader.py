"""A blocking read, for entries of partitions and for messages to members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._values import Entry

__all__ = ["Reader"]


class Reader(Protocol):
    """Waits for new entries of many partitions at once. Only one task at a time may be in `read`."""

    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        """Wait for entries behind the given positions.

        Args:
            positions: partition number → id after which to read.
            count: how many entries to read of each partition, at most.

        Returns:
            Entries by partition; none after `wake`, and now and then none because nothing came.

        Cancellation: the call returns at once. Nothing is lost, because reading has no side effect.
        """
        ...

    @property
    def interruptions(self) -> int:
        """How often the connection was lost so far; what was known about the server may have changed then."""
        ...

    def wake(self) -> None:
        """Make the `read` under way return soon: the partitions of interest have changed."""
        ...

    async def aclose(self) -> None:
        """Give back what the reader holds."""
        ...
