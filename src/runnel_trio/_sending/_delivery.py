"""What one send has left to store: by partition, in order.

A stream may be repartitioned during a send. Then the records that are not stored yet are divided anew: the
entries stay encoded, and the partition numbers come from the records' keys. The records of one key were in
one partition, in order, and are again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, takewhile
from typing import Any

import attrs

from runnel_trio._broker._values import SEALED, Batch, StreamSpec
from runnel_trio._report._words import counted
from runnel_trio._rules._cursor import ORIGIN, is_after
from runnel_trio._sending._numbering import Numbering
from runnel_trio.exceptions import Misconfigured, RecordInvalid

__all__ = ["CHUNK_RECORDS", "Chunks", "Outgoing", "Pending", "Routing", "flat", "rows_of", "sorted_out"]

#: What one script call may carry: more would hold up everybody else on the server.
CHUNK_RECORDS = 1000
_CHUNK_BYTES = 1 << 20

#: What has become of the records, when their ids are refused.
_NOTHING = "Nothing was sent."
_MOVED = "The stream got other partitions while they were sent; those that were left were not sent."

_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_HIGHEST = 2**64 - 1


@attrs.frozen(eq=False)
class Routing:
    """Where records go. Replaced as a whole: other threads send too.

    Attributes:
        spec: the stream, as far as it is known.
        numbering: records → numbers of their partitions there.
    """

    spec: StreamSpec
    numbering: Numbering


@attrs.define(eq=False)
class Outgoing:
    """What one send has left.

    Attributes:
        records: all of its records.
        numbers: of their partitions; -1 for one that was stored in former partitions.
        pending: by partition.
        routing: by which the numbers are.
    """

    records: Sequence[Any]
    numbers: list[int]
    pending: dict[int, Pending]
    routing: Routing

    def took(self, stored: Mapping[int, int], chunks: Mapping[int, Batch]) -> list[int]:
        """So much is stored; the partitions that are full."""
        for number, count in stored.items():
            if count != SEALED:
                self.pending[number].drop(count)
        self.pending = {number: entries for number, entries in self.pending.items() if entries.values}
        return [number for number, chunk in chunks.items() if SEALED != stored[number] < len(chunk)]

    def unsent(self) -> list[int]:
        """The places, among all records, of those that are not stored: in each partition, the last ones."""
        left = {number: len(x.values) // len(x.names) for number, x in self.pending.items()}
        places = []
        for place in reversed(range(len(self.numbers))):
            if left.get(self.numbers[place], 0):
                left[self.numbers[place]] -= 1
                places.append(place)
        return places[::-1]

    def reroute(self, routing: Routing) -> None:
        """Deal out what is left anew.

        Raises:
            Misconfigured: explicit ids that rose within each former partition do not in the new ones.
        """
        for entries in self.pending.values():
            entries.encode()
        places, before = self.unsent(), self.pending
        fresh = routing.numbering.all([self.records[place] for place in places])
        old, self.numbers = self.numbers, [-1] * len(self.numbers)
        self.pending, self.routing = {}, routing
        taken = {number: entries.each() for number, entries in before.items()}
        for place, number in zip(places, fresh, strict=True):
            self.numbers[place] = number
            whole = before[old[place]]
            values, ids = next(taken[old[place]])
            pending = self.pending.setdefault(number, Pending(whole.names, [], whole.write))
            pending.values += values
            pending.ids += ids
        for number, entries in self.pending.items():
            _refuse_falling(routing.spec.name, number, entries.ids, _MOVED)


def sorted_out(
    spec: StreamSpec,
    names: tuple[bytes, ...],
    rows: Iterable[Any],
    write: Callable[[list[Any]], list[bytes]],
    numbers: list[int],
    stream_ids: Iterable[str | bytes] | None,
) -> dict[int, Pending]:
    """What goes to each partition.

    Raises:
        Misconfigured: ids that cannot be given.
    """
    ids = _checked_ids(stream_ids, len(numbers))
    sorted_rows: dict[int, list[Any]] = {number: [] for number in dict.fromkeys(numbers)}
    for number, row in zip(numbers, rows, strict=True):
        sorted_rows[number].append(row)
    pending = {number: Pending(names, own, write) for number, own in sorted_rows.items()}
    for number, xid in zip(numbers, ids, strict=False):
        pending[number].ids.append(xid)
    for number, entries in pending.items():
        _refuse_falling(spec.name, number, entries.ids)
    return pending


def _checked_ids(stream_ids: Iterable[str | bytes] | None, count: int) -> list[bytes | None]:
    if stream_ids is None:
        return []
    ids = [xid.decode() if isinstance(xid, bytes) else str(xid) for xid in stream_ids]
    if len(ids) != count:
        raise Misconfigured(
            f"send() was given {counted(count, 'record')}, and {len(ids):,} as stream_ids: one each is needed"
        )
    return [None if xid == "*" else _checked_id(xid) for xid in ids]


def _checked_id(xid: str) -> bytes:
    """The id in the server's own writing, so that two of them compare as they are written."""
    found = _ID.fullmatch(xid)
    parts = [int(part) for part in found.groups()] if found else []
    if not found or max(parts) > _HIGHEST:
        raise Misconfigured(f"{xid!r} is no stream id: write '<milliseconds>-<sequence>', or '*'")
    return b"%d-%d" % tuple(parts)


def _refuse_falling(name: str, number: int, ids: Iterable[bytes | None], then: str = _NOTHING) -> None:
    """Before anything is sent; the server compares the first with what it has."""
    last = ORIGIN
    for xid in ids:
        if xid is None:
            continue
        if not is_after(xid, last):
            raise Misconfigured(
                f"{name}[{number}]: stream id {xid.decode()} is not above {last.decode()}; "
                f"ids must rise within a partition. {then}"
            )
        last = xid


def rows_of(values: list[bytes], width: int) -> tuple[Iterable[Any], Callable[[list[Any]], list[bytes]]]:
    """What stands for an entry each, and how to get at its values: one alone stands for itself.

    A tuple for each of very many would set off the garbage collector, again and again.
    """
    if width == 1:
        return values, list
    return zip(*[iter(values)] * width, strict=True), flat


def flat(rows: list[Iterable[bytes]]) -> list[bytes]:
    """The values of entries, one entry after the other."""
    return list(chain.from_iterable(rows))


@attrs.define(eq=False)
class Pending:
    """What one send has left for a partition: in columns, since it may be very much.

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

    def encode(self) -> None:
        """Write what is not written yet."""
        if self.rows:
            self.values, self.rows = self.write(self.rows), []

    def chunk(self) -> Batch:
        """What goes first: as much as one call may carry."""
        self.encode()
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

    def each(self) -> Iterator[tuple[list[bytes], list[bytes | None]]]:
        """The values of one entry after the other, and its id if ids are given."""
        width = len(self.names)
        for at in range(len(self.values) // width):
            yield self.values[at * width : (at + 1) * width], self.ids[at : at + 1]

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
