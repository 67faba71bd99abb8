"""The logs of partitions: append, read and remove entries."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._protocol._reader import Reader
from runnel_trio._broker._values import (
    Appended,
    Batch,
    CommitOutcome,
    Entry,
    Output,
    ProcessorSpec,
    StreamSpec,
)

__all__ = ["Logs"]


class Logs(Protocol):
    """One log for each partition of a stream; nobody needs to own a partition for these verbs."""

    def log_key(self, stream: StreamSpec, partition: int) -> str:
        """The key of a partition's log."""
        ...

    @property
    def appends_at_once(self) -> bool:
        """Whether `append` reads what it is given at once, and sends part of it before it reads the rest."""
        ...

    def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Awaitable[Mapping[int, Appended]]:
        """Store entries, in order within each partition, none of them twice.

        Args:
            stream: where.
            batches: by partition. With `appends_at_once` each may be made when it is read: all are read
                before the first wait.

        Returns:
            How many of each partition's entries were stored, from the front; fewer where it is full. `SEALED`
                where it takes entries for another layout: see `Catalog.reconcile_layout`.

        Raises:
            BrokerUnavailable: no answer for a while; whether entries were stored is not known.
            Misconfigured: an explicit id is not above the partition's last one.

        Cancellation: entries under way are stored or not as a whole; their outcome is waited for.
        """
        ...

    async def replicated(
        self, stream: StreamSpec, partitions: Collection[int], count: int, within: float
    ) -> int:
        """Wait until ``count`` replicas have what was written to partitions so far.

        Returns:
            How many have it, at least; fewer than ``count`` when ``within`` seconds were not enough.

        Raises:
            BrokerUnavailable: another master has taken over, and does not have it.
        """
        ...

    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        """A new reader over the processor's partitions, which waits ``block`` seconds at a time."""
        ...

    async def entries(
        self, stream: StreamSpec, partition: int, *, after: bytes = b"0-0", count: int = 1000
    ) -> Sequence[Entry]:
        """Stored entries behind an id, without waiting for any."""
        ...

    async def remove(self, stream: StreamSpec, partition: int, xids: Sequence[bytes]) -> int:
        """Delete entries; returns how many were there."""
        ...

    async def transfer(self, stream: StreamSpec, partition: int, xid: bytes, output: Output) -> CommitOutcome:
        """Delete an entry and store another one elsewhere, in one step. REWOUND: there is no such entry."""
        ...
