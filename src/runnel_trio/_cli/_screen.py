"""What `top` shows: an `Overview` and the rates of the last minutes, as lines of a screen.

It is pure, from values to lines, so it can be tested and viewed without a terminal. A line is a list of
parts, each a text and the name of its style; `STYLES` has the styles.
"""

from __future__ import annotations

import string
import textwrap
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeAlias

import attrs

from runnel_trio._cli._board import ahead_in, parked_in, size_of
from runnel_trio._operate._alike import standstills
from runnel_trio._operate._health import LIMITS, Limits, Trouble, Weight, state, troubles
from runnel_trio._operate._overview import MemberView, Overview, PartitionView, ProcessorView, StreamView
from runnel_trio._operate._rates import Rates
from runnel_trio._report._words import ago, shortened

__all__ = ["STYLES", "History", "Line", "screen", "sparkline"]

#: A line: texts, each with the name of its style.
Line: TypeAlias = list[tuple[str, str]]

#: Names of styles, and what rich makes of them.
STYLES = {
    "": "",
    "title": "bold",
    "head": "dim",
    "well": "green",
    "behind": "yellow",
    "bad": "bold red",
    "chosen": "reverse",
    "spark": "cyan",
    "help": "dim",
}
#: How many rates are kept for each stream and processor.
_KEPT = 120
_BARS = " ▁▂▃▄▅▆▇█"
#: The letters that stand for members on the map.
_LETTERS = string.ascii_uppercase + string.ascii_lowercase
#: The most troubles that are shown.
_TOLD = 3
#: The most lines of each trouble beside the first.
_WRAPPED = 2
_STYLE_OF = {Weight.NOTE: "behind", Weight.BEHIND: "behind", Weight.STANDING: "bad"}
#: A partition without an owner; one that stands still; one of a member for whom there is no letter left.
_NOBODY, _STANDS, _MORE = "·", "!", "*"


@attrs.define
class History:
    """What only several overviews show together: rates, and members without a heartbeat in between.

    Attributes:
        before: the last overview.
    """

    before: Overview | None = None
    _rates: dict[str, deque[float]] = attrs.field(factory=dict)
    _letters: dict[str, dict[str, str]] = attrs.field(factory=dict)
    _heard: dict[str, tuple[int, float]] = attrs.field(factory=dict)

    def add(self, view: Overview) -> None:
        """Add another overview."""
        before, self.before = self.before, view
        for processor in view.processors:
            self._give_letters(processor)
            for member in processor.members:
                known = f"{processor.full_name} {member.id}"
                if self._heard.get(known, (-1, 0.0))[0] != member.beat:
                    self._heard[known] = member.beat, view.time
        rates = Rates(before, view)
        for name, rate in (
            *((x.spec.name, rates.added(x)) for x in view.streams),
            *((x.full_name, rates.acknowledged(x)) for x in view.processors),
        ):
            if rate is not None:
                self._rates.setdefault(name, deque(maxlen=_KEPT)).append(rate)

    def of_stream(self, stream: StreamView) -> Sequence[float]:
        """How many events per second were sent, the newest rate last."""
        return self._rates.get(stream.spec.name, ())

    def of_processor(self, processor: ProcessorView) -> Sequence[float]:
        """How many events per second were acknowledged, the newest rate last."""
        return self._rates.get(processor.full_name, ())

    def letters(self, processor: ProcessorView) -> Mapping[str, str]:
        """The letter of each member. It stays the same while others come and go."""
        return self._letters.get(processor.full_name, {})

    def silent(self, processor: ProcessorView, member: MemberView, now: float) -> float:
        """Seconds for which no heartbeat came; 0 if the next one may still be on its way."""
        _, heard = self._heard.get(f"{processor.full_name} {member.id}", (0, now))
        return now - heard if now - heard > member.expiry / 2 else 0.0

    def _give_letters(self, processor: ProcessorView) -> None:
        """Give letters to new members. A letter that is free again is given last."""
        known = self._letters.setdefault(processor.full_name, {})
        for member in processor.members:
            if member.id not in known:
                present = {known.get(x.id) for x in processor.members}
                turn = (_LETTERS[(len(known) + n) % len(_LETTERS)] for n in range(len(_LETTERS)))
                known[member.id] = next((letter for letter in turn if letter not in present), _MORE)


def sparkline(rates: Sequence[float], width: int) -> str:
    """The last rates as bars; the highest is full. The result always has ``width`` characters.

    Example:
        >>> sparkline([0, 1, 2, 4], 6)
        '   ▂▄█'
    """
    shown = list(rates)[-width:]
    most = max(shown, default=0.0)
    bars = "".join(_BARS[round(8 * rate / most)] if most and rate else _BARS[0] for rate in shown)
    return bars.rjust(width)


def screen(
    view: Overview,
    history: History,
    *,
    chosen: int,
    width: int,
    height: int,
    asked: str = "",
    told: str = "",
    limits: Limits = LIMITS,
) -> list[Line]:
    """The lines of a screen, as many as fit.

    Args:
        view: what to show.
        history: the rates until now.
        chosen: the processor whose partitions are shown, by its index in the list.
        width: columns, at least 60.
        height: lines, at least 12.
        asked: a question at the bottom, in place of the help.
        told: what was done last.
        limits: how old or late events may be without counting as trouble.
    """
    when = datetime.fromtimestamp(view.time, UTC).strftime("%H:%M:%S UTC")
    title = f"{view.app}   {when}" + (f"   leader: {view.leader}" if view.leader else "")
    bottom: Line = [(asked, "behind")] if asked else [(_HELP, "help")]
    found = troubles(view, limits)
    lines: list[Line] = [[(title, "title")], *_state(found, width), []]
    lines += _streams(view, history, width)
    lines += [[], *_processors(view, history, chosen, width, found)]
    if view.processors:
        one = view.processors[min(chosen, len(view.processors) - 1)]
        lines += [[], *_detail(view, one, history, width, limits)]
    room = height - 1 - bool(told)
    shown = [_cut(line, width) for line in lines[:room]]
    if len(lines) > room:
        shown[-1] = [("… a larger terminal shows more", "head")]
    shown += [[]] * (room - len(shown))
    return [*shown, *([_cut([(told, "")], width)] if told else []), _cut(bottom, width)]


def _state(found: Sequence[Trouble], width: int) -> Iterator[Line]:
    """The lines about troubles, the heaviest first, and that everything else is well."""
    for trouble in found[:_TOLD]:
        first, *others = textwrap.wrap(trouble.line, width, subsequent_indent="  ") or [""]
        yield from ([(x, _STYLE_OF[trouble.weight])] for x in (first, *others[:_WRAPPED]))
    if len(found) > _TOLD:
        yield [(f"and {len(found) - _TOLD} more: see `runnel-trio status`", "behind")]
    if state(found) is Weight.NOTE:
        yield [("all else is well" if found else "all is well", "well")]


_HELP = "↑↓ choose   p pause   r resume   q quit"


def _streams(view: Overview, history: History, width: int) -> Iterator[Line]:
    bars = _spark_width(width)
    yield [(f"{'STREAM':<24}{'EVENTS':>12}{'ROOM':>11}{'MEMORY':>10}{'SENT/S':>9}  ", "head")]
    for stream in view.streams:
        rates = history.of_stream(stream)
        room = "-" if stream.room is None else f"{stream.room:,}"
        full = stream.fullest >= 0.9
        dead = stream.holds_dead_letters and stream.length
        row = f"{shortened(stream.spec.name, 23):<24}{stream.length:>12,}{room:>11}{size_of(stream.size):>10}"
        yield [
            (row, "bad" if full else "behind" if dead else ""),
            (f"{rates[-1]:>9,.0f}  " if rates else f"{'-':>9}  ", ""),
            (sparkline(rates, bars), "spark"),
        ]
        if stream.where:
            yield [(f"  {stream.where}", "")]
        if stream.former is not None:
            counts = f"{stream.former.partition_count} → {stream.spec.partition_count}"
            yield [(f"  {counts} partitions: the former ones are not gone yet", "behind")]


def _processors(
    view: Overview, history: History, chosen: int, width: int, found: Sequence[Trouble]
) -> Iterator[Line]:
    bars = _spark_width(width)
    yield [(f"{'PROCESSOR':<24}{'LAG':>12}{'OLDEST':>11}{'OWNED':>10}{'DONE/S':>9}  ", "head")]
    for index, processor in enumerate(view.processors):
        rates = history.of_processor(processor)
        name = shortened(processor.full_name, 23)
        owned = f"{processor.owned}/{len(processor.partitions)}"
        own = [x for x in found if x.where == processor.full_name]
        style = _STYLE_OF[state(own)] if own else ""
        yield [
            (f"{name:<24}", "chosen" if index == chosen else style),
            (f"{processor.lag:>12,}{ago(processor.age):>11}{owned:>10}", style),
            (f"{rates[-1]:>9,.0f}  " if rates else f"{'-':>9}  ", ""),
            (sparkline(rates, bars), "spark"),
        ]


def _detail(
    view: Overview, processor: ProcessorView, history: History, width: int, limits: Limits
) -> Iterator[Line]:
    """The partitions of a processor by owner, its members, and what stands still."""
    known = history.letters(processor)
    letters = {member.id: known.get(member.id, _MORE) for member in processor.members}
    yield [(f"partitions of {processor.full_name}", "head")]
    yield from _map(processor.partitions, letters, width, limits)
    for member in processor.members:
        silent = max(
            history.silent(processor, member, view.time), member.overdue and member.overdue + member.expiry
        )
        state = f"no heartbeat for {ago(silent)}" if silent else "is leaving" if member.leaving else ""
        facts = (member.address, member.share, state, member.up(view.time))
        text = "".join(f"  {x}" for x in facts if x)
        yield [(f"{letters[member.id]}", "title"), (text, "behind" if state else "")]
    if not processor.members:
        yield [("nobody runs it", "bad")]
    for group in standstills(processor):
        why = group.why
        said = "nobody owns it" if why is None else why.error
        if why is not None and why.is_pause:
            said = f"paused: {why.error}" if why.error else "paused"
        style = "behind" if why and why.is_pause else "bad"
        yield [(f"{group.label} ", style), (f"{said}  {group.behind}, {group.oldest}", style)]
    if parked := parked_in(processor):
        yield [(parked, "behind")]
    if ahead := ahead_in(processor):
        yield [(ahead, "")]


def _map(
    partitions: Sequence[PartitionView], letters: dict[str, str], width: int, limits: Limits
) -> Iterator[Line]:
    """A letter for each partition, in groups of eight, with the number of the first of each line."""
    per_line = max(8, (width - 7) // 9 * 8)
    for first in range(0, len(partitions), per_line):
        line: Line = [(f"{first:>5} ", "head")]
        for index, partition in enumerate(partitions[first : first + per_line]):
            if index and index % 8 == 0:
                line.append((" ", ""))
            line.append(_cell(partition, letters, limits))
        yield line


def _cell(partition: PartitionView, letters: dict[str, str], limits: Limits) -> tuple[str, str]:
    if partition.quarantine is not None:
        return _STANDS, "behind" if partition.is_paused else "bad"
    letter = letters.get(partition.owner)
    if letter is None:
        return _NOBODY, "bad" if partition.lag else ""
    return letter, "behind" if partition.lag and partition.age > limits.age else "well"


def _spark_width(width: int) -> int:
    return max(6, min(60, width - 68))


def _cut(line: Line, width: int) -> Line:
    """The part of a line that fits."""
    cut: Line = []
    for text, style in line:
        if width <= 0:
            break
        cut.append((text[:width], style))
        width -= len(text)
    return cut
