"""Whether an app is well: the only definition, for `status` with its JSON and exit code, and for `top`.

`troubles` is pure: it finds what is wrong in an `Overview`. An app is well if nothing weighs more than a
note. This is what it reports, with the weights:

===========  ========  =======================================================================================
kind         weight    when
===========  ========  =======================================================================================
misfit       standing  there is something else in a key of ours
unknown      standing  the server knows no stream of the app
unread       standing  events are stored, and no processor has ever worked on them
quarantine   standing  partitions stand still because of what failed
unowned      standing  events wait in partitions of nobody, or of a dead worker: for 15 s, or no worker lives
no-cursor    standing  the same, where the consumer group is missing that the processor has elsewhere
no-leader    standing  functions wait for a lead worker, and there is none (where the app's code is at hand)
crash-loop   standing  exceptions have ended three workers in 5 minutes; the event of the last one still waits
young        behind    every worker began within 10 s, and an event waits for 15 s: a killed one tells nothing
ended        behind    an exception has ended a worker in 5 minutes; its event, if it had one, still waits
old          behind    an event waits for longer than `Limits.age`, in a partition that moves
lag          behind    more events wait than `Limits.lag`
full         behind    partitions have no room: who sends waits, or is refused
losing       behind    with overflow="trim", events went before they were acknowledged
repartition  behind    former partitions are not gone: nobody needs them, or an event there is old
versions     behind    workers of several versions, none of which began within 10 minutes
paused       note      somebody wants partitions to stand still
parked       note      keys are parked: their events wait, as the processor's policy or somebody wants it
repartition  note      former partitions are being worked on
versions     note      as above, while a deployment goes on
ended        note      as above, for an hour, once it is longer ago or the event is handled
===========  ========  =======================================================================================
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial

import attrs

from runnel_trio._broker._seen import Ending
from runnel_trio._operate._overview import Overview, PartitionView, ProcessorView, StreamView
from runnel_trio._report._words import ago, counted, numbered, ranges
from runnel_trio._rules._cursor import parse_id
from runnel_trio.constants import Overflow

__all__ = ["AGE", "LIMITS", "TYPED", "Limits", "Trouble", "Typed", "Weight", "state", "troubles"]

#: Seconds that an event may wait, where nobody says otherwise.
AGE = 10.0
#: Seconds for which an end counts, and how many ends in them are a loop.
_RECENT, _LOOP = 300.0, 3
#: Seconds of a worker's youth; and of waiting that goes with no youth.
_YOUNG, _WAITED = 10.0, 15.0
#: Seconds that a deployment of another version takes.
_DEPLOYMENT = 600.0
#: Misfits that are told each.
_TOLD = 5
#: Cursors of partitions, and ids of events, that are none.
_NEVER = (0, 0)


class Weight(enum.IntEnum):
    """How much something weighs. The heaviest counts, and `status` exits with it."""

    NOTE = 0
    BEHIND = 1
    STANDING = 2


@attrs.frozen(kw_only=True)
class Trouble:
    """Something that is wrong, or worth knowing.

    Attributes:
        kind: a word for programs, as in the table above.
        weight: whether it counts as wrong, and how much.
        where: ``stream/processor``, a stream, a key, or the app.
        text: what is wrong, in words that follow `where`.
        seconds: since when, or how long ago; None if unknown.
        partitions: numbers of the affected partitions.
        remedy: what to do about it: a command if there is one, otherwise words, or nothing.
    """

    kind: str
    weight: Weight
    where: str
    text: str
    seconds: float | None = None
    partitions: Sequence[int] = ()
    remedy: str = ""

    @property
    def line(self) -> str:
        """For people."""
        return f"{self.where}: {self.text}"


_standing = partial(Trouble, weight=Weight.STANDING)
_behind = partial(Trouble, weight=Weight.BEHIND)


@attrs.frozen
class Limits:
    """How much may wait.

    Attributes:
        age: seconds that an event may wait.
        lag: how many events of a processor may wait; None for any number.
    """

    age: float = AGE
    lag: int | None = None


@attrs.frozen
class Typed:
    """How to type commands about the app.

    Attributes:
        module: where its code is.
        server: options for the server, with a leading space.
    """

    module: str = "MODULE"
    server: str = ""

    def resume(self, processor: str, numbers: Sequence[int]) -> str:
        """For partitions that stand still."""
        chosen = ranges(numbers, between=",")
        return f"runnel-trio processor resume {self.module}:{processor} --partition {chosen}{self.server}"

    def parked(self, processor: str) -> str:
        """For parked keys: to look at them."""
        return f"runnel-trio parked list {self.module}:{processor}{self.server}"

    def retry(self, processor: str, keys: Sequence[str] = ()) -> str:
        """For parked keys, as they were typed, or all: to let them go on."""
        chosen = "".join(f" --key {shlex.quote(key)}" for key in keys) or " --all"
        return f"runnel-trio parked retry {self.module}:{processor}{chosen}{self.server}"

    def repartition(self, stream: StreamView) -> str:
        """For a change of partitions that was begun."""
        target = f"{self.module}:{stream.spec.name} --to {stream.spec.partition_count}"
        return f"runnel-trio stream repartition {target}{self.server}"


#: Where nobody says otherwise.
LIMITS, TYPED = Limits(), Typed()


def state(found: Sequence[Trouble]) -> Weight:
    """The overall state of the app."""
    return max((x.weight for x in found), default=Weight.NOTE)


def troubles(view: Overview, limits: Limits = Limits(), typed: Typed = Typed()) -> list[Trouble]:
    """What is wrong, the heaviest first; then what is worth knowing."""
    found = [*_of_app(view), *_of_endings(view), *_of_versions(view)]
    for stream in view.streams:
        found += _of_stream(view, stream, limits, typed)
    for processor in view.processors:
        found += _of_processor(view, processor, limits, typed)
    return sorted(found, key=lambda x: -x.weight)


def _of_app(view: Overview) -> Iterator[Trouble]:
    for misfit in view.misfits[:_TOLD]:
        remedy = "Find out who writes there; rename or delete the key, and it is made anew when it is needed."
        yield _standing(kind="misfit", where=misfit.key, text=misfit.text, remedy=remedy)
    if len(view.misfits) > _TOLD:
        text = f"{len(view.misfits) - _TOLD} more keys are of another type"
        yield _standing(kind="misfit", where=view.app, text=text)
    if not view.streams:
        text = f"the server knows no stream of app {view.app!r}: are name and server right?"
        yield _standing(kind="unknown", where=view.app, text=text)
    elif not view.processors and any(x.length and not x.holds_dead_letters for x in view.streams):
        text = "no processor has ever worked on what is stored"
        yield _standing(kind="unread", where=view.app, text=text)
    if view.led and view.leader is None:
        text = f"{counted(view.led, 'function waits', 'functions wait')} for a lead worker, and there is none"
        yield _standing(kind="no-leader", where=view.app, text=text, remedy="Start a worker.")


def _of_endings(view: Overview) -> Iterator[Trouble]:
    """What exceptions have ended: for each processor its last word, and how often there was one."""
    by_processor: dict[tuple[str, str], list[Ending]] = {}
    for ending in view.endings:
        by_processor.setdefault((ending.stream, ending.processor), []).append(ending)
    for (stream, processor), endings in by_processor.items():
        last, *_ = endings
        where = f"{stream}/{processor}" if processor else view.app
        seconds = max(0.0, view.time - last.time)
        recent = [x for x in endings if view.time - x.time <= _RECENT]
        text = f"a worker ended {ago(seconds)} ago: {last.error}; {_where(last)}"
        kind, weight = "ended", Weight.BEHIND
        if not recent or _is_handled(view, last):
            weight = Weight.NOTE
        elif len(recent) >= _LOOP:
            kind, weight = "crash-loop", Weight.STANDING
            span = ago(view.time - recent[-1].time)
            text = f"workers end again and again, {len(recent)} within {span}; the last {text[9:]}"
        yield Trouble(
            kind=kind,
            weight=weight,
            where=where,
            text=text,
            seconds=seconds,
            partitions=() if last.partition is None else (last.partition,),
            remedy="Its log says more: `halted`, with the traceback." if weight else "",
        )


def _where(ending: Ending) -> str:
    at = "" if ending.partition is None else f"in {numbered(ending.stream, [ending.partition])}, "
    event = f"event {ending.xid}, " if ending.xid else ""
    return f"{at}{event}{ending.host}:{ending.pid}"


def _is_handled(view: Overview, ending: Ending) -> bool:
    """Whether the event over which a worker ended has been acknowledged since, or left out."""
    for processor in view.processors:
        if (processor.stream, processor.name) == (ending.stream, ending.processor):
            for partition in processor.partitions:
                if partition.number == ending.partition and ending.xid:
                    return partition.begun and _key(partition.cursor) >= _key(ending.xid)
    return False


def _key(xid: str) -> tuple[int, int]:
    try:
        return parse_id(xid.encode())
    except ValueError:
        return _NEVER


def _of_versions(view: Overview) -> Iterator[Trouble]:
    members = [x for processor in view.processors for x in processor.living if x.version]
    versions = sorted({x.version for x in members})
    if len(versions) > 1:
        youngest = min((view.time - x.since for x in members if x.since is not None), default=0.0)
        weight = Weight.BEHIND if youngest > _DEPLOYMENT else Weight.NOTE
        text = f"its workers run {len(versions)} versions of runnel-trio: {', '.join(versions)}"
        yield Trouble(
            kind="versions",
            weight=weight,
            where=view.app,
            text=text,
            seconds=youngest,
            remedy="Deploy one of them everywhere.",
        )


def _of_stream(view: Overview, stream: StreamView, limits: Limits, typed: Typed) -> Iterator[Trouble]:
    name = stream.spec.name
    if stream.full:
        then = (
            "who sends there waits" if stream.spec.overflow is Overflow.BLOCK else "what is sent is refused"
        )
        text = f"{_counted(stream.full)} without room: {then}"
        yield _behind(kind="full", where=name, text=text, partitions=stream.full)
    if stream.losing:
        text = f"events went before they were handled, of {_counted(stream.losing)} (overflow=trim)"
        yield _behind(kind="losing", where=name, text=text, partitions=stream.losing)
    if stream.former is not None:
        count = stream.former.partition_count
        there = [x for x in view.processors if x.stream == name and x.layout != stream.spec.layout]
        names = ", ".join(x.name for x in there)
        text = f"its {counted(count, 'former partition')} "
        text += f"are still needed by {names}" if there else "are not needed any more, and not gone"
        age = max((x.age for x in there), default=None)
        slow = age is None or age > limits.age
        yield Trouble(
            kind="repartition",
            weight=Weight.BEHIND if slow else Weight.NOTE,
            where=name,
            text=text,
            seconds=age,
            remedy=typed.repartition(stream),
        )


def _of_processor(
    view: Overview, processor: ProcessorView, limits: Limits, typed: Typed
) -> Iterator[Trouble]:
    where, still = processor.full_name, processor.standing()
    if paused := [x for x in still if x.is_paused]:
        yield _still(view, "paused", where, paused, typed.resume(processor.name, _numbers(paused)))
    if failed := [x for x in still if x.quarantine and not x.is_paused]:
        yield _still(view, "quarantine", where, failed, typed.resume(processor.name, _numbers(failed)))
    yield from _unowned(processor, where, [x for x in still if x.quarantine is None])
    if parked := [x for x in processor.partitions if x.parked_keys]:
        verb = "is" if processor.parked_keys == 1 else "are"
        text = f"{counted(processor.parked_keys, 'key')} {verb} parked"
        text += f", with {counted(processor.parked, 'event')}" if processor.parked else ""
        yield Trouble(
            kind="parked",
            weight=Weight.NOTE,
            where=where,
            text=text,
            partitions=_numbers(parked),
            remedy=typed.parked(processor.name),
        )
    moving = [x for x in processor.moving() if x.lag or x.lag is None]
    age = max((x.age for x in moving), default=0.0)
    if age > limits.age:
        old = [x.number for x in moving if x.age > limits.age]
        text = f"the oldest event waits for {ago(age)}, more than {limits.age:g} s"
        yield _behind(kind="old", where=where, text=text, seconds=age, partitions=old)
    if limits.lag is not None and processor.lag > limits.lag:
        text = f"{counted(processor.lag, 'event')} behind, more than {limits.lag:,}"
        yield _behind(kind="lag", where=where, text=text)
    up = [view.time - x.since for x in processor.living if x.since is not None]
    if up and age > _WAITED and max(up) < _YOUNG and len(up) == len(processor.living):
        text = f"no worker is up for longer than {ago(max(up))}, and an event waits for {ago(age)}"
        remedy = "If none was just started, they are killed again and again: see what their supervisor says."
        yield _behind(kind="young", where=where, text=text, seconds=max(up), remedy=remedy)


def _unowned(processor: ProcessorView, where: str, still: Sequence[PartitionView]) -> Iterator[Trouble]:
    """Partitions with events for which nobody is there."""
    any_begun = any(x.begun for x in processor.partitions)
    for kind, chosen in (
        ("no-cursor", [x for x in still if any_begun and not x.begun]),
        ("unowned", [x for x in still if x.begun or not any_begun]),
    ):
        if chosen:
            if processor.living:
                text, remedy = "nobody owns", "See the log of its workers."
            else:
                text, remedy = "no worker runs, and events wait in", "Start one."
            text = f"{text} {_counted(_numbers(chosen))}"
            if kind == "no-cursor":
                text += ", where its consumer group is missing: all that is stored there will be handled"
            age = max(x.age for x in chosen)
            yield _standing(
                kind=kind, where=where, text=text, seconds=age, partitions=_numbers(chosen), remedy=remedy
            )


def _still(view: Overview, kind: str, where: str, chosen: Sequence[PartitionView], remedy: str) -> Trouble:
    """Partitions that stand still, in quarantine or paused."""
    since = [datetime.fromisoformat(x.quarantine.time).timestamp() for x in chosen if x.quarantine]
    seconds = max(0.0, view.time - min(since))
    verb = "stands" if len(chosen) == 1 else "stand"
    text = f"{counted(len(chosen), 'partition')} {verb} still: {ranges(_numbers(chosen))}"
    if kind == "paused":
        verb = "is" if len(chosen) == 1 else "are"
        waiting = sum(x.lag or 0 for x in chosen)
        text = f"{counted(len(chosen), 'partition')} {verb} paused: {ranges(_numbers(chosen))}"
        text += f"; {counted(waiting, 'event waits', 'events wait')}" if waiting else ""
    return Trouble(
        kind=kind,
        weight=Weight.NOTE if kind == "paused" else Weight.STANDING,
        where=where,
        text=text,
        seconds=seconds,
        partitions=_numbers(chosen),
        remedy=remedy,
    )


def _numbers(partitions: Sequence[PartitionView]) -> list[int]:
    return [x.number for x in partitions]


def _counted(numbers: Sequence[int]) -> str:
    return f"{counted(len(numbers), 'partition')} ({ranges(numbers)})"
