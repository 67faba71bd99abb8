"""What an owner knows of its processor's tables in a partition, and what its next commit writes to them.

    on the server ──read ahead, loaded──▶ cached ──a turn writes──▶ its own ──its event is done──▶ written
                                             ▲                                                        │
                                             └────────────────── committed ◀──────────────────────────┘

A value is kept as it is stored, and decoded anew for each turn that reads it. What a turn writes is its own
until its event is done (`_partition/_loading.py`); then the turns after it read it, and it belongs to the
number of that event, as other effects do.

What is cached stays true as long as the epoch lasts: nobody else writes. If somebody does so from outside,
the next commit is refused (`TOUCHED`), and all this is dropped with the epoch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

import attrs

from runnel_trio._broker._protocol import Tables
from runnel_trio._broker._values import ProcessorSpec, TableWrites
from runnel_trio._rules._progress import Progress
from runnel_trio._rules._tables import entry_field, living
from runnel_trio._table import Table

__all__ = ["UNKNOWN", "Entry", "OwnedTables", "TableCache", "Writes"]

#: A table's name, and a field.
Entry: TypeAlias = tuple[str, bytes]
#: What becomes of entries; None: they are gone.
Writes: TypeAlias = dict[Entry, bytes | None]


class _Unknown:
    """The type of `UNKNOWN`."""


#: In place of a value that is not in memory.
UNKNOWN = _Unknown()
#: About what an entry costs in memory beside its bytes.
_OVERHEAD = 250
#: How many entries are looked at for each that comes, to find some that may leave.
_LOOKS = 4


@attrs.define(eq=False)
class TableCache:
    """The values that a worker has read, those first that nobody has needed for longest.

    Attributes:
        most: about how many bytes it may have; more, if events that wait need more.
        used: how many it has.
    """

    most: int
    used: int = attrs.field(default=0, init=False)
    _values: dict[tuple[OwnedTables, str, bytes], bytes | None] = attrs.field(factory=dict, init=False)

    def get(self, key: tuple[OwnedTables, str, bytes]) -> bytes | _Unknown | None:
        """A value; None: there is no such entry on the server."""
        return self._values.get(key, UNKNOWN)

    def put(self, key: tuple[OwnedTables, str, bytes], value: bytes | None) -> None:
        """Keep a value, in place of one before."""
        self._drop(key)
        self._values[key] = value
        self.used += _size(key, value)
        if self.used > self.most:
            self._trim()

    def renew(self, key: tuple[OwnedTables, str, bytes]) -> bool:
        """Somebody needs it; False: it is not here. While there is much room, nobody has to leave soon."""
        values = self._values
        if key not in values:
            return False
        if self.used * 2 > self.most:
            values[key] = values.pop(key)
        return True

    def forget(self, owned: OwnedTables) -> None:
        """Drop what one owner has read."""
        for key in [key for key in self._values if key[0] is owned]:
            self._drop(key)

    def _drop(self, key: tuple[OwnedTables, str, bytes]) -> None:
        if key in self._values:
            self.used -= _size(key, self._values.pop(key))

    def _trim(self) -> None:
        for _ in range(_LOOKS):
            key = next(iter(self._values), None)
            if key is None or self.used <= self.most:
                break
            if key[0].needs(key[2]):
                self._values[key] = self._values.pop(key)
            else:
                self._drop(key)
                key[0].left(key[2])


def _size(key: tuple[Any, str, bytes], value: bytes | None) -> int:
    return len(key[2]) + len(value or b"") + _OVERHEAD


@attrs.define(eq=False, kw_only=True)
class OwnedTables:
    """The tables of one partition.

    Attributes:
        broker: where they are.
        processor: whose.
        number: of the partition.
        tables: by name.
        cache: the worker's.
        clock: seconds.
        touched: how often others had written when this epoch began.
        progress: of the partition's events.
        is_limited: whether any table has a maximum of entries.
    """

    broker: Tables
    processor: ProcessorSpec
    number: int
    tables: Mapping[str, Table[Any]]
    cache: TableCache
    clock: Callable[[], float]
    touched: int
    progress: Progress = attrs.field(factory=Progress, init=False)
    is_limited: bool = attrs.field(init=False)
    _effects: list[tuple[int, Writes, dict[str, int]]] = attrs.field(factory=list, init=False)
    _written: Writes = attrs.field(factory=dict, init=False)
    _needed: dict[bytes, float] = attrs.field(factory=dict, init=False)
    _counts: dict[str, int] = attrs.field(factory=dict, init=False)
    _ahead: float | None = attrs.field(default=None, init=False)
    _loads: int = attrs.field(default=0, init=False)
    _lately: set[Entry] = attrs.field(factory=set, init=False)
    _sent: Writes = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self.is_limited = any(table.max_entries is not None for table in self.tables.values())

    @property
    def now(self) -> float:
        """The server's time in milliseconds since 1970, as near as it is known from the last read."""
        return self.clock() * 1000 + (self._ahead or 0.0)

    def value(self, entry: Entry) -> bytes | _Unknown | None:
        """What the events that are done have left of an entry; `UNKNOWN` if it is not in memory."""
        found = self._written.get(entry, UNKNOWN)
        if found is UNKNOWN:
            found = self.cache.get((self, entry[0], entry[1]))
        if found is None or found is UNKNOWN or found[1:9] == _NEVER:  # type: ignore[index]  # it is bytes
            return found
        return living(found, self.now)  # type: ignore[arg-type]  # as above

    def count(self, name: str) -> int:
        """How many entries a table has here, with those that the next commits bring."""
        return self._counts.get(name, 0) + sum(more.get(name, 0) for _, _, more in self._effects)

    def need(self, key: bytes, number: float) -> list[Entry]:
        """An event of this number needs the entries of its key; those that are to be loaded for it."""
        field = entry_field(key)
        needed, cache, written = self._needed, self.cache, self._written
        if needed.get(field, -1) < number:
            needed[field] = number
        return [
            (name, field)
            for name in self.tables
            if (name, field) not in written and not cache.renew((self, name, field))
        ]

    def needs(self, field: bytes) -> bool:
        """Whether an event that is not done needs this field's entries."""
        return self._needed.get(field, -1) >= self.progress.prefix

    def release(self, key: bytes) -> None:
        """The replayed events of a key are done."""
        field = entry_field(key)
        if self._needed.get(field) == math.inf:
            self._needed[field] = self.progress.taken_to

    def left(self, field: bytes) -> None:
        """An entry of this field has left the cache."""
        self._needed.pop(field, None)

    async def load(self, wanted: Collection[Entry]) -> None:
        """Read entries, all in one round trip.

        Cancellation: some may be in memory.
        """
        missing = set(wanted)
        self._loads += 1
        try:
            while missing or self._ahead is None:
                await self._read(missing)
                # A commit that was answered meanwhile may have written them after they were read.
                missing = {x for x in missing & self._lately if self.value(x) is UNKNOWN}
                self._lately -= missing
        finally:
            self._loads -= 1
            if not self._loads:
                self._lately.clear()

    async def load_for(self, wanted: Collection[Entry], number: int) -> None:
        """As `load`; the event of this number needs them until it is done."""
        for _, field in wanted:
            self._needed[field] = max(number, self._needed.get(field, number))
        await self.load(wanted)

    async def _read(self, missing: Iterable[Entry]) -> None:
        by_table: dict[str, list[bytes]] = {name: [] for name in self.tables}
        for name, field in missing:
            by_table[name].append(field)
        read = await self.broker.read_tables(self.processor, {self.number: by_table})
        self._ahead = read.now - self.clock() * 1000
        self._counts.update(read.counts[self.number])
        for name, fields in by_table.items():
            for field, value in zip(fields, read.values[self.number][name], strict=True):
                entry = name, field
                if entry not in self._lately and self.value(entry) is UNKNOWN:
                    self.cache.put((self, name, field), value)

    def join(self, number: int, writes: Writes) -> None:
        """The event of this number is done, and this is what its turn has written."""
        self._effects.append((number, writes, self._growth(writes) if self.is_limited else {}))
        self._written |= writes

    def _growth(self, writes: Writes) -> dict[str, int]:
        """How many entries more each table has then."""
        more: dict[str, int] = {}
        for entry, value in writes.items():
            was_there = isinstance(self.value(entry), bytes)
            if was_there is (value is None):
                more[entry[0]] = more.get(entry[0], 0) + (1 if value is not None else -1)
        return more

    def writes(self, holds: Callable[[int], bool]) -> tuple[TableWrites, ...]:
        """What a commit carries that acknowledges the events of whose numbers this is true."""
        sent: Writes = {}
        for number, writes, _ in self._effects:
            if holds(number):
                sent |= writes
        self._sent = sent
        changes: dict[str, dict[bytes, bytes | None]] = {}
        for (name, field), value in sent.items():
            changes.setdefault(name, {})[field] = value
        return tuple(
            TableWrites(name, changes.get(name, {}), table.ttl is not None)
            for name, table in self.tables.items()
            if name in changes or table.ttl is not None
        )

    def forget(self, holds: Callable[[int], bool]) -> None:
        """A commit of these events is on the server, and so is what it wrote."""
        left = []
        for effect in self._effects:
            number, _, more = effect
            if not holds(number):
                left.append(effect)
            elif more:
                for name, count in more.items():
                    self._counts[name] = self._counts.get(name, 0) + count
        self._effects = left
        still = {entry for _, writes, _ in left for entry in writes}
        if self._loads:
            self._lately |= self._sent.keys()
        for entry, value in self._sent.items():
            if entry not in still:
                self._written.pop(entry, None)
                self.cache.put((self, *entry), value)
        self._sent = {}

    def end(self) -> None:
        """The epoch is over."""
        self.cache.forget(self)


#: The bytes of a deadline that never comes.
_NEVER = bytes(8)
