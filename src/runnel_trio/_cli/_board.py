"""An `Overview` as lines for people: one line for what is well, more for what is not.

No line is wider than the terminal, and what matters comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import click

from runnel_trio._operate._alike import Standstill, standstills
from runnel_trio._operate._health import TYPED, Typed
from runnel_trio._operate._overview import MemberView, Overview, PartitionView, ProcessorView, StreamView
from runnel_trio._operate._rates import Rates
from runnel_trio._report._words import ago, counted, ranges, shortened
from runnel_trio.constants import Overflow

__all__ = ["ahead_in", "board", "parked_in", "size_of"]

#: The most reasons for standing still that get lines of their own.
_SHOWN = 8
#: The most partitions of which something is told one by one.
_NAMED = 3
#: What happens to events that are sent to a partition without room.
_FULL = {
    Overflow.BLOCK: "senders will wait",
    Overflow.ERROR: "what is sent will be refused",
    Overflow.TRIM: "the oldest events go, processed or not",
}


def size_of(count: float) -> str:
    """A number of bytes, in the unit that fits.

    Example:
        >>> [size_of(x) for x in (0, 900, 2048, 5_000_000, 3 << 30)]
        ['0 B', '900 B', '2.0 KiB', '4.8 MiB', '3.0 GiB']
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"


def parked_in(processor: ProcessorView) -> str:
    """How many keys are parked, and where most of their events are, in words; empty if none is."""
    if not processor.parked_keys:
        return ""
    keys, events = counted(processor.parked_keys, "key"), counted(processor.parked, "event")
    many = f"{keys} with {events}" if processor.parked else keys
    return f"parked: {many}{_most((x.number, x.parked) for x in processor.partitions)}"


def ahead_in(processor: ProcessorView) -> str:
    """How much is handled ahead of slower keys, and where most of it is, in words; empty if nothing is."""
    if not processor.ahead:
        return ""
    most = _most((x.number, x.ahead) for x in processor.partitions)
    return f"handled ahead of slower keys: {counted(processor.ahead, 'event')}{most}"


def _most(counts: Iterable[tuple[int, int]]) -> str:
    """The partitions with the highest counts, as they follow a sum."""
    highest = sorted(((number, count) for number, count in counts if count), key=lambda x: -x[1])[:_NAMED]
    return f", the most {', '.join(f'[{number}] {count:,}' for number, count in highest)}" if highest else ""


def board(
    view: Overview,
    before: Overview | None,
    *,
    typed: Typed = TYPED,
    width: int = 80,
) -> list[str]:
    """The lines that show an overview.

    Args:
        view: the overview.
        before: an earlier overview, for the rates.
        typed: how to type the commands that lines recommend.
        width: columns, at least 60.
    """
    rates = Rates(before, view)
    when = datetime.fromtimestamp(view.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    leader = f"   leader: {view.leader}" if view.leader else ""
    lines = [click.style(view.app, bold=True) + f"   {when}{leader}", ""]
    lines += _streams(view, rates)
    if view.processors:
        lines += ["", _row("PROCESSOR", "LAG", "OLDEST", "/S", "OWNED", "MEMBERS")]
    for processor in view.processors:
        lines += _processor(processor, rates, typed)
    return [_cut(line, width) for line in lines]


def _streams(view: Overview, rates: Rates) -> Iterator[str]:
    if not view.streams:
        yield "No stream: nothing was sent, and no worker has begun."
        return
    yield _row("STREAM", "EVENTS", "ROOM", "/S", "MEMORY", "PARTS")
    for stream in view.streams:
        room = "-" if stream.room is None else f"{stream.room:,}"
        name = stream.spec.name + (" (dead letters)" if stream.holds_dead_letters else "")
        line = _row(
            name,
            f"{stream.length:,}",
            room,
            _rate(rates.added(stream)),
            size_of(stream.size),
            str(stream.spec.partition_count),
        )
        bad = stream.fullest >= 0.9 or (stream.holds_dead_letters and stream.length > 0)
        yield click.style(line, fg="yellow") if bad else line
        if stream.where:
            yield f"  {stream.where}"
        if stream.fullest >= 0.9:
            then = _FULL[stream.spec.overflow]
            yield click.style(f"  a partition is {stream.fullest:.0%} full: {then}", fg="yellow")
        if stream.former is not None:
            yield click.style(f"  {_moving(view, stream, stream.former.partition_count)}", fg="yellow")


def _moving(view: Overview, stream: StreamView, count: int) -> str:
    """What the ``count`` former partitions wait for."""
    there = [
        x.name for x in view.processors if x.stream == stream.spec.name and x.layout != stream.spec.layout
    ]
    waits = f"wait for {', '.join(there)}" if there else "can go: type `runnel-trio stream repartition` again"
    return f"its {count} former partitions {waits}"


def _rate(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:,.0f}"


def _row(name: str, *cells: str) -> str:
    widths = (11, 10, 9, 10, 8)
    return f"{name:<28}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _processor(processor: ProcessorView, rates: Rates, typed: Typed) -> Iterator[str]:
    standing = processor.standing()
    line = _row(
        processor.full_name,
        f"{processor.lag:,}",
        ago(processor.age),
        _rate(rates.acknowledged(processor)),
        f"{processor.owned}/{len(processor.partitions)}",
        str(len(processor.members)),
    )
    wanted = all(x.is_paused for x in standing)
    yield click.style(line, fg="yellow" if wanted else "red", bold=True) if standing else line
    for member in processor.members:
        yield _member(member, rates.now.time)
    if not processor.members:
        yield click.style("  nobody runs it", fg="red" if processor.lag else None)
    groups = standstills(processor)
    for group in groups[:_SHOWN]:
        yield from _still(group, processor, rates.now.time, typed)
    if more := sorted(number for group in groups[_SHOWN:] for number in group.numbers):
        yield click.style(f"  and {len(more)} more stand still: {ranges(more)}", fg="red")
    if parked := parked_in(processor):
        yield click.style(f"  {parked}", fg="yellow")
        yield f"      {typed.parked(processor.name)}"
    yield from _others(processor, standing)


def _member(member: MemberView, now: float) -> str:
    state = "is leaving" if member.leaving else ""
    if member.overdue:
        state = f"no heartbeat: counts as dead for {ago(member.overdue)}"
    facts = (member.address, member.version, member.up(now), member.share, state)
    return "".join(f"  {x}" for x in facts if x)


def _still(group: Standstill, processor: ProcessorView, now: float, typed: Typed) -> Iterator[str]:
    """The lines of partitions that stand still for the same reason."""
    why, several = group.why, len(group.partitions) > 1
    if why is None:
        whom = "them" if several else "it"
        text = f"  {group.label} nobody owns {whom}: {group.behind}, {group.oldest}"
        yield click.style(text, fg="red")
        return
    if why.is_pause:
        reason = f": {why.error}" if why.error else ""
        text = f"  {group.label} paused for {group.since(now)} by {why.member}{reason}"
        yield click.style(text, fg="yellow")
    else:
        verb = "stand" if several else "stands"
        text = f"  {group.label} {verb} still for {group.since(now)}: {why.error}"
        yield click.style(text, fg="red")
        events = counted(sum(x.count for x in group.quarantines), "event")
        at = f"at {why.first.decode()}" + (" and in the others" if several else "")
        members = ", ".join(sorted({x.member for x in group.quarantines}))
        yield f"      {at}, {events}; {group.behind}; on {members}"
    yield f"      {typed.resume(processor.name, group.numbers)}"


def _others(processor: ProcessorView, standing: Sequence[PartitionView]) -> Iterator[str]:
    still = {x.number for x in standing}
    behind = [(x.number, x.lag) for x in processor.partitions if x.number not in still and x.lag]
    unknown = [x.number for x in processor.partitions if x.lag is None]
    if processor.waiting:
        yield f"  reads the former partitions first; {processor.waiting:,} of these wait in the new ones"
    if behind:
        moving = len(processor.partitions) - len(still)
        yield f"  behind, of {moving} that move: {len(behind)}{_most(behind)}"
    if ahead := ahead_in(processor):
        yield f"  {ahead}"
    if unknown:
        yield f"  the server does not know how far behind: {ranges(unknown)}"


def _cut(line: str, width: int) -> str:
    """A line cut to ``width``, without counting colours. A line with a command to type stays whole."""
    plain = click.unstyle(line)
    if len(plain) <= width or plain.lstrip().startswith("runnel-trio "):
        return line
    cut = shortened(plain, width)
    return line.replace(plain, cut) if plain in line else cut
