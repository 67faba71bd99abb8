"""An app as it stands on the server: its streams, its processors, who owns what, what is behind, and how old.

Everything here is read from the server, so that it is true without the app's code at hand.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from runnel_trio._broker._protocol import (
    AppSpec,
    Broker,
    Layouts,
    Member,
    Membership,
    ProcessorSpec,
    Quarantine,
    Standing,
    StreamSpec,
    Surveyed,
)
from runnel_trio._kinds import legible
from runnel_trio._operations import reads
from runnel_trio._rules._cursor import ORIGIN, parse_id
from runnel_trio._words import counted

__all__ = [
    "Health",
    "MemberView",
    "Overview",
    "PartitionView",
    "ProcessorView",
    "StreamView",
    "health",
    "overview",
]

#: Seconds for which a partition with events may be without an owner: a change of hands takes as long.
_BETWEEN_OWNERS = 15.0
#: The record of a stream that holds dead letters.
_DEAD = "Dead"


@attrs.frozen(kw_only=True)
class MemberView:
    """One worker of a processor.

    Attributes:
        id: by which it is known to the others.
        host: its machine; empty where it did not say.
        pid: of its process.
        since: when it was started, in seconds since 1970; None where it did not say.
        version: of runnel-trio.
        leaving: it gives up what it has.
        partitions: how many it owns.
        lag: events that they are behind.
        beat: rises with each of its heartbeats.
        expiry: seconds without one after which it counts as dead.
    """

    id: str
    host: str
    pid: int
    since: float | None
    version: str
    leaving: bool
    partitions: int
    lag: int
    beat: int = 0
    expiry: float = math.inf


@attrs.frozen(kw_only=True)
class PartitionView:
    """A processor's partition.

    Attributes:
        number: which one.
        owner: the id of the member that holds its lease; empty when nobody does.
        epoch: of the lease.
        cursor: id of the last event that was acknowledged.
        lag: events that were not; None where the server does not know.
        age: seconds since the oldest of them was stored; 0 when there is none.
        quarantine: why it stands still, if it does.
    """

    number: int
    owner: str
    epoch: int
    cursor: str
    lag: int | None
    age: float
    quarantine: Quarantine | None


@attrs.frozen(kw_only=True)
class ProcessorView:
    """A processor.

    Attributes:
        stream: the name of its stream.
        name: its own.
        members: those who have been here for longest first.
        partitions: by number.
        acknowledged: events that were ever acknowledged, of which the server knows.
        layout: of the stream's partitions: those that it reads now.
        waiting: events in the partitions that it reads after these.
    """

    stream: str
    name: str
    members: Sequence[MemberView]
    partitions: Sequence[PartitionView]
    acknowledged: int
    layout: int = 1
    waiting: int = 0

    @property
    def lag(self) -> int:
        """Events that are not acknowledged, as far as the server knows."""
        return self.waiting + sum(x.lag or 0 for x in self.partitions)

    @property
    def age(self) -> float:
        """Seconds since the oldest event that is not acknowledged was stored."""
        return max((x.age for x in self.partitions), default=0.0)

    @property
    def owned(self) -> int:
        """How many partitions have an owner."""
        return sum(bool(x.owner) for x in self.partitions)

    def standing(self) -> list[PartitionView]:
        """The partitions that stand still: in quarantine, or behind and without an owner for too long."""
        return [x for x in self.partitions if x.quarantine or self._is_abandoned(x)]

    def _is_abandoned(self, partition: PartitionView) -> bool:
        waits = bool(partition.lag) and not partition.owner
        return waits and (not self.members or partition.age > _BETWEEN_OWNERS)


@attrs.frozen(kw_only=True)
class StreamView:
    """A stream.

    Attributes:
        spec: as it was declared last.
        length: events that are stored.
        room: how many more fit, with ``overflow="block"`` or ``"error"``, before old ones must go; None where
            it is not known.
        fullest: the share of its room that the fullest partition uses.
        size: about how many bytes of memory it takes in the server.
        added: events that were ever stored.
        former: its former partitions, while they still have events that somebody has to acknowledge.
    """

    spec: StreamSpec
    length: int
    room: int | None
    fullest: float
    size: int
    added: int
    former: StreamSpec | None = None

    @property
    def holds_dead_letters(self) -> bool:
        """Whether it is a dead-letter stream."""
        return self.spec.record == _DEAD


@attrs.frozen(kw_only=True)
class Overview:
    """An app as of about one moment.

    Attributes:
        app: its name.
        time: the server's, in seconds since 1970.
        leader: id of the lead worker; None when there is none.
        streams: by name.
        processors: by stream and name.
    """

    app: str
    time: float
    leader: str | None
    streams: Sequence[StreamView]
    processors: Sequence[ProcessorView]


async def overview(broker: Broker, app: str, known: Sequence[ProcessorSpec] = ()) -> Overview:
    """What the server says of an app.

    Args:
        broker: to ask.
        app: the app's name.
        known: processors that may not have begun yet.
    """
    time = await broker.time()
    leadership = await broker.look(AppSpec(app))
    streams: list[StreamView] = []
    processors: list[ProcessorView] = []
    for spec in await broker.streams(app):
        layouts = await broker.layouts(spec) or Layouts(spec)
        surveyed = {x: await broker.survey(x) for x in layouts.all}
        streams.append(_stream(layouts, surveyed))
        begun = {name for found in surveyed.values() for x in found for name in x.processors}
        waiting = {x.name for x in known if x.stream.name == spec.name}
        for name in sorted(begun | waiting):
            place, *later = await reads(broker, name, layouts)
            view = await broker.look(place)
            behind = sum(_lag(x, name) for y in later for x in surveyed[y.stream])
            processors.append(_processor(place, surveyed[place.stream], view, time, behind))
    leader = leadership.members[0].id if leadership.members else None
    return Overview(app=app, time=time, leader=leader, streams=streams, processors=processors)


def _stream(layouts: Layouts, surveyed: Mapping[StreamSpec, Sequence[Surveyed]]) -> StreamView:
    spec = layouts.current
    size, lengths = spec.partition_size, [x.length for x in surveyed[spec]]
    everything = [x for found in surveyed.values() for x in found]
    return StreamView(
        spec=spec,
        length=sum(x.length for x in everything),
        room=sum(max(0, size - length) for length in lengths) if size else None,
        fullest=max(lengths, default=0) / size if size else 0.0,
        size=sum(x.size for x in everything),
        added=sum(x.entries_added for x in everything),
        former=layouts.draining,
    )


def _lag(surveyed: Surveyed, name: str) -> int:
    standing = surveyed.processors.get(name)
    return surveyed.length if standing is None else max(0, standing.lag)


def _processor(
    place: ProcessorSpec, surveyed: Sequence[Surveyed], view: Membership, time: float, waiting: int
) -> ProcessorView:
    partitions = [_partition(x, x.processors.get(place.name), time) for x in surveyed]
    owned = Counter(x.owner for x in partitions)
    behind: Counter[str] = Counter()
    for partition in partitions:
        behind[partition.owner] += partition.lag or 0
    return ProcessorView(
        stream=place.stream.name,
        name=place.name,
        members=[_member(x, owned[x.id], behind[x.id]) for x in view.members],
        partitions=partitions,
        acknowledged=sum(x.entries_added for x in surveyed) - sum(x.lag or 0 for x in partitions),
        layout=place.stream.layout,
        waiting=waiting,
    )


def _partition(surveyed: Surveyed, standing: Standing | None, time: float) -> PartitionView:
    if standing is None:  # nobody has taken it yet
        return PartitionView(
            number=surveyed.number,
            owner="",
            epoch=0,
            cursor=ORIGIN.decode(),
            lag=surveyed.length,
            age=_age(surveyed.first_id, time),
            quarantine=None,
        )
    return PartitionView(
        number=surveyed.number,
        owner=standing.owner,
        epoch=standing.epoch,
        cursor=standing.cursor.decode(),
        lag=None if standing.lag < 0 else standing.lag,
        age=_age(standing.next_id, time),
        quarantine=standing.quarantine and _legible(standing.quarantine),
    )


def _legible(why: Quarantine) -> Quarantine:
    """Of an exception, whose text may have anything that was in an event."""
    return attrs.evolve(why, error=legible(why.error), member=legible(why.member))


def _age(xid: bytes, time: float) -> float:
    """Seconds since an entry was stored; 0 when there is none."""
    return 0.0 if xid == ORIGIN else max(0.0, time - parse_id(xid)[0] / 1000)


def _member(member: Member, partitions: int, lag: int) -> MemberView:
    about = _about(member.about)
    pid, since = about.get("pid"), about.get("since")
    return MemberView(
        id=legible(member.id),
        host=legible(str(about.get("host", ""))),
        pid=pid if isinstance(pid, int) else 0,
        since=since if isinstance(since, int | float) else None,
        version=legible(str(about.get("version", ""))),
        leaving=member.leaving,
        partitions=partitions,
        lag=lag,
        beat=member.beat,
        expiry=member.expiry,
    )


def _about(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # of another version, or somebody else's
        return {}
    return found if isinstance(found, dict) else {}


@attrs.frozen
class Health:
    """How an app is.

    Attributes:
        standing: lines about what stands still.
        behind: lines about what is further behind than it may be.
    """

    standing: Sequence[str]
    behind: Sequence[str]


def health(view: Overview, *, most_lag: int | None, most_age: float | None) -> Health:
    """Whether anything stands still, or is further behind than it may be."""
    standing, behind = [], []
    if not view.streams:
        standing.append(f"the server knows no stream of app {view.app!r}: is that its name, and its server?")
    elif not view.processors and any(x.length and not x.holds_dead_letters for x in view.streams):
        standing.append("no processor has ever worked on what is stored")
    for processor in view.processors:
        name = f"{processor.stream}/{processor.name}"
        if still := processor.standing():
            numbers = ", ".join(str(x.number) for x in still[:8]) + (", …" if len(still) > 8 else "")
            stand = "stands" if len(still) == 1 else "stand"
            standing.append(f"{name}: {counted(len(still), 'partition')} {stand} still: {numbers}")
        if most_lag is not None and processor.lag > most_lag:
            behind.append(f"{name}: {counted(processor.lag, 'event')} behind, more than {most_lag:,}")
        if most_age is not None and processor.age > most_age:
            behind.append(
                f"{name}: the oldest event waits for {processor.age:,.0f} s, more than {most_age:g}"
            )
    return Health(standing, behind)
