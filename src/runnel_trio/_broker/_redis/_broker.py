"""The verbs on Redis or Valkey: which scripts, with which keys, and what their replies mean."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import attrs

from runnel_trio._broker._protocol import (
    Acquired,
    Batch,
    Beat,
    Commit,
    CommitOutcome,
    Ending,
    Entry,
    Held,
    Layouts,
    Lease,
    Membership,
    Muster,
    Output,
    Party,
    Place,
    ProcessorSpec,
    Quarantine,
    Reader,
    Rewound,
    StreamSpec,
    Surveyed,
)
from runnel_trio._broker._redis import _keys, _layouts, _replicas, _survey
from runnel_trio._broker._redis._pulse import RedisPulse, beat_call, party_keys
from runnel_trio._broker._redis._replies import (
    membership,
    outcome_of,
    quarantine_of,
    quarantine_text,
    state,
    taken,
)
from runnel_trio._broker._redis._transport._errors import advised
from runnel_trio._broker._redis._transport._fitness import check_fitness
from runnel_trio._broker._redis._transport._scripts import Call, Plain
from runnel_trio._broker._redis._transport._sender import Shipment
from runnel_trio._broker._redis._transport._servers import Commands, Request, Servers, open_servers
from runnel_trio._embedded._server import SCHEME, embedded_server
from runnel_trio._rules._cursor import ORIGIN, LogState
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["RedisBroker", "open_redis"]

#: Not stopped by a suspended machine, where there is such a clock.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@asynccontextmanager
async def open_redis(place: Place) -> AsyncIterator[RedisBroker]:
    """Connect, check that the server will do, and serve until the body ends.

    Args:
        place: as its settings say, or ``embedded://…``: then the server lives as long as the body.

    Raises:
        BrokerUnavailable: nobody answers.
        BrokerRefused: it does not let us in.
        Misconfigured: it is too old, or evicts keys.
    """
    async with AsyncExitStack() as stack:
        if place.url.startswith(SCHEME) and place.factory is None:
            place = Place(await stack.enter_async_context(embedded_server(place.url)))
        try:
            wire = await stack.enter_async_context(open_servers(place))
            facts = await wire.facts()
        except BrokerUnavailable as error:
            raise advised(error) from error
        about = [check_fitness(info, url, clustered=wire.clustered) for url, info in facts]
        yield RedisBroker(wire=wire, about=about[0])


@attrs.define(eq=False, kw_only=True)
class RedisBroker:
    """See `_protocol.Broker`."""

    wire: Servers
    about: str
    clock: Callable[[], float] = attrs.field(default=partial(time.clock_gettime, _CLOCK), init=False)

    @property
    def url(self) -> str:
        """Where the server is."""
        return self.wire.url

    @property
    def appends_at_once(self) -> bool:
        """See `_protocol.Broker`."""
        return self.wire.sends.idle

    @property
    def clustered(self) -> bool:
        """See `_protocol.Broker`."""
        return self.wire.clustered

    @property
    def keys_per_read(self) -> int:
        """See `_protocol.Broker`."""
        return self.wire.keys_per_read

    def wall(self) -> float:
        """See `_protocol.Broker`."""
        return time.time()

    def id_time(self) -> float:
        """See `_protocol.Broker`; by this machine's clock, where the server has its own."""
        return time.time()

    def watch(self, away: Callable[[], None], back: Callable[[float], None]) -> None:
        """See `_protocol.Broker`."""
        self.wire.outage.on_away, self.wire.outage.on_back = away, back

    def log_key(self, stream: StreamSpec, partition: int) -> str:
        """See `_protocol.Broker`."""
        return _keys.log(stream, partition)

    async def declare(self, stream: StreamSpec, *, dry_run: bool = False) -> Layouts:
        """See `_protocol.Broker`."""
        return await _layouts.declare(self._surely, stream, dry_run=dry_run)

    async def create_groups(
        self, stream: StreamSpec, names: Collection[str]
    ) -> Mapping[str, Mapping[int, int]]:
        """See `_protocol.Broker`."""
        return await _layouts.create_groups(self._surely, stream, names)

    async def layouts(self, stream: StreamSpec) -> Layouts | None:
        """See `_protocol.Broker`."""
        return await _layouts.layouts(self._surely, stream)

    async def relearn(self, stream: StreamSpec) -> Layouts:
        """See `_protocol.Broker`."""
        return await _layouts.relearn(self._surely, stream)

    async def repartition(self, stream: StreamSpec, count: int) -> Layouts:
        """See `_protocol.Broker`."""
        return await _layouts.repartition(self._surely, stream, count)

    async def remaining(self, processor: ProcessorSpec) -> Sequence[int]:
        """See `_protocol.Broker`."""
        return await _layouts.remaining(self._surely, processor)

    async def news(self, processor: ProcessorSpec) -> None:
        """See `_protocol.Broker`."""
        await self._surely([_tell(processor, (), "layout")])

    async def discard(self, stream: StreamSpec, processors: Collection[str]) -> Sequence[int]:
        """See `_protocol.Broker`."""
        return await _layouts.discard(self._surely, stream, processors)

    def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Awaitable[Mapping[int, int]]:
        """See `_protocol.Broker`."""
        if len(batches) == 1:
            ((number, batch),) = batches.items()
            if batch.ids is None and len(batch) == 1:
                return self.wire.sends.one(stream, number, batch)
        return self.wire.sends.call(Shipment(stream, batches))

    async def replicated(
        self, stream: StreamSpec, partitions: Collection[int], count: int, within: float
    ) -> int:
        """See `_protocol.Broker`."""
        keys = [_keys.producers(stream, x) for x in partitions]
        return await _replicas.sends(
            partial(self._surely, through=self.wire.waits), self.wire, keys, count, within
        )

    async def commit_replicated(
        self, processor: ProcessorSpec, commits: Sequence[Commit], count: int, within: float
    ) -> int:
        """See `_protocol.Broker`."""
        calls = {_keys.producers(processor.stream, x.lease.partition): _commit(processor, x) for x in commits}
        return await _replicas.commits(
            partial(self._surely, through=self.wire.waits), self.wire, calls, count, within
        )

    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        """See `_protocol.Broker`."""
        return self.wire.reader(partial(_keys.log, processor.stream), block)

    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held | Quarantine]:
        """See `_protocol.Broker`."""
        calls = [
            Call(
                "acquire",
                [*_places(processor, number), _keys.quarantine(processor, number)],
                [processor.name, member, *_observed(held)],
            )
            for number, held in partitions.items()
        ]
        replies = await self._surely(calls)
        return [taken(number, member, x) for number, x in zip(partitions, replies, strict=True)]

    async def attempt(self, processor: ProcessorSpec, lease: Lease, xid: bytes, count: int) -> bool:
        """See `_protocol.Broker`."""
        key = _keys.lease(processor, lease.partition)
        (held,) = await self._surely([Call("attempt", [key], [lease.owner, lease.epoch, xid, count])])
        return bool(held)

    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        """See `_protocol.Broker`."""
        return list(map(outcome_of, await self._surely([_commit(processor, x) for x in commits])))

    async def examine(self, processor: ProcessorSpec, partitions: Sequence[int]) -> Sequence[LogState | None]:
        """See `_protocol.Broker`."""
        calls = [Call("examine", _places(processor, number), [processor.name]) for number in partitions]
        return [state(reply) if reply else None for reply in await self._surely(calls)]

    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        """See `_protocol.Broker`."""
        calls = [
            Call("release", [_keys.lease(processor, lease.partition)], [lease.owner, lease.epoch])
            for lease in leases
        ]
        await self._surely(calls)
        await self._surely([_tell(processor, [lease.partition for lease in leases])])

    async def quarantine(self, processor: ProcessorSpec, lease: Lease, why: Quarantine) -> bool:
        """See `_protocol.Broker`."""
        keys = [_keys.lease(processor, lease.partition), _keys.quarantine(processor, lease.partition)]
        call = Call("quarantine", keys, [lease.owner, lease.epoch, quarantine_text(why)])
        (held,) = await self._surely([call])
        return bool(held)

    async def quarantined(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[Quarantine | None]:
        """See `_protocol.Broker`."""
        replies = await self._surely([Plain(("GET", _keys.quarantine(processor, x))) for x in partitions])
        return [None if reply is None else quarantine_of(reply) for reply in replies]

    async def pause(self, processor: ProcessorSpec, whys: Sequence[Quarantine]) -> Sequence[bool]:
        """See `_protocol.Broker`."""
        calls = [
            Call("pause", [_keys.quarantine(processor, why.partition)], [quarantine_text(why)])
            for why in whys
        ]
        replies = await self._surely(calls)
        await self._surely([_tell(processor, [why.partition for why in whys], "paused")])
        return [bool(x) for x in replies]

    async def forget(self, processor: ProcessorSpec) -> int:
        """See `_protocol.Broker`."""
        calls: list[Call | Plain] = [
            Call("forget", [*_places(processor, x), _keys.quarantine(processor, x)], [processor.name])
            for x in range(processor.stream.partition_count)
        ]
        *had, _ = await self._surely([*calls, Plain(("DEL", *party_keys(processor)))])
        return sum(had)

    async def resume(
        self, processor: ProcessorSpec, why: Quarantine, *, skip: bool, outputs: Sequence[Output] = ()
    ) -> CommitOutcome:
        """See `_protocol.Broker`."""
        number = why.partition
        keys = [_keys.log(processor.stream, number), _keys.quarantine(processor, number)]
        own = (processor.name, quarantine_text(why), int(skip), why.first, why.last)
        (reply,) = await self._surely([_with_outputs("resume", keys, own, outputs)])
        await self._surely([_tell(processor, [number])])
        return outcome_of(reply)

    async def rewind(
        self, processor: ProcessorSpec, starts: Mapping[int, bytes], *, dry_run: bool
    ) -> Sequence[Rewound]:
        """See `_protocol.Broker`."""
        calls = [
            Call(
                "rewind",
                [*_places(processor, number), _keys.quarantine(processor, number)],
                [processor.name, start, int(dry_run)],
            )
            for number, start in starts.items()
        ]
        replies = await self._surely(calls)
        if not dry_run:
            await self._surely([_tell(processor, list(starts))])
        return [
            Rewound(number, before or None, after, lag_before, lag_after)
            for number, (before, after, lag_before, lag_after) in zip(starts, replies, strict=True)
        ]

    async def entries(
        self, stream: StreamSpec, partition: int, *, after: bytes = ORIGIN, count: int = 1000
    ) -> Sequence[Entry]:
        """See `_protocol.Broker`."""
        start = b"(" + after
        words = ("XRANGE", _keys.log(stream, partition), start, "+", "COUNT", count)
        (reply,) = await self._surely([Plain(words)])
        return [(xid, tuple(fields)) for xid, fields in reply]

    async def time(self) -> float:
        """See `_protocol.Broker`."""
        ((seconds, microseconds),) = await self._surely([Plain(("TIME",), "")])
        return int(seconds) + int(microseconds) / 1e6

    async def streams(self, app: str) -> Sequence[StreamSpec]:
        """See `_protocol.Broker`."""
        return await _survey.streams(self._surely, app)

    async def survey(self, stream: StreamSpec) -> Sequence[Surveyed]:
        """See `_protocol.Broker`."""
        node_of, found = self.wire.node_of, await _survey.survey(self._surely, stream)
        return [attrs.evolve(x, node=node_of(_keys.log(stream, x.number))) for x in found]

    async def muster(self, party: Party) -> Muster:
        """See `_protocol.Broker`."""
        return await _survey.muster(self._surely, party)

    async def ended(self, app: str, ending: Ending) -> None:
        """See `_protocol.Broker`."""
        await _survey.ended(self._surely, app, ending)

    async def remove(self, stream: StreamSpec, partition: int, xids: Sequence[bytes]) -> int:
        """See `_protocol.Broker`."""
        if not xids:
            return 0
        (reply,) = await self._surely([Plain(("XDEL", _keys.log(stream, partition), *xids))])
        return int(reply)

    async def transfer(self, stream: StreamSpec, partition: int, xid: bytes, output: Output) -> CommitOutcome:
        """See `_protocol.Broker`."""
        call = _with_outputs("transfer", [_keys.log(stream, partition)], (xid,), [output])
        (reply,) = await self._surely([call])
        return outcome_of(reply)

    async def beat(self, beat: Beat) -> Membership:
        """See `_protocol.Broker`."""
        (reply,) = await self._surely([beat_call(beat)])
        return membership(reply)

    def pulse(self) -> RedisPulse:
        """See `_protocol.Broker`."""
        return RedisPulse(self.wire.transport())

    async def look(self, party: Party) -> Membership:
        """See `_protocol.Broker`."""
        (reply,) = await self._surely([Call("look", party_keys(party), [])])
        return membership(reply)

    async def plan(
        self, processor: ProcessorSpec, generation: int, plan: Mapping[str, Sequence[int]]
    ) -> None:
        """See `_protocol.Broker`."""
        arguments: list[str | int] = [generation]
        for member, numbers in plan.items():
            arguments += [member, " ".join(map(str, numbers))]
        await self._surely([Call("plan", party_keys(processor), arguments)])

    async def leave(self, party: Party, member: str) -> None:
        """See `_protocol.Broker`."""
        await self._surely([Call("leave", [_keys.members(party), _keys.control(party)], [member])])

    def control(self, party: Party, block: float) -> Reader:
        """See `_protocol.Broker`."""
        key = _keys.control(party)
        return self.wire.reader(lambda _: key, block)

    async def _surely(self, calls: Request, through: Commands | None = None) -> list[Any]:
        """The replies to calls that may be repeated, however long the server is away."""
        through = through or self.wire.commands
        if not calls:
            return []
        attempt, who = 0, object()
        try:
            while True:
                try:
                    replies = await through.call(calls)
                except BrokerUnavailable as error:
                    await self.wire.outage.pause(who, error, attempt)
                    attempt += 1
                else:
                    self.wire.outage.over(who)
                    return replies
        finally:
            self.wire.outage.given_up(who)


def _observed(held: Held | None) -> tuple[str, str]:
    return (held.owner, str(held.epoch)) if held else ("", "")


def _places(processor: ProcessorSpec, number: int) -> list[str]:
    return [_keys.log(processor.stream, number), _keys.lease(processor, number)]


def _tell(processor: ProcessorSpec, numbers: Sequence[int], what: str = "released") -> Call:
    return Call("tell", [_keys.control(processor)], [" ".join(map(str, numbers)), what])


def _commit(processor: ProcessorSpec, commit: Commit) -> Call:
    lease = commit.lease
    own = (
        processor.name, lease.owner, lease.epoch,
        commit.number, commit.previous, commit.last, commit.entries_read, commit.read_to,
    )  # fmt: skip
    return _with_outputs("commit", _places(processor, lease.partition), own, commit.outputs)


def _with_outputs(
    script: str, keys: Sequence[str], arguments: Sequence[bytes | str | int], outputs: Sequence[Output]
) -> Call:
    """As scripts/_output.lua reads them."""
    all_keys: list[str] = [*keys]
    all_arguments: list[bytes | str | int] = [*arguments, len(outputs)]
    for output in outputs:
        stream, batch = output.stream, output.batch
        number = output.partition
        all_arguments += [len(all_keys) + 1, stream.layout, stream.partition_size, stream.overflow.value]
        all_keys += [_keys.log(stream, number), _keys.producers(stream, number)]
        all_arguments.append(len(batch.names))
        all_arguments += [*batch.names, len(batch), *batch.values]
    return Call(script, all_keys, all_arguments)
