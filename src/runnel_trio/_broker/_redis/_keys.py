"""Where everything is kept in Redis.

Partition N of every stream of an app shares one hash tag, so that one script can touch a partition's log
and leases together on Redis Cluster too; the coordination of one processor shares another.

From its second layout on, a stream stands in keys as ``STREAM/2``. No name has a slash, so that is no other
stream's. What tells which layout a partition takes entries for has the same key in all of them.
"""

from __future__ import annotations

from runnel_trio._broker._values import AppSpec, Party, ProcessorSpec, StreamSpec

__all__ = [
    "control",
    "due",
    "endings",
    "lease",
    "log",
    "members",
    "meta",
    "outbox",
    "parked",
    "parked_keys",
    "plan",
    "producers",
    "quarantine",
    "table",
]


def _name(stream: StreamSpec) -> str:
    return stream.name if stream.layout == 1 else f"{stream.name}/{stream.layout}"


def _partition(stream: StreamSpec, number: int) -> str:
    return f"runnel:{{{stream.app}:{number}}}:{_name(stream)}"


def log(stream: StreamSpec, number: int) -> str:
    """The stream that holds a partition's entries."""
    return f"{_partition(stream, number)}:log"


def producers(stream: StreamSpec, number: int) -> str:
    """The hash of each producer's last sequence, and of the layout that the partition takes entries for."""
    return f"runnel:{{{stream.app}:{number}}}:{stream.name}:producers"


def lease(processor: ProcessorSpec, number: int) -> str:
    """The hash that says who owns a partition."""
    return f"{_partition(processor.stream, number)}:lease:{processor.name}"


def meta(stream: StreamSpec) -> str:
    """The hash of what is known of a stream, see `_rules/_layout`."""
    return f"runnel:{{{stream.app}}}:{stream.name}:meta"


def quarantine(processor: ProcessorSpec, number: int) -> str:
    """Why a partition stands still."""
    return f"{_partition(processor.stream, number)}:quarantine:{processor.name}"


def parked_keys(processor: ProcessorSpec, number: int) -> str:
    """The hash of parked keys, see `_rules/_parked`."""
    return f"{_partition(processor.stream, number)}:keys:{processor.name}"


def parked(processor: ProcessorSpec, number: int) -> str:
    """The hash of their entries."""
    return f"{_partition(processor.stream, number)}:parked:{processor.name}"


def outbox(processor: ProcessorSpec, number: int) -> str:
    """The stream of what a processor has emitted in a partition, and is on its way to other nodes."""
    return f"{_partition(processor.stream, number)}:outbox:{processor.name}"


def table(processor: ProcessorSpec, number: int, name: str) -> str:
    """The hash of a table's entries, see `_rules/_tables`."""
    return f"{_partition(processor.stream, number)}:table:{processor.name}:{name}"


def due(processor: ProcessorSpec, number: int, name: str) -> str:
    """The sorted set of those that will be over, by their deadlines."""
    return f"{_partition(processor.stream, number)}:due:{processor.name}:{name}"


def _party(party: Party) -> str:
    if isinstance(party, AppSpec):
        return f"runnel:{{{party.name}}}:leader"
    return f"runnel:{{{party.stream.app}/{_name(party.stream)}/{party.name}}}"


def members(party: Party) -> str:
    """The hash of a processor's members, or of those that can lead an app."""
    return f"{_party(party)}:members"


def plan(party: Party) -> str:
    """The hash that says which member is to own which partitions."""
    return f"{_party(party)}:assignment"


def control(party: Party) -> str:
    """The small stream by which members hear of changes."""
    return f"{_party(party)}:control"


def endings(app: str) -> str:
    """What has ended the app's workers, of late."""
    return f"runnel:{{{app}}}:endings"
