"""A table, as a processor function sees it: the entries of the partition whose events it handles."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, NoReturn, Protocol, TypeVar

from runnel_trio._codec import Record
from runnel_trio._override import override
from runnel_trio._report._words import described
from runnel_trio._table import Table
from runnel_trio._worker._member._owned_tables import UNKNOWN, Entry, OwnedTables
from runnel_trio._worker._member._partition._loading import TableQueue
from runnel_trio.exceptions import Misconfigured, NotLoaded, RecordInvalid, TableFull, WrongPartition

__all__ = ["TablePart"]

R = TypeVar("R", bound=Record)


class Turn(Protocol):
    """What is in hand of a call of the function."""

    @property
    def has_in_hand(self) -> bool:
        """Whether anything is."""
        ...

    @property
    def last_in_hand(self) -> int:
        """The number of the last event of it."""
        ...


class TablePart(MutableMapping[Any, R]):
    """This partition's entries of a table, from `Events.table`.

    Keys are partition keys, or ``key, subkey``. The entry of the key of the event in hand is in memory, as
    are those that were read before; any other is read with `load`. Each read gives a new record: changing it
    stores nothing, assigning it does. What is written while an event is in hand is stored in the step that
    acknowledges this event, and forgotten if it fails.

    It cannot be iterated over: most of it is not in memory. See `Table.items`.

    Raises:
        NotLoaded: the entry is not in memory.
        WrongPartition: the key belongs to another partition.

    Example:
        Inside a processor function::

            mine = events.table(accounts)
            async for order in events.records():
                account = mine.get(order.customer) or Account()
                mine[order.customer] = attrs.evolve(account, spent=account.spent + order.amount)
    """

    __slots__ = ("_last", "_own", "_owned", "_queue", "_table", "_turn")

    def __init__(self, table: Table[R], owned: OwnedTables, queue: TableQueue, turn: Turn) -> None:
        self._table, self._owned, self._queue, self._turn = table, owned, queue, turn
        self._last: tuple[Any, Entry] = (self, ("", b""))  # most keys are used twice in a row
        self._own: Entry | None = None  # one of this partition

    @override
    def __getitem__(self, key: Any) -> R:
        value = self._value(key)
        if value is None:
            raise KeyError(key)
        return self._table.unpack(value, self._owned.number, key)

    @override
    def get(self, key: Any, default: Any = None) -> Any:  # typed as the mapping's, for who uses it
        value = self._value(key)
        return default if value is None else self._table.unpack(value, self._owned.number, key)

    @override
    def __contains__(self, key: object) -> bool:
        return self._value(key) is not None

    @override
    def __setitem__(self, key: Any, record: R) -> None:
        entry = self._writable(key)
        if not isinstance(record, self._table.record):
            raise RecordInvalid(self._table.record.__name__, "", f"expected it, got {described(record)}")
        packed = self._table.pack(key, record, self._owned.now)
        if self._table.max_entries is not None:
            self._refuse_when_full(key, entry, self._table.max_entries)
        self._queue.turn[entry] = packed

    @override
    def __delitem__(self, key: Any) -> None:
        entry = self._writable(key)
        if self._value(key) is None:
            raise KeyError(key)
        self._queue.turn[entry] = None

    async def load(self, key: Any) -> R | None:
        """Read an entry that is not in memory; it stays there until the event in hand is done, at least.

        Returns:
            Its value; None if there is none.

        Raises:
            WrongPartition: the key belongs to another partition.
            DeserializationError: the stored value does not fit the record's class.
        """
        entry = self._entry(key)
        if entry not in self._queue.turn and self._owned.value(entry) is UNKNOWN:
            self._refuse_foreign(key)
            await self._owned.load_for([entry], self._turn.last_in_hand)
        value = self._value(key)
        return None if value is None else self._table.unpack(value, self._owned.number, key)

    def _entry(self, key: Any) -> Entry:
        last, entry = self._last
        if last is not key:
            entry = self._table.name, self._table.field_of(key)
            self._last = key, entry
        return entry

    def _value(self, key: Any) -> bytes | None:
        entry, turn = self._entry(key), self._queue.turn
        if turn and entry in turn:
            return turn[entry]
        value = self._owned.value(entry)
        if value is None or isinstance(value, bytes):
            self._own = entry
            return value
        self._refuse_foreign(key)
        raise NotLoaded(self._table.name, described(key))

    def _writable(self, key: Any) -> Entry:
        """The entry, if it may be written now."""
        if not self._turn.has_in_hand:
            raise Misconfigured(
                f"table {self._table.name!r} was written while no event was in hand: write inside of the "
                "loop over the events. What is written belongs to an event, and is stored with its "
                "acknowledgement"
            )
        entry = self._entry(key)
        if entry is self._own:  # it was just read
            return entry
        if entry not in self._queue.turn and self._owned.value(entry) is UNKNOWN:
            self._refuse_foreign(key)
        return entry

    def _refuse_foreign(self, key: Any) -> None:
        number, count = self._owned.number, self._owned.processor.stream.partition_count
        belongs = self._table.hash_of(key) % count
        if belongs != number:
            raise WrongPartition(self._table.name, described(key), number, belongs)

    def _refuse_when_full(self, key: Any, entry: Entry, most: int) -> None:
        owned, turn, name = self._owned, self._queue.turn, self._table.name
        if isinstance(turn.get(entry), bytes) or isinstance(owned.value(entry), bytes):
            return
        new = sum(x[0] == name and value is not None and owned.value(x) is None for x, value in turn.items())
        if owned.count(name) + new >= most:
            if owned.value(entry) is UNKNOWN and entry not in turn:
                raise NotLoaded(name, described(key))  # it may be there
            raise TableFull(name, owned.number, most)

    @override
    def __iter__(self) -> Iterator[Any]:
        self._refuse_all()

    @override
    def __len__(self) -> int:  # noqa: PLE0303 (it raises)
        self._refuse_all()

    def __bool__(self) -> bool:
        return True

    def _refuse_all(self) -> NoReturn:
        raise TypeError(
            f"most entries of table {self._table.name!r} are not in memory: `async for key, record in "
            f"{self._table.name}.items()` reads them all"
        )

    @override
    def __repr__(self) -> str:
        return f"<TablePart {self._table.name}[{self._owned.number}] of {self._table.record.__name__}>"
