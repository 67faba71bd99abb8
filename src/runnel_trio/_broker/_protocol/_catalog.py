"""Which streams there are, the layouts that each has, and how these change."""

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
        """Fix what must never change about a stream, or compare; complete a change that was begun.

        With ``dry_run`` it is only compared.

        Raises:
            Misconfigured: it exists with another record or hasher, or never had so many partitions.
        """
        ...

    async def create_groups(
        self, stream: StreamSpec, names: Collection[str]
    ) -> Mapping[str, Mapping[int, int]]:
        """Give processors a cursor in each partition of this layout where they have none, at its start.

        From then on no entry is trimmed there that they have not passed. `subscribe` does so in every layout.

        Returns:
            By name, and by the numbers of the partitions where it had no cursor: how many entries had left
                the log before its time. (Of one that has committed there, an owner finds what it has lost.)
        """
        ...

    async def layouts(self, stream: StreamSpec) -> Layouts | None:
        """In which partitions a stream is; None when nobody has declared it. Changes nothing."""
        ...

    async def reconcile_layout(self, stream: StreamSpec) -> Layouts:
        """Declare a stream that a partition has refused, and make all its partitions agree on the layout."""
        ...

    async def repartition(self, stream: StreamSpec, count: int) -> Layouts:
        """Give a stream ``count`` new partitions; those that it has take nothing more.

        Args:
            stream: as it is, by `layouts`; nothing is done when it is no longer so, or when there still are
                former partitions.
            count: how many partitions the new layout has.
        """
        ...

    async def undrained(self, processor: ProcessorSpec) -> Sequence[int]:
        """The partitions that keep the processor from leaving the layout, see `_rules/_drained`."""
        ...

    async def announce_layout(self, processor: ProcessorSpec) -> None:
        """Tell the processor's members that the stream has other partitions now."""
        ...

    async def discard(self, stream: StreamSpec, processors: Collection[str]) -> Sequence[int]:
        """Delete the partitions of a former layout, with what these processors have there.

        Returns:
            The numbers of those that stay: somebody has not acknowledged everything, or nobody ever read it.
                When there are none, the stream has no former layout any more.
        """
        ...
