"""The logs of partitions in memory."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import trio

from runnel_trio._broker._memory._reader import MemoryReader
from runnel_trio._broker._memory._store import key_of
from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Logs, Reader
from runnel_trio._broker._values import (
    SEALED,
    Appended,
    Batch,
    CommitOutcome,
    Entry,
    Output,
    ProcessorSpec,
    StreamSpec,
)
from runnel_trio._override import override
from runnel_trio._rules._cursor import ORIGIN, parse_id

__all__ = ["MemoryLogs"]


class MemoryLogs(MemoryVerbs, Logs):
    """Replicas are as many as are asked for."""

    @override
    def log_key(self, stream: StreamSpec, partition: int) -> str:
        return key_of(stream, partition)

    @property
    @override
    def appends_at_once(self) -> bool:
        return False

    @override
    async def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Mapping[int, Appended]:
        await trio.lowlevel.checkpoint()
        stored: dict[int, Appended] = {
            number: self._append(stream, number, batch) if self.store.takes(stream, number) else SEALED
            for number, batch in batches.items()
        }
        self.store.announce()
        return stored

    @override
    async def replicated(
        self, stream: StreamSpec, partitions: Collection[int], count: int, within: float
    ) -> int:
        await trio.lowlevel.checkpoint()
        return count

    @override
    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        return MemoryReader(lambda number: self._log(processor, number), self.store, block)

    @override
    async def entries(
        self, stream: StreamSpec, partition: int, *, after: bytes = ORIGIN, count: int = 1000
    ) -> Sequence[Entry]:
        await trio.lowlevel.checkpoint()
        return self.store.log_of(stream, partition).after(after, count)

    @override
    async def remove(self, stream: StreamSpec, partition: int, xids: Sequence[bytes]) -> int:
        await trio.lowlevel.checkpoint()
        return sum(map(self.store.log_of(stream, partition).remove, xids))

    @override
    async def transfer(self, stream: StreamSpec, partition: int, xid: bytes, output: Output) -> CommitOutcome:
        await trio.lowlevel.checkpoint()
        log = self.store.log_of(stream, partition)
        if parse_id(xid) not in log.ids:
            return CommitOutcome.REWOUND
        if refusal := self._put([output]):
            return refusal
        log.remove(xid)
        return CommitOutcome.COMMITTED
