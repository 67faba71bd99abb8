"""Parked keys: whose events wait, and how they go on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._stages import current_stage
from runnel_trio._broker._subscription import subscribe
from runnel_trio._broker._values import ParkedChange, ProcessorSpec
from runnel_trio._codec import canonical_key
from runnel_trio._event import Event, Origin, Partition
from runnel_trio._operate._cursors import numbers_of
from runnel_trio._report._words import described
from runnel_trio._rules._parked import Facts, Head, facts_text, unpack_entry
from runnel_trio._stream import Stream

__all__ = ["Parked", "count_parked", "drop", "events_of", "facts_of", "hold", "parked", "unpark"]

#: So many events of a list are read at a time.
_PAGE = 100
#: When a key is due that an operator wants to be tried: at once.
_NOW = 1


@attrs.frozen(kw_only=True)
class Parked:
    """A parked key: its events wait, and those of other keys go on.

    Attributes:
        key: the partition key, as text.
        partition: number of its partition.
        events: how many of its events are parked.
        since: when it was parked.
        error: the exception that it was parked over, as ``type: text``; empty if somebody parked it by hand.
        traceback: of that exception, the last thousand characters.
        reason: why it was parked, if by hand.
        by: the worker that parked it, or who did so by hand.
        attempts: how often its first event was tried.
        next: when it is tried again; None: only when somebody says so.
    """

    key: str
    partition: int
    events: int
    since: datetime
    error: str
    traceback: str
    reason: str
    by: str
    attempts: int
    next: datetime | None
    _canonical: bytes = attrs.field(repr=False, alias="canonical")
    _head: Head = attrs.field(repr=False, alias="head")

    @classmethod
    def of(cls, partition: int, canonical: bytes, head: Head, facts: Facts) -> Parked:
        """From what the broker says."""
        return cls(
            key=facts.key,
            partition=partition,
            events=head.count,
            since=_time(head.since),
            error=facts.error,
            traceback=facts.traceback,
            reason=facts.reason,
            by=facts.by,
            attempts=head.attempts,
            next=_time(head.next) if head.next else None,
            canonical=canonical,
            head=head,
        )

    @property
    def canonical(self) -> bytes:
        """The key in the form of docs/reference/hashing."""
        return self._canonical

    @property
    def head(self) -> Head:
        """The broker's value."""
        return self._head


async def parked(
    broker: Broker,
    processor: ProcessorSpec,
    partitions: Collection[int] | None = None,
    limit: int | None = None,
) -> list[Parked]:
    """See `Processor.parked`."""
    stage = await current_stage(broker, processor)
    keys = [
        (head.since, number, key)
        for number in numbers_of(stage.stream, partitions)
        for key, head in (await broker.parked_heads(stage, number)).items()
    ]
    keys.sort()
    chosen: dict[int, list[bytes]] = {}
    for _, number, key in keys[:limit]:
        chosen.setdefault(number, []).append(key)
    found = [
        Parked.of(number, key, head, facts)
        for number, some in chosen.items()
        for key, (head, facts) in (await broker.parked_values(stage, number, some)).items()
    ]
    return sorted(found, key=lambda x: (x.since, x.partition, x.canonical))


async def count_parked(
    broker: Broker, processor: ProcessorSpec, partitions: Collection[int] | None = None
) -> int:
    """How many keys are parked."""
    stage = await current_stage(broker, processor)
    return sum([len(await broker.parked_heads(stage, x)) for x in numbers_of(stage.stream, partitions)])


async def unpark(
    broker: Broker, processor: ProcessorSpec, them: Collection[Parked] | None, *, skip_first: bool
) -> list[Parked]:
    """See `Processor.unpark`."""
    chosen = await parked(broker, processor) if them is None else them

    def tried(now: Head) -> Head | None:
        if not skip_first or not now.count:
            return attrs.evolve(now, next=_NOW)
        behind = Head(now.first + 1, now.last, next=_NOW, since=now.since)
        return behind if behind.count else None

    return await _change(broker, processor, chosen, tried, same_first=skip_first)


async def drop(broker: Broker, processor: ProcessorSpec, them: Collection[Parked]) -> list[Parked]:
    """See `Processor.drop_parked`."""
    return await _change(broker, processor, them, lambda _: None, same_first=False)


def facts_of(stream: Stream[Any], key: Any, *, by: str, reason: str = "") -> Facts:
    """What is kept of a key that is parked."""
    return Facts(key=described(key, str), hash=int(stream.hasher(key)), reason=reason, by=by)


async def hold(
    broker: Broker, processor: ProcessorSpec, stream: Stream[Any], key: Any, *, reason: str, by: str
) -> Parked:
    """See `Processor.park`."""
    await subscribe(broker, processor.stream, [processor.name])
    stage = await current_stage(broker, processor)
    canonical, told = canonical_key(key), facts_of(stream, key, by=by, reason=reason)
    partition = told.hash % stage.stream.partition_count
    while True:
        now = int(broker.wall() * 1000)
        before = (await broker.parked_values(stage, partition, [canonical])).get(canonical)
        seen = before[0] if before else None
        facts = attrs.evolve(before[1], reason=reason, by=by) if before else told
        head = attrs.evolve(seen or Head(since=now), next=0)
        change = ParkedChange(canonical, seen, head, (), facts_text(facts))
        if (await broker.change_parked(stage, partition, [change]))[0]:
            return Parked.of(partition, canonical, head, facts)


async def events_of(
    broker: Broker, processor: ProcessorSpec, stream: Stream[Any], found: Parked
) -> list[Event]:
    """See `Operator.parked_events`."""
    stage = await current_stage(broker, processor)
    layout, number = stage.stream, found.partition
    partition = Partition(number=number, key=broker.log_key(layout, number), layout=layout.layout)
    origin = Origin(partition=partition, group=b"", decode=stream.decode)
    events: list[Event] = []
    for first in range(found.head.first, found.head.last + 1, _PAGE):
        last = min(found.head.last, first + _PAGE - 1)
        packed = await broker.parked_entries(stage, number, found.canonical, first, last)
        events += [Event(origin, *unpack_entry(x)) for x in packed if x is not None]
    return events


async def _change(
    broker: Broker,
    processor: ProcessorSpec,
    them: Collection[Parked],
    become: Callable[[Head], Head | None],
    *,
    same_first: bool,
) -> list[Parked]:
    """Change lists that may grow meanwhile; returns those that were still there.

    Args:
        broker: where they are.
        processor: whose.
        them: as they were seen.
        become: a head as it is → as it is to be; None: the key is free.
        same_first: leave a list alone whose first event is another one by now.
    """
    stage = await current_stage(broker, processor)
    done: list[Parked] = []
    for number in sorted({x.partition for x in them}):
        left = {x.canonical: x for x in them if x.partition == number}
        while left:
            heads = await broker.parked_heads(stage, number)
            wanted = [
                ParkedChange(key, heads[key], become(heads[key]))
                for key, x in left.items()
                if key in heads and not (same_first and heads[key].first != x.head.first)
            ]
            made = await broker.change_parked(stage, number, wanted) if wanted else ()
            done += [left[x.key] for x, is_made in zip(wanted, made, strict=True) if is_made]
            left = {x.key: left[x.key] for x, is_made in zip(wanted, made, strict=True) if not is_made}
    return done


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
