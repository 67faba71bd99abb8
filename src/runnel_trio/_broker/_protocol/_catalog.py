"""Which streams exist, which layouts each has, and how its layout changes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._values import Layouts, ProcessorSpec, StreamSpec

__all__ = ["Catalog"]


class Catalog(Protocol):
    """Streams and their layouts; the rules of a change are in `_rules/_layout`."""

    async def streams(self, app: str) -> Sequence[StreamSpec]:
        """The streams of an app that the server knows, by name, as they were declared last."""
        ...

    async def declare(self, stream: StreamSpec, *, dry_run: bool = False) -> Layouts:
        """Store what must never change about a stream, or compare it with what is stored.

        A repartitioning that was begun is completed. With ``dry_run``, nothing is written.

        Raises:
            Misconfigured: the stream exists with another record or hasher, or never had so many partitions.
        """
        ...

    async def create_groups(
        self, stream: StreamSpec, names: Collection[str]
    ) -> Mapping[str, Mapping[int, int]]:
        """Give processors a cursor at the start of each partition of this layout where they have none.

        From then on, an entry there is trimmed only when they have passed it. `subscribe` does this in every
        layout.

        Returns:
            For each processor, the partitions where it had no cursor, with the number of entries that had
                left the log before. (If it has committed there before, the owner works out what is lost.)
        """
        ...

    async def layouts(self, stream: StreamSpec) -> Layouts | None:
        """The layouts of a stream; None if nobody has declared it. Changes nothing."""
        ...

    async def reconcile_layout(self, stream: StreamSpec) -> Layouts:
        """Declare a stream of which a partition refused entries; make its partitions agree on the layout."""
        ...

    async def repartition(self, stream: StreamSpec, count: int) -> Layouts:
        """Give a stream ``count`` new partitions; its present ones take no more entries.

        Args:
            stream: the stream as `layouts` describes it. Nothing is done if it has changed since, or still
                has former partitions.
            count: how many partitions the new layout has.
        """
        ...

    async def undrained(self, processor: ProcessorSpec) -> Sequence[int]:
        """The partitions that a processor must finish before it leaves the layout; see `_rules/_drained`."""
        ...

    async def announce_layout(self, processor: ProcessorSpec) -> None:
        """Tell the processor's members that the stream has other partitions now."""
        ...

    async def discard(self, stream: StreamSpec, processors: Collection[str]) -> Sequence[int]:
        """Delete the partitions of a former layout, with what these processors have there.

        Returns:
            The numbers of the partitions that stay: a processor has not acknowledged everything in them, or
                nobody ever read them. If none stays, the stream has no former layout any more.
        """
        ...
