"""What one send has left to store: by partition, in order.

A stream may be repartitioned during a send. Then the records that are not stored yet are divided again. Their
entries stay encoded; their partition numbers are computed anew from the records' keys. The records of one key
were in one partition, in order, and so they are again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, takewhile
from typing import Any

import attrs

from runnel_trio._broker._values import SEALED, Appended, Batch, StreamSpec
from runnel_trio._report._words import counted
from runnel_trio._rules._cursor import ORIGIN, is_after
from runnel_trio._sending._numbering import Numbering
from runnel_trio.exceptions import Misconfigured, RecordInvalid

__all__ = [
    "CHUNK_RECORDS",
    "Chunks",
    "Outgoing",
    "Pending",
    "Routing",
    "flat",
    "full_partitions",
    "rows_of",
    "sorted_out",
    "stored_in",
]

#: The most that one script call may carry: more would hold up other clients of the server.
CHUNK_RECORDS = 1000
_CHUNK_BYTES = 1 << 20

#: What an error about refused ids says of the records.
_NOTHING = "Nothing was sent."
_MOVED = "The stream got other partitions while they were sent; those that were left were not sent."

_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_HIGHEST = 2**64 - 1


@attrs.frozen(eq=False)
class Routing:
    """Where records go. It is replaced as a whole, because other threads send too.

    Attributes:
        spec: the stream in its newest known layout.
        numbering: records → partition numbers in that layout.
    """

    spec: StreamSpec
    numbering: Numbering


@attrs.define(eq=False)
class Outgoing:
    """What one send has left to store.

    Attributes:
        records: all of its records.
        numbers: the partition number of each; -1 for a record stored in a former partition.
        pending: what is left, by partition.
        routing: the routing that the numbers belong to.
    """

    records: Sequence[Any]
    numbers: list[int]
    pending: dict[int, Pending]
    routing: Routing

    def took(self, stored: Mapping[int, Appended], chunks: Mapping[int, Batch]) -> list[int]:
        """Drop what was stored. Returns the partitions that were full."""
        for number, count in stored.items():
            if count is not SEALED:
                self.pending[number].drop(count)
        self.pending = {number: entries for number, entries in self.pending.items() if entries.values}
        return full_partitions(stored, chunks)

    def unsent(self) -> list[int]:
        """The indexes of the records that are not stored; in each partition these are the last ones."""
        left = {number: len(x.values) // len(x.names) for number, x in self.pending.items()}
        places = []
        for place in reversed(range(len(self.numbers))):
            if left.get(self.numbers[place], 0):
                left[self.numbers[place]] -= 1
                places.append(place)
        return places[::-1]

    def reroute(self, routing: Routing) -> None:
        """Divide what is left among the partitions of another layout.

        Raises:
            Misconfigured: explicit ids rise within each former partition, but not within the new ones.
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


def stored_in(stored: Mapping[int, Appended]) -> int:
    """How many entries all partitions together have stored, by the answer of `Logs.append`."""
    return sum(count for count in stored.values() if count is not SEALED)


def full_partitions(stored: Mapping[int, Appended], batches: Mapping[int, Batch]) -> list[int]:
    """The partitions that had room for only some of what they were offered, or for nothing."""
    return [
        number
        for number, batch in batches.items()
        if (count := stored[number]) is not SEALED and count < len(batch)
    ]


def sorted_out(
    spec: StreamSpec,
    names: tuple[bytes, ...],
    rows: Iterable[Any],
    write: Callable[[list[Any]], list[bytes]],
    numbers: list[int],
    stream_ids: Iterable[str | bytes] | None,
) -> dict[int, Pending]:
    """What to store in each partition.

    Raises:
        Misconfigured: unusable ids.
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
    """The id as the server writes it, so that two ids can be compared as text."""
    found = _ID.fullmatch(xid)
    parts = [int(part) for part in found.groups()] if found else []
    if not found or max(parts) > _HIGHEST:
        raise Misconfigured(f"{xid!r} is no stream id: write '<milliseconds>-<sequence>', or '*'")
    return b"%d-%d" % tuple(parts)


def _refuse_falling(name: str, number: int, ids: Iterable[bytes | None], then: str = _NOTHING) -> None:
    """Refuse ids that do not rise, before anything is sent; the server checks the first of them."""
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
    """A row for each entry, and the function from rows to values. A single value is its own row.

    Very many tuples of one value would trigger the garbage collector again and again.
    """
    if width == 1:
        return values, list
    return zip(*[iter(values)] * width, strict=True), flat


def flat(rows: list[Iterable[bytes]]) -> list[bytes]:
    """The values of all entries, one entry after the other."""
    return list(chain.from_iterable(rows))


@attrs.define(eq=False)
class Pending:
    """What one send has left for a partition; in columns, because it may be very much.

    Attributes:
        names: names of the entries' fields.
        rows: records that still have to be encoded.
        write: rows → values. It fails only for a record that is too large.
        values: encoded values of the fields, entry by entry.
        ids: ids of the entries; None for one that the server chooses; empty if it chooses all.
    """

    names: tuple[bytes, ...]
    rows: list[Any]
    write: Callable[[list[Any]], list[bytes]]
    values: list[bytes] = attrs.field(factory=list)
    ids: list[bytes | None] = attrs.field(factory=list)

    def encode(self) -> None:
        """Encode what is not encoded yet."""
        if self.rows:
            self.values, self.rows = self.write(self.rows), []

    def chunk(self) -> Batch:
        """The next chunk: as many entries as one call may carry."""
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
        """Iterate over the entries: the values of each, and its id if ids are given."""
        width = len(self.names)
        for at in range(len(self.values) // width):
            yield self.values[at * width : (at + 1) * width], self.ids[at : at + 1]

    def drop(self, count: int) -> None:
        """Remove this many entries from the front, because they are stored."""
        del self.ids[:count], self.values[: count * len(self.names)]


@attrs.frozen(eq=False)
class Chunks(Mapping[int, Batch]):
    """The next chunk of each partition, made on first access.

    Attributes:
        pending: what is left, by partition.
        refused: the error after which no more chunks are made; earlier ones are sent, and empty ones follow.
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
