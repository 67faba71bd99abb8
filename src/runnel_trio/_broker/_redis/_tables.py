"""Tables on Redis or Valkey: a hash for each beside the log, and a sorted set of deadlines if it has any."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

import trio

from runnel_trio._broker._protocol import Tables
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._calls import RedisCalls, tables_in, tables_text
from runnel_trio._broker._redis._replies import outcome_of, table_names
from runnel_trio._broker._redis._transport._scripts import Call, PlainCommand
from runnel_trio._broker._values import CommitOutcome, Lease, ProcessorSpec, TableRead, TableWrites
from runnel_trio._override import override
from runnel_trio._rules._tables import living

__all__ = ["RedisTables"]

#: So many entries are asked for at a time.
_PAGE = 1000
#: As copy_table.lua answers for want of memory; seconds until it is tried again.
_NO_MEMORY, _PAUSE = 2, 1.0


class RedisTables(RedisCalls, Tables):
    """A field of the hash is an entry."""

    @override
    async def read_tables(
        self, processor: ProcessorSpec, wanted: Mapping[int, Mapping[str, Sequence[bytes]]]
    ) -> TableRead:
        commands = []
        for number, tables in wanted.items():
            for name, fields in tables.items():
                key = _keys.table(processor, number, name)
                commands.append(PlainCommand(("HLEN", key)))
                if fields:
                    commands.append(PlainCommand(("HMGET", key, *fields)))
        where = commands[0].words[1] if commands else ""
        *found, (seconds, microseconds) = await self.ask([*commands, PlainCommand(("TIME",), where)])
        now, replies = int(seconds) * 1000 + int(microseconds) // 1000, iter(found)
        values: dict[int, dict[str, list[bytes | None]]] = {number: {} for number in wanted}
        counts: dict[int, dict[str, int]] = {number: {} for number in wanted}
        for number, tables in wanted.items():
            for name, fields in tables.items():
                counts[number][name] = next(replies)
                values[number][name] = [living(x, now) for x in next(replies)] if fields else []
        return TableRead(values, counts, now)

    @override
    async def scan_table(
        self, processor: ProcessorSpec, number: int, name: str, cursor: bytes = b"0"
    ) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
        command = ("HSCAN", _keys.table(processor, number, name), cursor, "COUNT", _PAGE)
        ((following, page),) = await self.ask([PlainCommand(command)])
        return following, list(zip(page[::2], page[1::2], strict=True))

    @override
    async def table_names(self, processor: ProcessorSpec, number: int) -> Sequence[str]:
        (fields,) = await self.ask([PlainCommand(("HGETALL", _keys.lease(processor, number)))])
        return table_names(fields[::2])

    @override
    async def write_table(self, processor: ProcessorSpec, number: int, writes: TableWrites) -> CommitOutcome:
        stream = processor.stream
        keys = [_keys.lease(processor, number), _keys.producers(stream, number)]
        text = tables_text([writes], len(keys) + 1)
        keys += tables_in(processor, number, [writes.name])
        (reply,) = await self.ask([Call("write_table", keys, [uuid.uuid4().hex[:12], stream.layout, *text])])
        return outcome_of(reply)

    @override
    async def copy_table(self, processor: ProcessorSpec, number: int, writes: TableWrites) -> bool:
        keys = [_keys.lease(processor, number)]
        text = tables_text([writes], len(keys) + 1)
        keys += tables_in(processor, number, [writes.name])
        while True:
            (reply,) = await self.ask([Call("copy_table", keys, text)])
            if reply != _NO_MEMORY:
                return bool(reply)
            await trio.sleep(_PAUSE)

    @override
    async def drop_tables(self, processor: ProcessorSpec, lease: Lease, names: Sequence[str]) -> bool:
        keys = [
            _keys.lease(processor, lease.partition),
            *tables_in(processor, lease.partition, names),
        ]
        (done,) = await self.ask([Call("drop_tables", keys, [lease.owner, lease.epoch, *names])])
        return bool(done)
