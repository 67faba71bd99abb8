"""Where everything is kept in Redis.

Partition N of every stream of an app shares one hash tag, so that one script can touch a partition's log
and leases together on Redis Cluster too; the coordination of one processor shares another.
"""

from __future__ import annotations

from runnel_trio._broker._protocol import AppSpec, Party, ProcessorSpec, StreamSpec

__all__ = ["control", "lease", "log", "members", "meta", "plan", "producers", "quarantine"]


def _partition(stream: StreamSpec, number: int) -> str:
    return f"runnel:{{{stream.app}:{number}}}:{stream.name}"


def log(stream: StreamSpec, number: int) -> str:
    """The stream that holds a partition's entries."""
    return f"{_partition(stream, number)}:log"


def producers(stream: StreamSpec, number: int) -> str:
    """The hash of each producer's last sequence."""
    return f"{_partition(stream, number)}:producers"


def lease(processor: ProcessorSpec, number: int) -> str:
    """The hash that says who owns a partition."""
    return f"{_partition(processor.stream, number)}:lease:{processor.name}"


def meta(stream: StreamSpec) -> str:
    """The hash of what must never change about a stream."""
    return f"runnel:{{{stream.app}}}:{stream.name}:meta"


def quarantine(processor: ProcessorSpec, number: int) -> str:
    """Why a partition stands still."""
    return f"{_partition(processor.stream, number)}:quarantine:{processor.name}"


def _party(party: Party) -> str:
    if isinstance(party, AppSpec):
        return f"runnel:{{{party.name}}}:leader"
    return f"runnel:{{{party.stream.app}/{party.stream.name}/{party.name}}}"


def members(party: Party) -> str:
    """The hash of a processor's members, or of those that can lead an app."""
    return f"{_party(party)}:members"


def plan(party: Party) -> str:
    """The hash that says which member is to own which partitions."""
    return f"{_party(party)}:assignment"


def control(party: Party) -> str:
    """The small stream by which members hear of changes."""
    return f"{_party(party)}:control"
