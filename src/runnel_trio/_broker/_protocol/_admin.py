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
        """All partitions of a stream, for people who look; each as of a moment of its own."""
        ...

    async def quarantined(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[Quarantine | None]:
        """Why partitions stand still; None where they do not."""
        ...

    async def resume(
        self, processor: ProcessorSpec, why: Quarantine, *, skip: bool, outputs: Sequence[Output] = ()
    ) -> CommitOutcome:
        """Lift exactly this quarantine, and tell the party.

        Args:
            processor: whose.
            why: the quarantine that was seen; FENCED when there is another one or none.
            skip: acknowledge the entries that failed. REWOUND when the cursor is not right before them.
            outputs: stored in the same step.
        """
        ...

    async def pause(self, processor: ProcessorSpec, whys: Sequence[Quarantine]) -> Sequence[bool]:
        """Let partitions stand still whoever owns them, and tell the party: owners end the event in hand.

        Returns:
            For each whether it does so now; False: it stood still already, for another reason.
        """
        ...

    async def rewind(
        self, processor: ProcessorSpec, starts: Mapping[int, bytes], *, dry_run: bool, empty: bool = False
    ) -> Sequence[Rewound]:
        """Set cursors, whoever owns the partitions; lifts quarantines and forgets attempts.

        Args:
            processor: whose.
            starts: by partition: process what comes after this id; ``b"$"``, or an id behind the end, for
                what is added from now on.
            dry_run: only say what would happen.
            empty: delete all entries of tables there, in the same step.
        """
        ...

    async def forget(self, processor: ProcessorSpec) -> int:
        """Delete cursors, leases, quarantines and members; returns in how many partitions it had a cursor."""
        ...
