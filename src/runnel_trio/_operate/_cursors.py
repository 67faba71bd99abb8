"""The cursors of a processor: set them, to go back or ahead, or delete them with everything else it has."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._stages import stages
from runnel_trio._broker._subscription import subscribe
from runnel_trio._broker._values import Membership, ProcessorSpec, StreamSpec
from runnel_trio._rules._cursor import ORIGIN, parse_id
from runnel_trio.exceptions import Misconfigured, WorkersAlive

__all__ = ["PartitionReset", "forget", "numbers_of", "predecessor", "reset", "start_of", "undecided"]

_ID = re.compile(r"\d+(-\d+)?")
#: The largest number in either half of a stream id.
_MOST = 2**64 - 1
#: What may become of tables; None: nothing was said.
_TABLES = (None, "empty", "keep")


@attrs.frozen
class PartitionReset:
    """What a reset did to one partition, or would do.

    Attributes:
        partition: its number.
        before: the stream id up to which it had been processed; None if it never was.
        after: the stream id up to which it now counts as processed.
        lag_before: how many events were not processed; None if the server does not know.
        lag_after: how many events are now to be processed.
        layout: the layout of the stream's partitions (see `Partition`); there are two during a repartition.
    """

    partition: int
    before: str | None
    after: str
    lag_before: int | None
    lag_after: int
    layout: int = 1


def predecessor(xid: bytes) -> bytes:
    """The stream id right before another one: the cursor with which that one comes next.

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
        Misconfigured: it is not a valid start.

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


def numbers_of(stream: StreamSpec, partitions: Collection[int] | None) -> list[int]:
    """Checked numbers of partitions; all by default.

    Raises:
        Misconfigured: there is no such partition.
    """
    count = stream.partition_count
    chosen = sorted(set(range(count) if partitions is None else partitions))
    for number in chosen:
        if not 0 <= number < count:
            raise Misconfigured(f"{stream.name} has no partition {number}: they are 0 to {count - 1}")
    return chosen


async def reset(
    broker: Broker,
    processor: ProcessorSpec,
    start: str | datetime,
    partitions: Collection[int] | None,
    *,
    force: bool,
    dry_run: bool,
    tables: str | None = None,
) -> list[PartitionReset]:
    """See `Processor.reset`."""
    cursor = start_of(start)
    await broker.declare(processor.stream, dry_run=dry_run)
    to_read = await stages(broker, processor)
    numbers = {to_read[0]: numbers_of(to_read[0].stream, partitions)}
    if partitions is None:  # those that it is going to read as well
        numbers |= {stage: numbers_of(stage.stream, None) for stage in to_read[1:]}
    if tables not in _TABLES:
        raise Misconfigured(f"tables={tables!r} must be 'empty' or 'keep'")
    if tables is None and not dry_run:
        await _refuse_undecided(broker, numbers)
    if not force and not dry_run:
        _refuse_if_alive(processor, await broker.members(to_read[0]))
    done = [
        PartitionReset(
            partition=x.partition,
            before=None if x.before is None else x.before.decode(),
            after=x.after.decode(),
            lag_before=None if x.lag_before < 0 else x.lag_before,
            lag_after=x.lag_after,
            layout=stage.stream.layout,
        )
        for stage, chosen in numbers.items()
        for x in await broker.rewind(
            stage, dict.fromkeys(chosen, cursor), dry_run=dry_run, empty=tables == "empty"
        )
    ]
    if not dry_run:  # one that never ran has cursors in all partitions now, and not only where it was reset
        await subscribe(broker, processor.stream, [processor.name])
    return done


async def _refuse_undecided(broker: Broker, numbers: Mapping[ProcessorSpec, Collection[int]]) -> None:
    """What becomes of entries of tables must be said: no default is right."""
    places = [(stage, number) for stage, chosen in numbers.items() for number in chosen]
    found = {name for place in places for name in await broker.table_names(*place)}
    if found:
        raise Misconfigured(undecided(sorted(found)))


def undecided(names: Collection[str]) -> str:
    """What to tell somebody who has not said what becomes of tables."""
    return (
        f"the processor has entries in {' and '.join(names)}: say what becomes of them. tables='empty' "
        "(--tables empty) deletes those of the partitions that are reset, to count events anew; "
        "tables='keep' (--tables keep) leaves them, so that events which are handled again count again"
    )


async def forget(broker: Broker, processor: ProcessorSpec) -> int:
    """See `Processor.forget`."""
    await broker.declare(processor.stream, dry_run=True)
    to_read = await stages(broker, processor)
    for stage in to_read:
        _refuse_if_alive(processor, await broker.members(stage))
    return sum([await broker.forget(stage) for stage in to_read])


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
