"""The verbs about what a processor has emitted, and is on its way to another node of a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from runnel_trio._broker._values import Appended, OutboxRecord, ProcessorSpec, StreamSpec

__all__ = ["Outbox"]


class Outbox(Protocol):
    """Commits put records into an outbox (`Commit.outbox`); from there they are relayed, and removed."""

    async def outbox_records(
        self, processor: ProcessorSpec, number: int, count: int
    ) -> Sequence[OutboxRecord]:
        """The first records in the outbox of a partition."""
        ...

    async def relay(
        self,
        processor: ProcessorSpec,
        number: int,
        records: Sequence[OutboxRecord],
        target: StreamSpec,
        to: int,
    ) -> Appended:
        """Append records of an outbox to a partition of another stream, in order, none of them twice.

        Args:
            processor: whose outbox.
            number: of which of its partitions.
            records: as `outbox_records` gave them, in order.
            target: the stream that they go to.
            to: the number of the partition there.

        Returns:
            How many are there now, from the front; fewer where it is full. `SEALED` where it takes entries
            for another layout.
        """
        ...

    async def remove_from_outbox(self, processor: ProcessorSpec, number: int, ids: Sequence[bytes]) -> None:
        """Remove records from an outbox: they are where they go."""
        ...
