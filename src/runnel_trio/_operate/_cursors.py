"""What is done to a processor from outside: give it cursors, set them, pause it, lift its quarantines."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import attrs

from runnel_trio._broker._protocol import Broker, Layouts, Membership, ProcessorSpec, Quarantine, StreamSpec
from runnel_trio._rules._cursor import ORIGIN, parse_id
from runnel_trio._telemetry import Tally, report
from runnel_trio.exceptions import Misconfigured, WorkersAlive

__all__ = [
    "PartitionReset",
    "Quarantined",
    "forget",
    "numbers_of",
    "pause",
    "predecessor",
    "quarantined",
    "reads",
    "reset",
    "stages",
    "start_of",
    "subscribe",
    "tell_of_loss",
]

_ID = re.compile(r"\d+(-\d+)?")
#: The largest number in either half of a stream id.
_MOST = 2**64 - 1


@attrs.frozen
class PartitionReset:
    """What a reset did to one partition, or would do.

    Attributes:
        partition: its number.
        before: the stream id up to which it was processed; None when it never was.
        after: the one up to which it counts as processed now.
        lag_before: events that were not processed; None when the server cannot say.
        lag_after: events that are to be processed now.
        layout: of the stream's partitions, see `Partition`; there are two while these are being changed.
    """

    partition: int
    before: str | None
    after: str
    lag_before: int | None
    lag_after: int
    layout: int = 1


@attrs.frozen
class Quarantined:
    """A partition that stands still, and why.

    Attributes:
        partition: its number.
        first: stream id of the event that failed; of the first one, when a list failed as a whole.
        last: stream id of the last of them.
        count: how many events failed at once.
        error: the exception, as ``type: text``.
        traceback: as Python prints it, from the user's code on.
        time: when, as ISO 8601.
        member: the worker.
    """

    partition: int
    first: str
    last: str
    count: int
    error: str
    traceback: str
    time: str
    member: str
    _why: Quarantine = attrs.field(repr=False)

    @classmethod
    def of(cls, why: Quarantine) -> Quarantined:
        """From what the broker keeps."""
        first, last = why.first.decode(), why.last.decode()
        facts = (why.count, why.error, why.traceback, why.time, why.member)
        return cls(why.partition, first, last, *facts, why)

    @property
    def is_pause(self) -> bool:
        """Whether nothing failed: `Processor.pause` wanted it so."""
        return self._why.is_pause

    @property
    def stored(self) -> Quarantine:
        """What the broker keeps."""
        return self._why


async def reads(broker: Broker, name: str, layouts: Layouts) -> list[ProcessorSpec]:
    """A processor in the layouts that it has to read, in this order: it begins one when it is through before.

    Most have one. The former layout is the first, until everything in it is acknowledged.
    """
    current = ProcessorSpec(stream=layouts.current, name=name)
    if layouts.draining is not None:
        former = ProcessorSpec(stream=layouts.draining, name=name)
        if await broker.remaining(former):
            return [former, current]
    return [current]


async def stages(broker: Broker, processor: ProcessorSpec) -> list[ProcessorSpec]:
    """As `reads`, of what the server says now; changes nothing there."""
    layouts = await broker.layouts(processor.stream)
    return [processor] if layouts is None else await reads(broker, processor.name, layouts)


async def subscribe(
    broker: Broker, stream: StreamSpec, names: Collection[str], counts: Tally | None = None
) -> Layouts:
    """Declare a stream, and give these processors a cursor in each of its partitions where they have none.

    From then on the server knows that they exist: no entry is trimmed that they have not passed, however late
    they start. What had left the logs before is told, and counted.

    Where any was made, a second look is for a change of the layout that was under way: it is completed now,
    with these processors. One that begins later sees their cursors by itself (`_rules/_layout`).
    """
    tally = Tally() if counts is None else counts
    layouts = await broker.declare(stream)
    while names:
        created = {layout: await broker.create_groups(layout, names) for layout in layouts.all}
        for name in names:
            _tell_of_missed(name, {x: created[x].get(name, {}) for x in created}, tally)
        if not any(made for names_made in created.values() for made in names_made.values()):
            break
        found = await broker.declare(stream)
        if found.current.layout == layouts.current.layout:
            return found
        layouts = found
    return layouts


def _tell_of_missed(name: str, created: Mapping[StreamSpec, Mapping[int, int]], counts: Tally) -> None:
    """What left the logs before a processor had a cursor there: lost, if it had one in other partitions."""
    is_new = all(len(made) == layout.partition_count for layout, made in created.items())
    missed = sum(sum(made.values()) for made in created.values())
    if is_new and missed:
        counts[name, "events-missed"] += missed
        stream = next(iter(created)).name
        report(logging.WARNING, "events-missed", stream=stream, processor=name, count=missed)
        return
    for layout, made in created.items():
        for number, gone in made.items():
            tell_of_loss(ProcessorSpec(stream=layout, name=name), number, gone, counts)


def tell_of_loss(processor: ProcessorSpec, number: int, count: int, counts: Tally) -> None:
    """Log, and count, that events left the log before they were processed."""
    if count > 0:
        counts[processor.name, "events-lost"] += count
        place = f"{processor.stream.name}[{number}]"
        report(logging.ERROR, "events-lost", place=place, processor=processor.name, count=count)


def predecessor(xid: bytes) -> bytes:
    """The stream id right before another one: the cursor after which that one is next.

    Example:
        >>> predecessor(b"5-1"), predecessor(b"5-0"), predecessor(b"0-0")
        (b'5-0', b'4-18446744073709551615', b'0-0')
    """
    ms, seq = parse_id(xid)
    if seq:
        return b"%d-%d" % (ms, seq - 1)
    return b"%d-%d" % (ms - 1, _MOST) if ms else ORIGIN


def start_of(start: str | datetime) -> bytes:
    """The cursor from which ``start`` is the first event; ``b"$"`` for the end.

    Raises:
        Misconfigured: it is none of what can be meant.

    Example:
        >>> start_of("0"), start_of("1700000000000-3")
        (b'0-0', b'1700000000000-2')
    """
    if isinstance(start, str):
        if start == "$":
            return b"$"
        if _ID.fullmatch(start):
            ms, _, seq = start.partition("-")
            if int(ms) > _MOST or int(seq or 0) > _MOST:
                raise Misconfigured(f"start={start!r} is no stream id: its numbers have 64 bits")
            return predecessor(b"%d-%d" % (int(ms), int(seq or 0)))
        try:
            start = datetime.fromisoformat(start)
        except ValueError:
            raise Misconfigured(
                f"start={start!r} is neither 0 nor $, nor a stream id as 1700000000000-0, nor a time as "
                "2026-11-24T08:30+01:00"
            ) from None
    if not isinstance(start, datetime):
        raise Misconfigured(f"start={start!r} must be text or a datetime")
    if start.tzinfo is None:
        raise Misconfigured(f"start={start.isoformat()} has no time zone: it could be one of two dozen times")
    since = (start.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return predecessor(b"%d-0" % max(0, since))


def numbers_of(processor: ProcessorSpec, partitions: Collection[int] | None) -> list[int]:
    """Checked numbers of partitions; all by default.

    Raises:
        Misconfigured: there is no such partition.
    """
    count = processor.stream.partition_count
    chosen = sorted(set(range(count) if partitions is None else partitions))
    for number in chosen:
        if not 0 <= number < count:
            raise Misconfigured(
                f"{processor.stream.name} has no partition {number}: they are 0 to {count - 1}"
            )
    return chosen


async def reset(
    broker: Broker,
    processor: ProcessorSpec,
    start: str | datetime,
    partitions: Collection[int] | None,
    *,
    force: bool,
    dry_run: bool,
) -> list[PartitionReset]:
    """See `Processor.reset`."""
    cursor = start_of(start)
    await broker.declare(processor.stream, dry_run=dry_run)
    places = await stages(broker, processor)
    numbers = {places[0]: numbers_of(places[0], partitions)}
    if partitions is None:  # those that it is going to read as well
        numbers |= {place: numbers_of(place, None) for place in places[1:]}
    if not force and not dry_run:
        _refuse_if_alive(processor, await broker.look(places[0]))
    done = [
        PartitionReset(
            partition=x.partition,
            before=None if x.before is None else x.before.decode(),
            after=x.after.decode(),
            lag_before=None if x.lag_before < 0 else x.lag_before,
            lag_after=x.lag_after,
            layout=place.stream.layout,
        )
        for place, chosen in numbers.items()
        for x in await broker.rewind(place, dict.fromkeys(chosen, cursor), dry_run=dry_run)
    ]
    if not dry_run:  # one that never ran has cursors in all partitions now, and not only where it was reset
        await subscribe(broker, processor.stream, [processor.name])
    return done


async def pause(
    broker: Broker, processor: ProcessorSpec, partitions: Collection[int] | None, reason: str, by: str
) -> list[int]:
    """See `Processor.pause`."""
    await subscribe(broker, processor.stream, [processor.name])
    place = (await stages(broker, processor))[0]
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    whys = [
        Quarantine(
            partition=number,
            first=ORIGIN,
            last=ORIGIN,
            count=0,
            error=reason,
            traceback="",
            time=now,
            member=by,
        )
        for number in numbers_of(place, partitions)
    ]
    done = await broker.pause(place, whys)
    return [why.partition for why, paused in zip(whys, done, strict=True) if paused]


async def forget(broker: Broker, processor: ProcessorSpec) -> int:
    """See `Processor.forget`."""
    await broker.declare(processor.stream, dry_run=True)
    places = await stages(broker, processor)
    for place in places:
        _refuse_if_alive(processor, await broker.look(place))
    return sum([await broker.forget(place) for place in places])


async def quarantined(
    broker: Broker, processor: ProcessorSpec, partitions: Collection[int] | None
) -> list[Quarantined]:
    """See `Processor.quarantined`."""
    place = (await stages(broker, processor))[0]
    found = await broker.quarantined(place, numbers_of(place, partitions))
    return [Quarantined.of(why) for why in found if why is not None]


def _refuse_if_alive(processor: ProcessorSpec, view: Membership) -> None:
    if view.members:
        name = f"{processor.stream.app}.{processor.stream.name}/{processor.name}"
        seconds = max(member.expiry for member in view.members)
        raise WorkersAlive(name, [_told(member.about) or member.id for member in view.members], seconds)


def _told(about: str) -> str:
    try:
        said = json.loads(about)
        return f"pid {said['pid']} on {said['host']}"
    except (ValueError, TypeError, KeyError, RecursionError):
        return ""
