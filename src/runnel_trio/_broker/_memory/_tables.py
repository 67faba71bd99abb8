"""Tables in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import trio

from runnel_trio._broker._memory._store import StoredTable
from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Tables
from runnel_trio._broker._values import CommitOutcome, Lease, ProcessorSpec, TableRead, TableWrites
from runnel_trio._override import override
from runnel_trio._rules._tables import living

__all__ = ["MemoryTables"]


class MemoryTables(MemoryVerbs, Tables):
    """The entries are kept in the log that they belong to."""

    @override
    async def read_tables(
        self, processor: ProcessorSpec, wanted: Mapping[int, Mapping[str, Sequence[bytes]]]
    ) -> TableRead:
        await trio.lowlevel.checkpoint()
        now = self._milliseconds()
        values: dict[int, dict[str, list[bytes | None]]] = {}
        counts: dict[int, dict[str, int]] = {}
        for number, tables in wanted.items():
            own = {name: self._table(processor, number, name).entries for name in tables}
            values[number] = {
                name: [living(own[name].get(field), now) for field in fields]
                for name, fields in tables.items()
            }
            counts[number] = {name: len(entries) for name, entries in own.items()}
        return TableRead(values, counts, now)

    def _table(self, processor: ProcessorSpec, number: int, name: str) -> StoredTable:
        return self._log(processor, number).tables.get(processor.name, {}).get(name) or StoredTable()

    @override
    async def scan_table(
        self, processor: ProcessorSpec, number: int, name: str, cursor: bytes = b"0"
    ) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
        await trio.lowlevel.checkpoint()
        return b"0", list(self._table(processor, number, name).entries.items())

    @override
    async def table_names(self, processor: ProcessorSpec, number: int) -> Sequence[str]:
        await trio.lowlevel.checkpoint()
        return sorted(self._log(processor, number).tables.get(processor.name, {}))

    @override
    async def write_table(self, processor: ProcessorSpec, number: int, writes: TableWrites) -> CommitOutcome:
        await trio.lowlevel.checkpoint()
        stream = processor.stream
        if self.store.switched.get((stream.app, stream.name, number), 1) > stream.layout:
            return CommitOutcome.SEALED
        log = self._log(processor, number)
        log.write_tables(processor.name, [writes], self._milliseconds())
        log.lease(processor).touched += 1
        return CommitOutcome.COMMITTED

    @override
    async def copy_table(self, processor: ProcessorSpec, number: int, writes: TableWrites) -> bool:
        await trio.lowlevel.checkpoint()
        log = self._log(processor, number)
        lease = log.lease(processor)
        if lease.epoch or lease.touched:
            return False
        log.write_tables(processor.name, [writes], self._milliseconds())
        return True

    @override
    async def drop_tables(self, processor: ProcessorSpec, lease: Lease, names: Sequence[str]) -> bool:
        await trio.lowlevel.checkpoint()
        log = self._log(processor, lease.partition)
        if not log.lease(processor).is_held(lease):
            return False
        for name in names:
            log.tables.get(processor.name, {}).pop(name, None)
        return True
