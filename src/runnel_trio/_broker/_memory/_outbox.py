"""The outbox in memory."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Outbox
from runnel_trio._broker._values import SEALED, Appended, Batch, OutboxRecord, ProcessorSpec, StreamSpec
from runnel_trio._override import override
from runnel_trio._rules._cursor import parse_id

__all__ = ["MemoryOutbox"]


class MemoryOutbox(MemoryVerbs, Outbox):
    """The records are kept in the log that they come from; the log that they go to knows the last id."""

    @override
    async def outbox_records(
        self, processor: ProcessorSpec, number: int, count: int
    ) -> Sequence[OutboxRecord]:
        await trio.lowlevel.checkpoint()
        return self._log(processor, number).outbox(processor.name)[:count]

    @override
    async def relay(
        self,
        processor: ProcessorSpec,
        number: int,
        records: Sequence[OutboxRecord],
        target: StreamSpec,
        to: int,
    ) -> Appended:
        await trio.lowlevel.checkpoint()
        if not self.store.takes(target, to):
            return SEALED
        log, outbox = self.store.log_of(target, to), (processor, number)
        last = log.relayed.get(outbox, (0, 0))
        fresh = [x for x in records if parse_id(x.id) > last]
        stored = 0
        for x in fresh:
            if not self._append(target, to, Batch(x.fields[::2], x.fields[1::2])):
                break
            log.relayed[outbox] = parse_id(x.id)
            stored += 1
        self.store.announce()
        return len(records) - len(fresh) + stored

    @override
    async def remove_from_outbox(self, processor: ProcessorSpec, number: int, ids: Sequence[bytes]) -> None:
        await trio.lowlevel.checkpoint()
        log = self._log(processor, number)
        log.outboxes[processor.name] = [x for x in log.outbox(processor.name) if x.id not in ids]


def numbered(records: Sequence[OutboxRecord], epoch: int, after: bytes) -> list[OutboxRecord]:
    """Records as they stand in an outbox behind another one: their ids begin with the epoch."""
    of, last = parse_id(after)
    first = last + 1 if of == epoch else 0
    return [attrs.evolve(x, id=b"%d-%d" % (epoch, n)) for n, x in enumerate(records, first)]
