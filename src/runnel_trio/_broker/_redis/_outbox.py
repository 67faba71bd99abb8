"""The outbox on Redis or Valkey: a stream beside the log, whose ids begin with the epoch of their commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runnel_trio._broker._protocol import Outbox
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._calls import RedisCalls
from runnel_trio._broker._redis._replies import as_written, text
from runnel_trio._broker._redis._transport._scripts import Call, PlainCommand
from runnel_trio._broker._values import SEALED, Appended, OutboxRecord, ProcessorSpec, StreamSpec
from runnel_trio._override import override
from runnel_trio._rules._parked import unpack_fields

__all__ = ["RedisOutbox"]

#: As `relay.lua` answers where a partition takes entries for another layout.
_SEALED_REPLY = -1


class RedisOutbox(RedisCalls, Outbox):
    """The key of an outbox is the name by which partitions know what it has brought."""

    @override
    async def outbox_records(
        self, processor: ProcessorSpec, number: int, count: int
    ) -> Sequence[OutboxRecord]:
        words = ("XRANGE", _keys.outbox(processor, number), "-", "+", "COUNT", count)
        (reply,) = await self.ask([PlainCommand(words)])
        return _records_of(reply)

    @override
    async def relay(
        self,
        processor: ProcessorSpec,
        number: int,
        records: Sequence[OutboxRecord],
        target: StreamSpec,
        to: int,
    ) -> Appended:
        key = _keys.outbox(processor, number)
        words: list[bytes | str | int] = [
            key, target.layout, target.partition_size, target.overflow.value, len(records)
        ]  # fmt: skip
        for x in records:
            words += [x.id, len(x.fields), *x.fields]
        (reply,) = await self.ask(
            [Call("relay", [_keys.log(target, to), _keys.producers(target, to)], words)]
        )
        return SEALED if reply == _SEALED_REPLY else int(reply)

    @override
    async def remove_from_outbox(self, processor: ProcessorSpec, number: int, ids: Sequence[bytes]) -> None:
        if ids:
            await self.ask([PlainCommand(("XDEL", _keys.outbox(processor, number), *ids))])


@as_written
def _records_of(reply: Sequence[Any]) -> list[OutboxRecord]:
    return [
        OutboxRecord(text(fields[1]), int(fields[3]), unpack_fields(fields[5]), xid) for xid, fields in reply
    ]
