"""The verbs on Redis or Valkey: which scripts, with which keys, and what their replies mean."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs
import outcome

from runnel_trio._broker._protocol import (
    Acquired,
    Batch,
    Commit,
    CommitOutcome,
    Held,
    Lease,
    Membership,
    ProcessorSpec,
    Reader,
    StreamSpec,
)
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._connection import Endpoint, Line, Outage
from runnel_trio._broker._redis._fitness import check_fitness
from runnel_trio._broker._redis._gateway import Gateway, Hop
from runnel_trio._broker._redis._reader import RedisReader
from runnel_trio._broker._redis._scripts import Call, Plain
from runnel_trio._broker._redis._sender import Sender, Shipment
from runnel_trio._broker._redis._server import SCHEME, embedded_server
from runnel_trio._rules._cursor import LogState
from runnel_trio._scopes import helpers
from runnel_trio.exceptions import BrokerUnavailable, Misconfigured, RunnelError

__all__ = ["RedisBroker", "open_redis"]

#: Not stopped by a suspended machine, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_Request = Sequence[Call | Plain]


@asynccontextmanager
async def open_redis(url: str) -> AsyncIterator[RedisBroker]:
    """Connect, check that the server will do, and serve until the body ends.

    Args:
        url: as redis-py reads it, or ``embedded://…``: then the server lives as long as the body.

    Raises:
        BrokerUnavailable: nobody answers.
        BrokerRefused: it does not let us in.
        Misconfigured: it is too old, or evicts keys.
    """
    async with AsyncExitStack() as stack:
        if url.startswith(SCHEME):
            url = await stack.enter_async_context(embedded_server(url))
        endpoint, outage = Endpoint(url=url), Outage(url=url)
        lines = Line(endpoint), Line(endpoint)
        for line in lines:
            stack.callback(line.close)
        sender = Sender(line=lines[1], outage=outage)
        commands: Gateway[_Request, list[Any]] = Gateway(carry=partial(_carry, lines[0]))
        sends: Gateway[Shipment, dict[int, int]] = Gateway(carry=sender.carry)
        nursery = await stack.enter_async_context(helpers())
        await nursery.start(commands.run)
        await nursery.start(sends.run)
        broker = RedisBroker(endpoint=endpoint, outage=outage, commands=commands, sends=sends)
        (info,) = await commands.call([Plain(("INFO",))])
        check_fitness(info, endpoint.url)
        yield broker


async def _carry(line: Line, requests: Sequence[_Request], hop: Hop) -> list[outcome.Outcome[list[Any]]]:
    replies = iter(await line.talk([call for request in requests for call in request], hop))
    outcomes: list[outcome.Outcome[list[Any]]] = []
    for request in requests:
        own = [next(replies) for _ in request]
        # What passes by itself goes first: then the request is repeated, and each call may be.
        errors = [x for x in own if isinstance(x, RunnelError)]
        errors.sort(key=lambda error: not isinstance(error, BrokerUnavailable))
        outcomes.append(outcome.Error(errors[0]) if errors else outcome.Value(own))
    return outcomes


@attrs.define(eq=False, kw_only=True)
class RedisBroker:
    """See `_protocol.Broker`."""

    endpoint: Endpoint
    outage: Outage
    commands: Gateway[_Request, list[Any]]
    sends: Gateway[Shipment, dict[int, int]]
    clock: Callable[[], float] = attrs.field(default=partial(time.clock_gettime, _CLOCK), init=False)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self.endpoint.url

    def log_key(self, stream: StreamSpec, partition: int) -> str:
        """See `_protocol.Broker`."""
        return _keys.log(stream, partition)

    async def declare(self, stream: StreamSpec) -> None:
        """See `_protocol.Broker`."""
        mine = [str(stream.partition_count), stream.record, stream.hasher]
        ((*there,),) = await self._surely([Call("declare", [_keys.meta(stream)], mine)])
        for what, stored, given in zip(("partition_count", "record", "hasher"), there, mine, strict=True):
            if _text(stored) != given:
                raise _declared_otherwise(stream, what, _text(stored), given)

    async def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Mapping[int, int]:
        """See `_protocol.Broker`."""
        return await self.sends.call(Shipment(stream, batches))

    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        """See `_protocol.Broker`."""
        return RedisReader(
            endpoint=self.endpoint,
            outage=self.outage,
            log_key=partial(_keys.log, processor.stream),
            unblock=self._unblock,
            block=block,
        )

    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held]:
        """See `_protocol.Broker`."""
        calls = [
            self._on_partition("acquire", processor, number, member, *_observed(held))
            for number, held in partitions.items()
        ]
        replies = await self._surely(calls)
        return [_taken(number, member, x) for number, x in zip(partitions, replies, strict=True)]

    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        """See `_protocol.Broker`."""
        calls = [
            self._on_partition(
                "commit", processor, x.lease.partition, x.lease.owner, x.lease.epoch,
                x.previous, x.last, x.entries_read, x.read_to,
            )
            for x in commits
        ]  # fmt: skip
        return [CommitOutcome(_text(reply).lower()) for reply in await self._surely(calls)]

    async def examine(self, processor: ProcessorSpec, partitions: Sequence[int]) -> Sequence[LogState | None]:
        """See `_protocol.Broker`."""
        calls = [self._on_partition("examine", processor, number) for number in partitions]
        return [_state(reply) if reply else None for reply in await self._surely(calls)]

    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        """See `_protocol.Broker`."""
        await self._surely(
            [
                Call("release", [_keys.lease(processor, lease.partition)], [lease.owner, lease.epoch])
                for lease in leases
            ]
        )

    async def beat(self, processor: ProcessorSpec, member: str, expiry: float, about: str) -> Membership:
        """See `_protocol.Broker`."""
        arguments = (member, int(expiry * 1000), about)
        ((generation, *members),) = await self._surely([Call("beat", [_keys.members(processor)], arguments)])
        return Membership(int(generation), tuple(map(_text, members)))

    async def leave(self, processor: ProcessorSpec, member: str) -> None:
        """See `_protocol.Broker`."""
        await self._surely([Call("leave", [_keys.members(processor)], [member])])

    def _on_partition(self, script: str, processor: ProcessorSpec, number: int, *arguments: Any) -> Call:
        keys = [_keys.log(processor.stream, number), _keys.lease(processor, number)]
        return Call(script, keys, [processor.name, *arguments])

    async def _surely(self, calls: Sequence[Call]) -> list[Any]:
        """The replies to calls that may be repeated, however long the server is away."""
        if not calls:
            return []
        attempt = 0
        while True:
            try:
                replies = await self.commands.call(calls)
            except BrokerUnavailable as error:
                await self.outage.pause(error, attempt)
                attempt += 1
            else:
                self.outage.over()
                return replies

    async def _unblock(self, client: int) -> int:
        (answer,) = await self.commands.call([Plain(("CLIENT", "UNBLOCK", client))])
        return int(answer)


def _observed(held: Held | None) -> tuple[str, str]:
    return (held.owner, str(held.epoch)) if held else ("", "")


def _taken(number: int, member: str, reply: Sequence[Any]) -> Acquired | Held:
    if not reply[0]:
        return Held(number, _text(reply[1]), int(reply[2]))
    return Acquired(Lease(number, member, int(reply[1])), _state(reply[3:]), reply[2])


def _state(reply: Sequence[Any]) -> LogState:
    cursor, entries_read, length, entries_added, last_id, max_deleted, first_id = reply
    return LogState(
        cursor=cursor,
        entries_read=entries_read,
        length=length,
        entries_added=entries_added,
        last_id=last_id,
        max_deleted=max_deleted,
        first_id=first_id,
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _declared_otherwise(stream: StreamSpec, what: str, there: str, given: str) -> Misconfigured:
    return Misconfigured(
        f"stream {stream.name!r} of app {stream.app!r} was declared with {what}={there}, and is now declared "
        f"with {given}: keys would change their partition or their meaning. Keep {there}, or send to a "
        "stream of another name and drain this one first."
    )
