"""Partitions that stand still, quarantined or paused, and how they go on."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Collection
from datetime import UTC, datetime

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._stages import current_stage
from runnel_trio._broker._subscription import subscribe
from runnel_trio._broker._values import CommitOutcome, ProcessorSpec, Quarantine
from runnel_trio._operate._cursors import numbers_of
from runnel_trio._operate._letters import DeadLetters
from runnel_trio._rules._cursor import ORIGIN
from runnel_trio.exceptions import Misconfigured

__all__ = ["Quarantined", "operator_name", "pause", "quarantined", "resume"]


@attrs.frozen
class Quarantined:
    """A partition that stands still, and why.

    Attributes:
        partition: its number.
        first: stream id of the event that failed; of the first event, if a list failed.
        last: stream id of the last event that failed.
        count: how many events failed at once.
        error: the exception, as ``type: text``.
        traceback: as Python prints it, from the user's code on.
        time: when it stopped, in ISO 8601.
        member: the worker that stopped it.
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
        """From the broker's value."""
        first, last = why.first.decode(), why.last.decode()
        facts = (why.count, why.error, why.traceback, why.time, why.member)
        return cls(why.partition, first, last, *facts, why)

    @property
    def is_pause(self) -> bool:
        """Whether it is paused (`Processor.pause`), so that nothing failed."""
        return self._why.is_pause

    @property
    def stored(self) -> Quarantine:
        """The broker's value."""
        return self._why


def operator_name() -> str:
    """Who acts: this user, on this machine."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


async def quarantined(
    broker: Broker, processor: ProcessorSpec, partitions: Collection[int] | None
) -> list[Quarantined]:
    """See `Processor.quarantined`."""
    stage = await current_stage(broker, processor)
    found = await broker.quarantined(stage, numbers_of(stage.stream, partitions))
    return [Quarantined.of(why) for why in found if why is not None]


async def pause(
    broker: Broker,
    processor: ProcessorSpec,
    partitions: Collection[int] | None,
    reason: str = "",
    by: str | None = None,
) -> list[int]:
    """See `Processor.pause`."""
    who = by if by is not None else operator_name()
    await subscribe(broker, processor.stream, [processor.name])
    stage = await current_stage(broker, processor)
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
            member=who,
        )
        for number in numbers_of(stage.stream, partitions)
    ]
    done = await broker.pause(stage, whys)
    return [why.partition for why, paused in zip(whys, done, strict=True) if paused]


async def resume(
    broker: Broker,
    processor: ProcessorSpec,
    standing: Collection[Quarantined] | None = None,
    *,
    skip: bool = False,
    letters: DeadLetters | None = None,
) -> list[Quarantined]:
    """See `Processor.resume`; with ``letters``, the failed events are stored there."""
    if letters is not None and skip:
        raise Misconfigured("resume: skip leaves out what dead_letter keeps; give one of them")
    stage = await current_stage(broker, processor)
    them = await quarantined(broker, processor, None) if standing is None else standing
    if letters is not None and them:
        await letters.open(broker, processor.stream)
    done: list[Quarantined] = []
    for found in them:
        if found.is_pause and (skip or letters is not None):
            raise Misconfigured(
                f"{processor.stream.name}[{found.partition}] is paused: nothing failed there that could "
                "be skipped or set aside. Resume it as it is"
            )
        if letters is None:
            outcome = await broker.resume(stage, found.stored, skip=skip)
        else:
            outcome = await letters.bury(broker, stage, found.stored)
        if outcome is CommitOutcome.COMMITTED:
            done.append(found)
    return done
