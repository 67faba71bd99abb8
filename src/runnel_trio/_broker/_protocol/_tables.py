"""The verbs about tables: of the owner that reads ahead, and of whoever reads and writes from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._values import CommitOutcome, Lease, ProcessorSpec, TableRead, TableWrites

__all__ = ["Tables"]


class Tables(Protocol):
    """Entries of tables; the rules are in `_rules/_tables`. Owners write them with `Ownership.commit`."""

    async def read_tables(
        self, processor: ProcessorSpec, wanted: Mapping[int, Mapping[str, Sequence[bytes]]]
    ) -> TableRead:
        """Read entries, by partition and table; with no fields, only how many there are."""
        ...

    async def scan_table(
        self, processor: ProcessorSpec, number: int, name: str, cursor: bytes = b"0"
    ) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
        """A page of a table's entries, those that are over too, and the cursor of the next page.

        It begins with the cursor ``b"0"``, and is over when that comes again. What is there all the time is
        in one page at least.
        """
        ...

    async def table_names(self, processor: ProcessorSpec, number: int) -> Sequence[str]:
        """The tables that have had entries in a partition."""
        ...

    async def write_table(self, processor: ProcessorSpec, number: int, writes: TableWrites) -> CommitOutcome:
        """Change entries from outside; the owner does again what it has not committed.

        Returns:
            COMMITTED; FULL: the server has no memory left; SEALED: the partition is of a former layout.
        """
        ...

    async def copy_table(self, processor: ProcessorSpec, number: int, writes: TableWrites) -> bool:
        """Bring entries of a former layout to a partition; False: somebody has owned it, or written there."""
        ...

    async def drop_tables(self, processor: ProcessorSpec, lease: Lease, names: Sequence[str]) -> bool:
        """Delete tables of a partition that are elsewhere now; False: the lease is another's."""
        ...
