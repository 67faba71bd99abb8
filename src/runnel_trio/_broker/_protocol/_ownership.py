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
        """Take leases; with a `Held` that was seen before, by force from exactly that owner and epoch."""
        ...

    async def mark_attempt(self, processor: ProcessorSpec, lease: Lease, xid: bytes, count: int) -> bool:
        """Mark that an entry is about to be handled for the ``count``-th time; False: the lease is another's.

        The mark tells the next owner, if this one's process ends over it. It goes with a clean release.
        """
        ...

    async def log_states(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[LogState | None]:
        """What the server says about partitions; None where the processor has no cursor."""
        ...

    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        """Move cursors, each one only if lease and cursor are as its owner believes."""
        ...

    async def commit_replicated(
        self, processor: ProcessorSpec, commits: Sequence[Commit], count: int, within: float
    ) -> int:
        """Wait until ``count`` replicas have these commits; one that a failover has lost is made anew.

        Returns:
            How many have them, at least; fewer than ``count`` when ``within`` seconds were not enough.
        """
        ...

    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        """Give leases up, and tell the party; those that are no longer held are left alone."""
        ...

    async def quarantine(self, processor: ProcessorSpec, lease: Lease, why: Quarantine) -> bool:
        """Let a partition stand still, and give its lease up; False: the lease is another's."""
        ...
