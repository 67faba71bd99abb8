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
        """Whether `append` reads its batches before its first wait, and sends some while it reads others."""
        ...

    def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Awaitable[Mapping[int, Appended]]:
        """Store entries, in order within each partition, none of them twice.

        Args:
            stream: whose partitions they are.
            batches: by partition. With `appends_at_once`, a batch may be made when it is read: all are read
                before the first wait.

        Returns:
            For each partition, how many of its entries were stored, counted from the front; fewer than given
                if it is full. `SEALED`: it takes entries for another layout, see `Catalog.reconcile_layout`.

        Raises:
            BrokerUnavailable: there was no answer for a while; the entries may have been stored or not.
            Misconfigured: an explicit id is not above the partition's last one.

        Cancellation: the call waits for the outcome of a batch that is under way, which is stored or not.
        """
        ...

    async def replicated(
        self, stream: StreamSpec, partitions: Collection[int], count: int, within: float
    ) -> int:
        """Wait until ``count`` replicas have what was written to partitions so far.

        Returns:
            At least so many replicas have it; fewer than ``count`` if ``within`` seconds were not enough.

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
        """The entries that are stored behind an id, without waiting for new ones."""
        ...

    async def remove(self, stream: StreamSpec, partition: int, xids: Sequence[bytes]) -> int:
        """Delete entries. Returns how many of them existed."""
        ...

    async def transfer(self, stream: StreamSpec, partition: int, xid: bytes, output: Output) -> CommitOutcome:
        """Delete an entry and store another one elsewhere, in one step; REWOUND if there is no such entry."""
        ...
