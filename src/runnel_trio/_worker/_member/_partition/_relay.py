"""Brings what was emitted to other nodes of a cluster, from the outbox of a partition.

A commit can only store on one node. So on a cluster it puts emitted records into an outbox beside the log,
and the partition's owner relays them. Each partition of a target knows the last id that an outbox has
brought: what is relayed once more, by this owner, a later one or one that was replaced, is there already. So
each record arrives once, and those of a key in order: they go to one partition, in the order of the outbox.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import SEALED, OutboxRecord, ProcessorSpec
from runnel_trio._report._telemetry import report
from runnel_trio._report._words import numbered
from runnel_trio._scopes import gather
from runnel_trio._stream import Stream

__all__ = ["Relay"]

#: So many records are relayed at a time.
_PAGE = 500
#: Seconds until records for which there was no room are tried again.
_ROOM = 0.25


@attrs.define(eq=False, kw_only=True)
class Relay:
    """The outbox of one partition.

    Attributes:
        broker: where it is.
        processor: whose.
        number: of which partition.
        targets: the streams that the processor may emit to.
    """

    broker: Broker
    processor: ProcessorSpec
    number: int
    targets: Sequence[Stream[Any]]
    _called: trio.Event = attrs.field(factory=trio.Event, init=False)
    _told: bool = attrs.field(default=False, init=False)

    def call(self) -> None:
        """There is something in the outbox."""
        self._called.set()

    async def run(self) -> None:
        """Relay until cancelled; begins with what an owner before has left."""
        while True:
            self._called = trio.Event()
            if await self.flush():
                await self._called.wait()
            else:
                await trio.sleep(_ROOM)

    async def flush(self) -> bool:
        """Relay all that can be; False: some found no room, and is left.

        Cancellation: what was relayed and is still in the outbox is recognised where it went.
        """
        while found := await self.broker.outbox_records(self.processor, self.number, _PAGE):
            groups: dict[tuple[str, int], list[OutboxRecord]] = {}
            streams = {stream.name: stream for stream in self.targets}
            for record in found:
                to = record.hash % streams[record.stream].partition_count if record.stream in streams else -1
                groups.setdefault((record.stream, to), []).append(record)
            relayed = await gather([partial(self._relay, streams, *place, x) for place, x in groups.items()])
            ids = [xid for group in relayed for xid in group.unwrap()]
            await self.broker.remove_from_outbox(self.processor, self.number, ids)
            if len(ids) < len(found):
                return False
        self._told = False
        return True

    async def _relay(
        self, streams: Mapping[str, Stream[Any]], name: str, to: int, records: Sequence[OutboxRecord]
    ) -> list[bytes]:
        """Relay records for one partition; returns the ids of those that are there."""
        if name not in streams:
            if self._tells():
                report(logging.WARNING, "outbox-unknown", place=name, records=len(records))
            return []
        stream = streams[name]
        count = await self.broker.relay(self.processor, self.number, records, stream.spec, to)
        if count is SEALED:
            stream.adopt((await self.broker.reconcile_layout(stream.spec)).current)
            return []
        if count < len(records) and self._tells():
            report(logging.WARNING, "no-room", partition=self.number, waits_for=numbered(name, [to]))
        return [x.id for x in records[:count]]

    def _tells(self) -> bool:
        """Whether it is to be told that something stays: once, until nothing does."""
        told, self._told = self._told, True
        return not told
