"""What the verbs of all protocols share in memory: the store, and access to a partition's log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import attrs
import trio

from runnel_trio._broker._memory._store import Log, Store
from runnel_trio._broker._values import Batch, CommitOutcome, Output, ProcessorSpec, StreamSpec
from runnel_trio._rules._cursor import parse_id
from runnel_trio._rules._overflow import accepted
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import Misconfigured

__all__ = ["MemoryVerbs"]


@attrs.define(eq=False, kw_only=True)
class MemoryVerbs:
    """Each verb does its work between two checkpoints, as a script does.

    Attributes:
        store: what a server would keep.
    """

    store: Store = attrs.field(factory=Store, repr=False)

    def _log(self, processor: ProcessorSpec, number: int) -> Log:
        return self.store.log_of(processor.stream, number)

    def _milliseconds(self) -> int:
        """The server's time, since 1970."""
        return int(trio.current_time() * 1000)

    def _append(self, stream: StreamSpec, number: int, batch: Batch) -> int:
        log = self.store.log_of(stream, number)
        ids = _given_ids(stream, number, log, batch)
        count = len(batch)
        if stream.overflow is not Overflow.TRIM:
            count = self._room(stream, number, count)
        width = len(batch.names)
        for row, xid in enumerate(ids[:count]):
            values = batch.values[row * width : (row + 1) * width]
            fields = [part for field in zip(batch.names, values, strict=True) for part in field]
            log.add(xid or log.next_id(), fields)
        if stream.overflow is Overflow.TRIM:
            log.drop(max(0, len(log.entries) - stream.partition_size))
        return count

    def _room(self, stream: StreamSpec, number: int, wanted: int) -> int:
        """How many of ``wanted`` entries fit, once what every group has passed is dropped if need be."""
        log, size = self.store.log_of(stream, number), stream.partition_size
        if accepted(wanted, len(log.entries), size) < wanted:
            log.make_room()
        return accepted(wanted, len(log.entries), size)

    def _put(self, outputs: Sequence[Output]) -> CommitOutcome | None:
        """Store all outputs, or none when one cannot be; then why."""
        wanted: Counter[tuple[StreamSpec, int]] = Counter()
        for output in outputs:
            if not self.store.takes(output.stream, output.partition):
                return CommitOutcome.SEALED
            if output.stream.overflow is not Overflow.TRIM:
                wanted[output.stream, output.partition] += len(output.batch)
        for (stream, number), count in wanted.items():
            if self._room(stream, number, count) < count:
                return CommitOutcome.FULL
        for output in outputs:
            self._append(output.stream, output.partition, output.batch)
        self.store.announce()
        return None

    def _tell(self, processor: ProcessorSpec, what: str, partitions: Sequence[int]) -> None:
        self.store.tell(processor, what, " ".join(map(str, partitions)))


def _given_ids(stream: StreamSpec, number: int, log: Log, batch: Batch) -> Sequence[tuple[int, int] | None]:
    if batch.ids is None:
        return [None] * len(batch)
    ids = [parse_id(xid) for xid in batch.ids]
    last = log.last_id
    for xid in ids:
        if xid <= last:
            raise Misconfigured(
                f"{stream.name}[{number}]: stream id {xid[0]}-{xid[1]} is not above {last[0]}-{last[1]}; "
                "ids must rise within a partition. This entry and those behind it were not stored."
            )
        last = xid
    return ids
