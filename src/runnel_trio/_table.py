"""Tables: keyed state of a processor, as everybody sees it.

The owner of a partition writes entries with its commits (`_worker/_member/_owned_tables.py`). Here is what
both have in common, the form of keys and values, and what is done from outside: reads of what is committed,
and writes that the owner notices.

While a stream gets other partitions, a processor's entries are in the former ones until it has left them. So
who finds nothing asks which partitions there are, and who writes waits until the entries have moved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Generic, TypeVar

import attrs
import trio
from cattrs import Converter

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._stages import reads
from runnel_trio._broker._values import CommitOutcome, ProcessorSpec, StreamSpec, TableWrites
from runnel_trio._codec import DecodeError, Record, RecordCodec, blake3_hasher, canonical_key, parse_key
from runnel_trio._override import override
from runnel_trio._report._words import described
from runnel_trio._rules._tables import TableValue, entry_field, living, split_field
from runnel_trio._sending._portal import Portal
from runnel_trio._stream import Stream
from runnel_trio.exceptions import BrokerRefused, DeserializationError, Misconfigured

__all__ = ["Table", "checked_tables", "seconds_of"]

R = TypeVar("R", bound=Record)

#: Seconds between two tries of a write that has to wait: for memory, or for entries that move.
_FIRST_LOOK, _LAST_LOOK = 0.01, 0.25

#: Seconds that a time to live may have: a thousand years.
_LONGEST = 3.2e10
_DATA = b"data"
_portal = Portal()


@attrs.define(eq=False)
class _Bound(Generic[R]):
    """What the processor brings that lists the table."""

    processor: str
    stream: Stream[Any]
    codec: RecordCodec[R]
    is_plain: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.is_plain = self.codec.names == (_DATA,) and self.stream.hasher is blake3_hasher


@attrs.define(eq=False, kw_only=True)
class Table(Generic[R]):
    """Keyed state of one processor, in the partitions of its stream. Created by `App.table`.

    Keys are partition keys, as ``partition_by`` gives them. ``(key, subkey)`` is one of many entries of a
    key; a subkey can be of any type that a partition key can be of. If the partition keys are tuples
    themselves, write ``(key, None)`` for an entry without a subkey.

    The methods here read what is committed, from any process, and write from outside of the processor. In the
    processor function, use `Events.table`.

    Attributes:
        name: its name.
        record: the class of its records.
        ttl: seconds after which an entry is over, unless it is written again; None: never.
        max_entries: how many entries each partition may have; None: as many as the server has memory for.
        max_entry_bytes: the maximum size of an entry.
    """

    name: str
    record: type[R]
    ttl: float | None = None
    max_entries: int | None = None
    max_entry_bytes: int
    _converter: Converter = attrs.field(alias="converter", repr=False)
    _bound: _Bound[R] | None = attrs.field(default=None, init=False, repr=False)

    def bind(self, processor: str, stream: Stream[Any]) -> None:
        """A processor lists the table: its stream's keys, partitions and serializer are the table's.

        Raises:
            Misconfigured: another processor lists it already, or its records cannot be stored.
        """
        if self._bound is not None:
            raise Misconfigured(
                f"table {self.name!r} belongs to processor {self._bound.processor!r}, and {processor!r} "
                "lists it too: a table belongs to one processor. Others read it with `await table.get(key)`"
            )
        serializer = stream.codec.serializer
        most = self.max_entry_bytes
        codec = RecordCodec(self.record, serializer, self._converter, max_event_bytes=most)
        self._bound = _Bound(processor, stream, codec)

    async def get(self, key: Any) -> R | None:
        """The committed value of a key; None if there is none.

        Raises:
            DeserializationError: the stored value does not fit the record's class.
            Misconfigured: the key cannot be hashed, or no processor lists the table.
            BrokerUnavailable: the server cannot be reached.

        Example:
            >>> import trio
            >>> from runnel_trio import App, Record
            >>> class Order(Record):
            ...     customer: str
            >>> class Account(Record):
            ...     orders: int = 0
            >>> app = App("example", redis_url="memory://")
            >>> orders = app.stream("orders", Order, partition_by="customer")
            >>> accounts = app.table("accounts", Account)
            >>> @app.processor(orders, tables=[accounts])
            ... async def count(events): ...
            >>> async def main():
            ...     async with app.session():
            ...         await accounts.put("Ada", Account(orders=3))
            ...         return await accounts.get("Ada"), await accounts.get("Bob")
            >>> trio.run(main)
            (Account(orders=3), None)
        """
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Iterable[Any]) -> dict[Any, R]:
        """The committed values of several keys, without those that have none.

        Raises:
            As `get`.
        """
        wanted = {key: self.field_of(key) for key in keys}
        found: dict[Any, R] = {}
        if not wanted:
            await trio.lowlevel.checkpoint()
            return found
        bound = self._use()
        async with self._opened() as broker:
            spec = bound.stream.spec
            found = await self._read(broker, spec, wanted)
            missing = {key: field for key, field in wanted.items() if key not in found}
            stages = await self._stages(broker) if missing else []
            if stages != [self._spec(spec)]:  # they may have moved
                for stage in stages:
                    found |= await self._read(broker, stage.stream, missing)
        return found

    async def _read(self, broker: Broker, stream: StreamSpec, wanted: Mapping[Any, bytes]) -> dict[Any, R]:
        """What is there of the keys in a layout."""
        parts: dict[int, list[Any]] = {}
        for key in wanted:
            parts.setdefault(self.hash_of(key) % stream.partition_count, []).append(key)
        asked = {number: {self.name: [wanted[key] for key in keys]} for number, keys in parts.items()}
        read = await broker.read_tables(self._spec(stream), asked)
        return {
            key: self.unpack(value, number, key)
            for number, keys in parts.items()
            for key, value in zip(keys, read.values[number][self.name], strict=True)
            if value is not None
        }

    def items(self) -> AsyncIterator[tuple[Any, R]]:
        """All committed entries, partition by partition; those of a subkey as ``((key, subkey), record)``.

        It is no snapshot: what is written meanwhile may be in it or not, and what is there all the time is in
        it once (while the stream gets other partitions, or the server enlarges the table, perhaps twice).
        Members of an `enum.Enum` come as their names. After an entry that cannot be read, the iteration can
        go on.

        Raises:
            As `get`.
        """
        return _Items(self)

    async def count(self) -> int:
        """How many entries there are, with those that are over and not yet removed.

        Raises:
            Misconfigured: no processor lists the table.
            BrokerUnavailable: the server cannot be reached.
        """
        async with self._opened() as broker:
            total = 0
            for stage in await self._stages(broker):
                wanted: dict[int, dict[str, list[bytes]]] = {
                    number: {self.name: []} for number in range(stage.stream.partition_count)
                }
                read = await broker.read_tables(stage, wanted)
                total += sum(counts[self.name] for counts in read.counts.values())
        return total

    async def put(self, key: Any, record: R) -> None:
        """Store the value of a key from outside of the processor.

        An owner that has read the partition's entries before handles again what it has not committed: so
        neither this nor its own writes are lost. Each call makes it do so; to write often, send events.

        If the server has no memory left, or the stream is getting other partitions and the processor has not
        left the former ones, this waits.

        Raises:
            RecordInvalid: the record does not fit its types, or is larger than ``max_entry_bytes``.
            Misconfigured: the key cannot be hashed, or no processor lists the table.
            BrokerRefused: the server refuses it.

        Cancellation: the value may be stored or not.
        """
        async with self._opened() as broker:
            now = await broker.time() if self.ttl is not None else 0.0
            packed = self.pack(key, record, now * 1000)
            await self._write(broker, key, {self.field_of(key): packed})

    async def delete(self, key: Any) -> None:
        """Delete the value of a key and of all its subkeys; of ``(key, subkey)`` that one.

        What is said of `put` holds here too, except that deleting needs no memory.

        Raises:
            As `put`.
        """
        async with self._opened() as broker:
            field = self.field_of(key)
            await self._write(broker, key, {field: None})
            if not split_field(field)[1]:
                await self._delete_subkeys(broker, key, field)

    async def _delete_subkeys(self, broker: Broker, key: Any, field: bytes) -> None:
        (stage, *_) = await self._stages(broker)
        number, cursor = self.hash_of(key) % stage.stream.partition_count, b""
        while cursor != b"0":
            cursor, page = await broker.scan_table(stage, number, self.name, cursor or b"0")
            found = [x for x, _ in page if x.startswith(field)]
            if found:
                await self._write(broker, key, dict.fromkeys(found))

    def get_sync(self, key: Any) -> R | None:
        """Like `get`, for code outside of Trio (see `Stream.send_sync`).

        Raises:
            As `get`; Misconfigured if called in a task of Trio.
        """
        return _portal.run(self.get, key, name="table.get")

    def get_many_sync(self, keys: Iterable[Any]) -> dict[Any, R]:
        """Like `get_many`, for code outside of Trio.

        Raises:
            As `get_sync`.
        """
        return _portal.run(self.get_many, list(keys), name="table.get_many")

    def items_sync(self) -> Iterator[tuple[Any, R]]:
        """Like `items`, for code outside of Trio; everything is read before the first is given.

        Raises:
            As `get_sync`.
        """
        return iter(_portal.run(self._items, name="table.items"))

    def count_sync(self) -> int:
        """Like `count`, for code outside of Trio.

        Raises:
            As `count`; Misconfigured if called in a task of Trio.
        """
        return _portal.run(self.count, name="table.count")

    def put_sync(self, key: Any, record: R) -> None:
        """Like `put`, for code outside of Trio.

        Raises:
            As `put`; Misconfigured if called in a task of Trio.
        """
        _portal.run(self.put, key, record, name="table.put")

    def delete_sync(self, key: Any) -> None:
        """Like `delete`, for code outside of Trio.

        Raises:
            As `delete`; Misconfigured if called in a task of Trio.
        """
        _portal.run(self.delete, key, name="table.delete")

    async def _items(self) -> list[tuple[Any, R]]:
        return [item async for item in self.items()]

    async def _write(self, broker: Broker, key: Any, changes: Mapping[bytes, bytes | None]) -> None:
        """Write, once the processor is in one layout only, and there is memory."""
        writes, pause = TableWrites(self.name, changes, expires=self.ttl is not None), _FIRST_LOOK
        while True:
            stage, *further = await self._stages(broker)
            if not further:
                number = self.hash_of(key) % stage.stream.partition_count
                outcome = await broker.write_table(stage, number, writes)
                if outcome is CommitOutcome.COMMITTED:
                    return
            await trio.sleep(pause)
            pause = min(2 * pause, _LAST_LOOK)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Broker]:
        stream = self._use().stream
        async with stream.connect(stream).looking() as broker:
            yield broker

    async def _stages(self, broker: Broker) -> list[ProcessorSpec]:
        """The processor in the layouts where its entries may be; the stream learns the present one."""
        bound = self._use()
        layouts = await broker.layouts(bound.stream.spec)
        if layouts is None:
            return [self._spec(bound.stream.spec)]
        bound.stream.adopt(layouts.current)
        return await reads(broker, bound.processor, layouts)

    def _spec(self, stream: StreamSpec) -> ProcessorSpec:
        return ProcessorSpec(stream=stream, name=self._use().processor)

    def _use(self) -> _Bound[R]:
        if self._bound is None:
            raise Misconfigured(
                f"table {self.name!r} belongs to no processor: list it, as in `@app.processor(stream, "
                f"tables=[{self.name}])`"
            )
        return self._bound

    def field_of(self, key: Any) -> bytes:
        """Where the entry of a key, or of ``(key, subkey)``, is stored.

        Raises:
            Misconfigured: it has no canonical form.
        """
        if type(key) is not tuple:
            return entry_field(canonical_key(key))
        key, subkey = _pair(key)
        return entry_field(canonical_key(key), b"" if subkey is None else canonical_key(subkey))

    def hash_of(self, key: Any) -> int:
        """The number that the stream's hasher gives for the partition key of an entry."""
        return int(self._use().stream.hasher(_pair(key)[0] if type(key) is tuple else key))

    def pack(self, key: Any, record: R, now: float) -> bytes:
        """The stored form of a record, at this time in milliseconds since 1970.

        Raises:
            RecordInvalid: it does not fit its types, or is too large.
        """
        bound = self._use()
        codec = bound.codec
        deadline = 0 if self.ttl is None else max(1, round(now + self.ttl * 1000))
        if bound.is_plain:  # in the ordinary way: as below
            return b"\x01%b\x01%b" % (deadline.to_bytes(8, "big"), codec.values((record,))[0])
        hashed = None if bound.stream.hasher is blake3_hasher else self.hash_of(key)
        return TableValue(codec.encode(record), deadline, hashed).packed

    def unpack(self, packed: bytes, number: int, key: Any) -> R:
        """The record of a stored form, of this key in the partition of this number.

        Raises:
            DeserializationError: it does not fit the record's class.
            BrokerRefused: nothing that this version has written.
        """
        try:
            if packed[0] == 1:  # in the ordinary way: as below
                return self._use().codec.decode((_DATA, packed[10:]))
            return self._use().codec.decode(TableValue.parse(packed).fields)
        except DecodeError as error:
            where = f"table {self.name}", number, described(key), error.field
            raise DeserializationError(*where, error.reason) from error.__cause__
        except (IndexError, ValueError) as error:
            raise BrokerRefused(
                f"table {self.name}[{number}] has an entry for {described(key)} that this version cannot "
                f"read: a later version, or something else, has written it ({error})"
            ) from error

    def __repr__(self) -> str:
        return f"<Table {self.name} of {self.record.__name__}>"


@attrs.define(eq=False)
class _Items(AsyncIterator[tuple[Any, R]]):
    """A class and no generator: whoever leaves the loop early has nothing to close."""

    _table: Table[R]
    _seen: list[ProcessorSpec] = attrs.field(factory=list)
    _places: deque[tuple[ProcessorSpec, int]] = attrs.field(factory=deque)
    _cursor: bytes = b"0"
    _page: deque[tuple[int, bytes, bytes]] = attrs.field(factory=deque)

    @override
    async def __anext__(self) -> tuple[Any, R]:
        while not self._page:
            async with self._table._opened() as broker:  # noqa: SLF001 (its own)
                if not self._places:
                    await self._look(broker)
                await self._read(broker)
        number, field, value = self._page.popleft()
        key = _key_of(field)
        return key, self._table.unpack(value, number, key)

    async def _look(self, broker: Broker) -> None:
        """Where there are entries; at the end once more, for they may have moved.

        Raises:
            StopAsyncIteration: all were seen.
        """
        new = [x for x in await self._table._stages(broker) if x not in self._seen]  # noqa: SLF001 (its own)
        if not new:
            raise StopAsyncIteration
        self._seen += new
        self._places += [(x, number) for x in new for number in range(x.stream.partition_count)]

    async def _read(self, broker: Broker) -> None:
        (stage, number), name = self._places[0], self._table.name
        now = (await broker.read_tables(stage, {number: {name: ()}})).now
        self._cursor, page = await broker.scan_table(stage, number, name, self._cursor)
        self._page += [(number, field, value) for field, value in page if living(value, now) is not None]
        if self._cursor == b"0":
            self._places.popleft()


def _pair(key: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(key) != 2:
        raise Misconfigured(
            f"{described(key)} is no key of a table: write `key`, or `key, subkey`; if the partition keys "
            "are tuples themselves, `key, None` for an entry without a subkey"
        )
    return key[0], key[1]


def _key_of(field: bytes) -> Any:
    key, subkey = map(bytes, split_field(field))
    found = parse_key(key)
    if subkey:
        return found, parse_key(subkey)
    return (found, None) if isinstance(found, tuple) else found


def seconds_of(ttl: timedelta | float | None) -> float | None:
    """A time to live in seconds.

    Raises:
        Misconfigured: it is not above 0.
    """
    seconds = ttl.total_seconds() if isinstance(ttl, timedelta) else ttl
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if seconds is not None and not (is_number and 0 < seconds < _LONGEST):
        raise Misconfigured(f"ttl={described(ttl)} must be a timedelta, or seconds, above 0")
    return seconds


def checked_tables(processor: str, tables: Collection[Any], known: Mapping[str, Table[Any]]) -> None:
    """Refuse what cannot be in a processor's ``tables``.

    Raises:
        Misconfigured: it is no table of the same app, or one that is named twice.
    """
    for table in tables:
        if not isinstance(table, Table) or known.get(table.name) is not table:
            raise Misconfigured(
                f"processor {processor!r}: tables must be tables of its own app, from `app.table(…)`, not "
                f"{described(table)}"
            )
    if len({table.name for table in tables}) < len(tables):
        raise Misconfigured(f"processor {processor!r} lists a table twice")
