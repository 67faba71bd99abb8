"""The state of an app on the server: its streams, its processors, who owns what, lag and age.

Everything is read from the server, so it needs no code of the app.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from runnel_trio._broker._protocol import Broker, Catalog
from runnel_trio._broker._seen import ENDINGS_KEPT, Ending, Misfit, Muster, Standing, Surveyed
from runnel_trio._broker._stages import reads
from runnel_trio._broker._values import AppSpec, Layouts, Member, ProcessorSpec, Quarantine, StreamSpec
from runnel_trio._report._redaction import legible
from runnel_trio._report._words import ago, counted
from runnel_trio._rules._cursor import ORIGIN, parse_id
from runnel_trio.constants import Overflow

__all__ = [
    "MemberView",
    "Overview",
    "PartitionView",
    "ProcessorView",
    "StreamView",
    "overview",
]

#: Seconds for which a partition with events may lack an owner; a handover takes up to that long.
_BETWEEN_OWNERS = 15.0
#: The most cluster nodes that one line names.
_TOLD = 3
#: The name of the record class of dead-letter streams.
_DEAD = "Dead"


@attrs.frozen(kw_only=True)
class MemberView:
    """One worker of a processor.

    Attributes:
        id: the id by which the others know it.
        host: its machine; empty if unknown.
        pid: the id of its process.
        since: when it was started, in seconds since 1970; None if unknown.
        version: its version of runnel-trio.
        leaving: whether it is giving up what it owns.
        partitions: how many it owns.
        lag: how many events these are behind.
        beat: a number that rises with each of its heartbeats.
        expiry: seconds without a heartbeat until it counts as dead.
        overdue: seconds since it counts as dead; 0 as long as it does not.
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
    overdue: float = 0.0

    @property
    def address(self) -> str:
        """Its machine and process, or its id if these are unknown."""
        return f"{self.host}:{self.pid}" if self.host else self.id

    @property
    def share(self) -> str:
        """How much it owns, and how far behind that is, in words."""
        return f"{counted(self.partitions, 'partition')}  {self.lag:,} behind"

    def up(self, now: float) -> str:
        """How long it has been running, in words; empty if unknown."""
        return "" if self.since is None else f"up {ago(max(0.0, now - self.since))}"


@attrs.frozen(kw_only=True)
class PartitionView:
    """A processor's partition.

    Attributes:
        number: which one.
        owner: the id of the member that holds its lease; empty if none does.
        epoch: the epoch of the lease.
        cursor: id of the last acknowledged event.
        lag: how many events are not acknowledged; None if the server does not know.
        age: seconds since the oldest of them was stored; 0 if there is none.
        quarantine: why it stands still, if it does.
        node: the cluster node that it is on; empty without a cluster.
        begun: whether it has a cursor, that is, a consumer group.
        ahead: how many events are acknowledged ahead of others that are not; `lag` does not count them.
        parked_keys: how many keys are parked.
        parked: how many events these have; `lag` does not count them either.
    """

    number: int
    owner: str
    epoch: int
    cursor: str
    lag: int | None
    age: float
    quarantine: Quarantine | None
    node: str = ""
    begun: bool = True
    ahead: int = 0
    parked_keys: int = 0
    parked: int = 0

    @property
    def is_paused(self) -> bool:
        """Whether an operator paused it."""
        return self.quarantine is not None and self.quarantine.is_pause


@attrs.frozen(kw_only=True)
class ProcessorView:
    """A processor.

    Attributes:
        stream: the name of its stream.
        name: its own.
        members: its members, in the order in which they joined.
        partitions: by number.
        acknowledged: how many events were ever acknowledged, as far as the server knows.
        layout: the stream's layout that it reads now.
        waiting: events in the layout that it reads next.
    """

    stream: str
    name: str
    members: Sequence[MemberView]
    partitions: Sequence[PartitionView]
    acknowledged: int
    layout: int = 1
    waiting: int = 0

    @property
    def full_name(self) -> str:
        """Its full name, ``stream/processor``."""
        return f"{self.stream}/{self.name}"

    @property
    def lag(self) -> int:
        """How many events are not acknowledged, as far as the server knows."""
        return self.waiting + sum(x.lag or 0 for x in self.partitions)

    @property
    def age(self) -> float:
        """Seconds since the oldest event that is not acknowledged was stored."""
        return max((x.age for x in self.partitions), default=0.0)

    @property
    def ahead(self) -> int:
        """How many events are acknowledged ahead of others that are not."""
        return sum(x.ahead for x in self.partitions)

    @property
    def parked_keys(self) -> int:
        """How many keys are parked."""
        return sum(x.parked_keys for x in self.partitions)

    @property
    def parked(self) -> int:
        """How many events these have."""
        return sum(x.parked for x in self.partitions)

    @property
    def owned(self) -> int:
        """How many partitions have an owner."""
        return sum(bool(x.owner) for x in self.partitions)

    @property
    def living(self) -> list[MemberView]:
        """The members that do not count as dead."""
        return [x for x in self.members if not x.overdue]

    def standing(self) -> list[PartitionView]:
        """The partitions that stand still: quarantined, paused, or behind without an owner for too long."""
        return [x for x in self.partitions if x.quarantine or self._is_abandoned(x)]

    def moving(self) -> list[PartitionView]:
        """The partitions that do not stand still."""
        still = {x.number for x in self.standing()}
        return [x for x in self.partitions if x.number not in still]

    def _is_abandoned(self, partition: PartitionView) -> bool:
        waits = bool(partition.lag) and partition.owner not in {x.id for x in self.living}
        return waits and (not self.living or partition.age > _BETWEEN_OWNERS)


@attrs.frozen(kw_only=True)
class StreamView:
    """A stream.

    Attributes:
        spec: the stream as it was last declared.
        length: how many events are stored.
        room: how many more fit, with ``overflow="block"`` or ``"error"``, before old ones must be removed;
            None if unknown.
        fullest: in the fullest partition, the share of its room taken by events that must stay because some
            processor has not acknowledged them.
        full: the partitions without room: all their events must stay.
        losing: with ``overflow="trim"``, the partitions that dropped events before they were acknowledged.
        size: about how many bytes of memory it takes on the server.
        added: how many events were ever stored.
        former: its former partitions, while they still have events that some processor has to acknowledge.
        nodes: how many partitions are on each cluster node; empty without a cluster.
    """

    spec: StreamSpec
    length: int
    room: int | None
    fullest: float
    size: int
    added: int
    former: StreamSpec | None = None
    full: Sequence[int] = ()
    losing: Sequence[int] = ()
    nodes: Mapping[str, int] = attrs.field(factory=dict)

    @property
    def where(self) -> str:
        """The nodes that its partitions are on, in one line; empty without a cluster."""
        told = [f"{name} {count}" for name, count in list(self.nodes.items())[:_TOLD]]
        more = [f"and {len(self.nodes) - _TOLD} more"] if len(self.nodes) > _TOLD else []
        return f"on {counted(len(self.nodes), 'node')}: {', '.join([*told, *more])}" if told else ""

    @property
    def holds_dead_letters(self) -> bool:
        """Whether it is a dead-letter stream."""
        return self.spec.record == _DEAD


@attrs.frozen(kw_only=True)
class Overview:
    """The state of an app at about one moment.

    Attributes:
        app: its name.
        time: the server's time, in seconds since 1970.
        leader: id of the leader; None if there is none.
        streams: by name.
        processors: by stream and name.
        endings: workers that exceptions have ended within an hour, the newest first.
        misfits: keys of the app in which another program has put something.
        led: how many functions only the leader runs, if the app's code is at hand.
    """

    app: str
    time: float
    leader: str | None
    streams: Sequence[StreamView]
    processors: Sequence[ProcessorView]
    endings: Sequence[Ending] = ()
    misfits: Sequence[Misfit] = ()
    led: int = 0


async def overview(
    broker: Broker, app: str, known: Sequence[ProcessorSpec] = (), *, led: int = 0
) -> Overview:
    """What the server says about an app.

    Args:
        broker: the broker to ask.
        app: the app's name.
        known: processors that may not have begun yet.
        led: see `Overview`.
    """
    time = await broker.time()
    leadership = await broker.muster(AppSpec(app))
    streams: list[StreamView] = []
    processors: list[ProcessorView] = []
    misfits = [*leadership.misfits]
    for spec in await broker.streams(app):
        layouts = await broker.layouts(spec) or Layouts(spec)
        surveyed = {x: await broker.survey(x) for x in layouts.all}
        streams.append(_stream(layouts, surveyed))
        misfits += [misfit for found in surveyed.values() for x in found for misfit in x.misfits]
        begun = {name for found in surveyed.values() for x in found for name in x.processors}
        waiting = {x.name for x in known if x.stream.name == spec.name}
        for name in sorted(begun | waiting):
            stage, *later = await _reads(broker, name, layouts, surveyed)
            view = await broker.muster(stage)
            misfits += view.misfits
            behind = sum(x.lag_of(name) for y in later for x in surveyed[y.stream])
            processors.append(_processor(stage, surveyed[stage.stream], view, time, behind))
    living = [x for x in leadership.membership.members if x.id not in leadership.overdue]
    return Overview(
        app=app,
        time=time,
        leader=living[0].id if living else None,
        streams=streams,
        processors=processors,
        endings=[_ending(x) for x in leadership.endings if time - x.time <= ENDINGS_KEPT],
        misfits=sorted({attrs.evolve(x, key=legible(x.key)) for x in misfits}, key=lambda x: x.key),
        led=led,
    )


async def _reads(
    broker: Catalog, name: str, layouts: Layouts, surveyed: Mapping[StreamSpec, Sequence[Surveyed]]
) -> list[ProcessorSpec]:
    """As `reads`, except where another program has stored something at a key that `reads` would ask for."""
    if layouts.draining is None or any(x.misfits for x in surveyed[layouts.draining]):
        return [ProcessorSpec(stream=x, name=name) for x in layouts.all]
    return await reads(broker, name, layouts)


def _ending(ending: Ending) -> Ending:
    """An ending in a form that can be shown, because it has the text of an exception."""
    names = ("error", "member", "host", "processor", "stream", "xid")
    changes: dict[str, Any] = {name: legible(getattr(ending, name)) for name in names}
    return attrs.evolve(ending, **changes)


def _stream(layouts: Layouts, surveyed: Mapping[StreamSpec, Sequence[Surveyed]]) -> StreamView:
    spec = layouts.current
    size, current = spec.partition_size, surveyed[spec]
    everything = [x for found in surveyed.values() for x in found]
    held = {x.number: _held(x) for x in current}
    trims = spec.overflow is Overflow.TRIM
    return StreamView(
        spec=spec,
        length=sum(x.length for x in everything),
        room=sum(max(0, size - x.length) for x in current) if size else None,
        fullest=max(held.values(), default=0) / size if size else 0.0,
        size=sum(x.size for x in everything),
        added=sum(x.entries_added for x in everything),
        former=layouts.draining,
        full=[number for number, count in held.items() if size and count >= size and not trims],
        losing=[
            x.number
            for x in current
            if trims and any(y.lag + y.ahead.count > x.length for y in x.processors.values())
        ],
        nodes=dict(sorted(Counter(x.node for x in current if x.node).items())),
    )


def _held(partition: Surveyed) -> int:
    """How many entries must stay: all that the slowest processor has not acknowledged; without one, all."""
    lags = [x.lag if x.lag < 0 else x.lag + x.ahead.count for x in partition.processors.values()]
    return partition.length if not lags or min(lags) < 0 else min(partition.length, max(lags))


def _processor(
    stage: ProcessorSpec, surveyed: Sequence[Surveyed], view: Muster, time: float, waiting: int
) -> ProcessorView:
    partitions = [_partition(x, x.processors.get(stage.name), time) for x in surveyed]
    owned = Counter(x.owner for x in partitions)
    behind: Counter[str] = Counter()
    for partition in partitions:
        behind[partition.owner] += partition.lag or 0
    return ProcessorView(
        stream=stage.stream.name,
        name=stage.name,
        members=[
            _member(x, owned[x.id], behind[x.id], view.overdue.get(x.id, 0.0))
            for x in view.membership.members
        ],
        partitions=partitions,
        acknowledged=sum(x.entries_added for x in surveyed) - sum(x.lag or 0 for x in partitions),
        layout=stage.stream.layout,
        waiting=waiting,
    )


def _partition(surveyed: Surveyed, standing: Standing | None, time: float) -> PartitionView:
    if standing is None:  # the processor has no cursor here yet
        return PartitionView(
            number=surveyed.number,
            owner="",
            epoch=0,
            cursor=ORIGIN.decode(),
            lag=surveyed.length,
            age=_age(surveyed.first_id, time),
            quarantine=None,
            node=surveyed.node,
            begun=False,
        )
    return PartitionView(
        number=surveyed.number,
        owner=standing.owner,
        epoch=standing.epoch,
        cursor=standing.cursor.decode(),
        lag=None if standing.lag < 0 else standing.lag,
        ahead=standing.ahead.count,
        parked_keys=standing.parked_keys,
        parked=standing.parked,
        age=_age(standing.next_id, time),
        quarantine=standing.quarantine and _legible(standing.quarantine),
        node=surveyed.node,
    )


def _legible(why: Quarantine) -> Quarantine:
    """A quarantine in a form that can be shown: its error may quote anything that was in an event."""
    return attrs.evolve(why, error=legible(why.error), member=legible(why.member))


def _age(xid: bytes, time: float) -> float:
    """Seconds since an entry was stored; 0 if there is no entry."""
    return 0.0 if xid == ORIGIN else max(0.0, time - parse_id(xid)[0] / 1000)


def _member(member: Member, partitions: int, lag: int, overdue: float) -> MemberView:
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
        overdue=overdue,
    )


def _about(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # another version or another program wrote it
        return {}
    return found if isinstance(found, dict) else {}
