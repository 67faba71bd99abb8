"""The verbs of operators: acting on a processor's partitions, and looking at them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._seen import Surveyed
from runnel_trio._broker._values import (
    CommitOutcome,
    Output,
    ProcessorSpec,
    Quarantine,
    Rewound,
    StreamSpec,
)

__all__ = ["Admin"]


class Admin(Protocol):
    """The verbs of an operator, who needs no lease for them."""

    async def survey(self, stream: StreamSpec) -> Sequence[Surveyed]:
        """What people are shown about the partitions of a stream; each is read at a moment of its own."""
        ...

    async def quarantined(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[Quarantine | None]:
        """Why each of these partitions stands still; None for one that does not."""
        ...

    async def resume(
        self, processor: ProcessorSpec, why: Quarantine, *, skip: bool, outputs: Sequence[Output] = ()
    ) -> CommitOutcome:
        """Lift exactly this quarantine, and tell the party.

        Args:
            processor: whose partition it is.
            why: the quarantine that the caller has seen; FENCED if there is another one, or none.
            skip: whether to acknowledge the entries that failed; REWOUND if the cursor is not right before
                them.
            outputs: entries to store in the same step.
        """
        ...

    async def pause(self, processor: ProcessorSpec, whys: Sequence[Quarantine]) -> Sequence[bool]:
        """Make partitions stand still, whoever owns them, and tell the party: owners finish what is in hand.

        Returns:
            For each partition, whether it stands still for this reason now; False if it did for another.
        """
        ...

    async def rewind(
        self, processor: ProcessorSpec, starts: Mapping[int, bytes], *, dry_run: bool, empty: bool = False
    ) -> Sequence[Rewound]:
        """Set cursors, whoever owns the partitions. This lifts quarantines and forgets attempts.

        Args:
            processor: whose cursors they are.
            starts: for each partition, the id after which processing goes on; ``b"$"``, or an id behind the
                end, means with what is added from now on.
            dry_run: only return what would happen.
            empty: delete all entries of tables there, in the same step.
        """
        ...

    async def forget(self, processor: ProcessorSpec) -> int:
        """Delete cursors, leases, quarantines and members. Returns how many partitions had a cursor."""
        ...
