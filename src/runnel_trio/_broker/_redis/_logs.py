"""The logs of partitions on Redis or Valkey."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Mapping, Sequence
from functools import partial

from runnel_trio._broker._protocol import Logs, Reader
from runnel_trio._broker._redis import _keys, _replicas
from runnel_trio._broker._redis._calls import RedisCalls, with_outputs
from runnel_trio._broker._redis._replies import outcome_of
from runnel_trio._broker._redis._transport._scripts import PlainCommand
from runnel_trio._broker._values import (
    Appended,
    Batch,
    CommitOutcome,
    Entry,
    Output,
    ProcessorSpec,
    StreamSpec,
)
from runnel_trio._override import override
from runnel_trio._rules._cursor import ORIGIN

__all__ = ["RedisLogs"]


class RedisLogs(RedisCalls, Logs):
    """Logs are streams of Redis; sends go their own way, see `_sender`."""

    @override
    def log_key(self, stream: StreamSpec, partition: int) -> str:
        return _keys.log(stream, partition)

    @property
    @override
    def appends_at_once(self) -> bool:
        return self.servers.sends_at_once

    @override
    def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Awaitable[Mapping[int, Appended]]:
        return self.servers.send(stream, batches)

    @override
    async def replicated(
        self, stream: StreamSpec, partitions: Collection[int], count: int, within: float
    ) -> int:
        keys = [_keys.producers(stream, x) for x in partitions]
        ask = partial(self.ask, awaits_replicas=True)
        return await _replicas.sends(ask, self.servers, keys, count, within)

    @override
    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        return self.servers.reader(partial(_keys.log, processor.stream), block)

    @override
    async def entries(
        self, stream: StreamSpec, partition: int, *, after: bytes = ORIGIN, count: int = 1000
    ) -> Sequence[Entry]:
        words = ("XRANGE", _keys.log(stream, partition), b"(" + after, "+", "COUNT", count)
        (reply,) = await self.ask([PlainCommand(words)])
        return [(xid, tuple(fields)) for xid, fields in reply]

    @override
    async def remove(self, stream: StreamSpec, partition: int, xids: Sequence[bytes]) -> int:
        if not xids:
            return 0
        (reply,) = await self.ask([PlainCommand(("XDEL", _keys.log(stream, partition), *xids))])
        return int(reply)

    @override
    async def transfer(self, stream: StreamSpec, partition: int, xid: bytes, output: Output) -> CommitOutcome:
        call = with_outputs("transfer", [_keys.log(stream, partition)], (xid,), [output])
        (reply,) = await self.ask([call])
        return outcome_of(reply)
