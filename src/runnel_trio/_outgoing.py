"""What one `Stream.send` still has to send, by partition, and what of it goes first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, takewhile
from typing import Any

import attrs

from runnel_trio._broker._protocol import Batch
from runnel_trio.exceptions import RecordInvalid

__all__ = ["CHUNK_RECORDS", "Chunks", "Pending", "flat", "rows_of"]

#: What one script call may carry: more would hold up everybody else on the server.
CHUNK_RECORDS = 1000
_CHUNK_BYTES = 1 << 20


def rows_of(values: list[bytes], width: int) -> tuple[Iterable[Any], Callable[[list[Any]], list[bytes]]]:
    """What stands for an entry each, and how to get at its values: one alone stands for itself.

    A tuple for each of very many would set off the garbage collector, again and again.
    """
    if width == 1:
        return values, list
    return zip(*[iter(values)] * width, strict=True), flat


def flat(rows: list[Iterable[bytes]]) -> list[bytes]:
    return list(chain.from_iterable(rows))


@attrs.define(eq=False)
class Pending:
    """What one `Stream.send` has left for a partition: in columns, since it may be very much.

    Attributes:
        names: of the entries' fields.
        rows: what is to be written before anything else.
        write: rows → values. Cannot fail, but for a record that is too large.
        values: of the fields, entry by entry.
        ids: of the entries, None for one that the server gives; empty if it gives them all.
    """

    names: tuple[bytes, ...]
    rows: list[Any]
    write: Callable[[list[Any]], list[bytes]]
    values: list[bytes] = attrs.field(factory=list)
    ids: list[bytes | None] = attrs.field(factory=list)

    def chunk(self) -> Batch:
        """What goes first: as much as one call may carry."""
        if self.rows:
            self.values, self.rows = self.write(self.rows), []
        width = len(self.names)
        count = min(len(self.values) // width, CHUNK_RECORDS)
        ids = None
        if self.ids:
            given = self.ids[0] is not None
            alike = takewhile(lambda xid: (xid is not None) == given, self.ids[:count])
            found = [xid or b"" for xid in alike]
            count = len(found)
            ids = found if given else None
        while count > 1 and sum(map(len, self.values[: count * width])) > _CHUNK_BYTES:
            count //= 2
        return Batch(self.names, self.values[: count * width], ids and ids[:count])

    def drop(self, count: int) -> None:
        """So many from the front are stored."""
        del self.ids[:count], self.values[: count * len(self.names)]


@attrs.frozen(eq=False)
class Chunks(Mapping[int, Batch]):
    """What goes first of each partition: made when it is looked at.

    Attributes:
        pending: what there is.
        refused: why nothing more is made; what was made before is on its way, and empty batches follow it.
    """

    pending: Mapping[int, Pending]
    refused: list[RecordInvalid] = attrs.field(factory=list, init=False)
    _made: dict[int, Batch] = attrs.field(factory=dict, init=False)

    def __getitem__(self, number: int) -> Batch:
        if number not in self._made:
            self._made[number] = self._chunk(self.pending[number])
        return self._made[number]

    def _chunk(self, pending: Pending) -> Batch:
        if not self.refused:
            try:
                return pending.chunk()
            except RecordInvalid as error:
                self.refused.append(error)
        return Batch(pending.names, [])

    def __iter__(self) -> Iterator[int]:
        return iter(self.pending)

    def __len__(self) -> int:
        return len(self.pending)
