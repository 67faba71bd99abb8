"""The verbs of a partition's owner: acquire the lease, commit, release."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._values import (
    Acquired,
    Commit,
    CommitOutcome,
    Held,
    Lease,
    ProcessorSpec,
    Quarantine,
)
from runnel_trio._rules._cursor import LogState

__all__ = ["Ownership"]


class Ownership(Protocol):
    """Leases, and the verbs that need one; the rules are in `_rules/_lease` and `_rules/_commit`."""

    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held | Quarantine]:
        """Take leases; with a `Held` that was seen before, by force, if owner and epoch are still those."""
        ...

    async def mark_attempt(self, processor: ProcessorSpec, lease: Lease, xid: bytes, count: int) -> bool:
        """Mark that an entry is about to be handled for the ``count``-th time; False: another owns the lease.

        If the process dies over the entry, the next owner finds the mark. A clean release removes it.
        """
        ...

    async def log_states(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[LogState | None]:
        """The state of log and cursor in each partition; None where the processor has no cursor."""
        ...

    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        """Move cursors, each only if its lease and its position are what the owner believes."""
        ...

    async def commit_replicated(
        self, processor: ProcessorSpec, commits: Sequence[Commit], count: int, within: float
    ) -> int:
        """Wait until ``count`` replicas have these commits; one that a failover has lost is made again.

        Returns:
            At least so many replicas have them; fewer than ``count`` if ``within`` seconds were not enough.
        """
        ...

    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        """Give leases up, and tell the party. A lease that is no longer held is left alone."""
        ...

    async def quarantine(self, processor: ProcessorSpec, lease: Lease, why: Quarantine) -> bool:
        """Make a partition stand still, and give its lease up; False if the lease is another's."""
        ...
