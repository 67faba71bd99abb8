"""The seam to the outside: a dozen verbs that a broker has, and the values that they carry.

Two brokers implement it, and one suite holds both to it: `_redis`, and `_memory` on Trio's own clock.
Every verb that writes may be called again after a failure without harm; none is abandoned half-way.
While the server is away the verbs of the consuming side wait for it, and `append` gives up after a while.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import attrs

from runnel_trio._rules._cursor import LogState
from runnel_trio.constants import Overflow

__all__ = [
    "Acquired",
    "Batch",
    "Broker",
    "Commit",
    "CommitOutcome",
    "Entry",
    "Held",
    "Lease",
    "Membership",
    "ProcessorSpec",
    "Reader",
    "StreamSpec",
]

#: A stored entry: its id, and its fields and values in turn.
Entry = tuple[bytes, Sequence[bytes]]


@attrs.frozen
class Batch:
    """Entries to be stored in one partition, alike: in their fields, and in whether their ids are given.

    Attributes:
        names: of their fields.
        values: of these fields, entry by entry.
        ids: one for each entry; None lets the server choose them.
    """

    names: Sequence[bytes]
    values: Sequence[bytes]
    ids: Sequence[bytes] | None = None

    def __len__(self) -> int:
        return len(self.values) // len(self.names)


@attrs.frozen(kw_only=True)
class StreamSpec:
    """A stream as its app declares it; `partition_count`, `record` and `hasher` are fixed by the first."""

    app: str
    name: str
    partition_count: int
    record: str
    hasher: str
    partition_size: int
    overflow: Overflow


@attrs.frozen(kw_only=True)
class ProcessorSpec:
    """A processor of a stream; its name is the consumer group's."""

    stream: StreamSpec
    name: str


@attrs.frozen
class Lease:
    """Ownership of one partition: everything written on its strength carries owner and epoch."""

    partition: int
    owner: str
    epoch: int


@attrs.frozen
class Acquired:
    """A lease that was granted, with the state of the log and what the owner before had read."""

    lease: Lease
    state: LogState
    read_to: bytes


@attrs.frozen
class Held:
    """A lease that was not granted: who holds it. Give it back to `acquire` to take it by force."""

    partition: int
    owner: str
    epoch: int


@attrs.frozen
class Commit:
    """Move a cursor from `previous` to `last`.

    Attributes:
        lease: on whose strength.
        previous: the cursor that this owner believes in.
        last: the new one.
        entries_read: how many entries stand at or before `last`; -1 when unknown.
        read_to: the highest id that this owner has read.
    """

    lease: Lease
    previous: bytes
    last: bytes
    entries_read: int
    read_to: bytes


class CommitOutcome(enum.Enum):
    """How a commit ended."""

    #: The cursor is at `Commit.last`, by this call or by an earlier one whose answer was lost.
    COMMITTED = "committed"
    #: Another member owns the partition.
    FENCED = "fenced"
    #: The cursor is not where this owner left it: an operator moved it, or the server lost its last writes.
    REWOUND = "rewound"


@attrs.frozen
class Membership:
    """The live members of a processor, oldest first; the generation rises with every change."""

    generation: int
    members: tuple[str, ...]


class Reader(Protocol):
    """One waiting read over many partitions. One task at a time may be in `read`."""

    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        """Wait for entries behind the given positions.

        Args:
            positions: partition number → id after which to read.
            count: at most so many entries per partition.

        Returns:
            Entries by partition; empty after `wake`, and now and then when nothing came.

        Cancellation: returns at once; nothing was taken away, reading has no side effect.
        """
        ...

    def wake(self) -> None:
        """Make the `read` under way return soon: the partitions of interest have changed."""
        ...

    async def aclose(self) -> None:
        """Give back what the reader holds."""
        ...


class Broker(Protocol):
    """The verbs. Each one raises `BrokerRefused` for what cannot heal."""

    @property
    def clock(self) -> Callable[[], float]:
        """The clock, in seconds, of an owner's trust in its leases; suspension does not stop it."""
        ...

    @property
    def url(self) -> str:
        """Where the server is, for clients of user code."""
        ...

    def log_key(self, stream: StreamSpec, partition: int) -> str:
        """The key of a partition's log."""
        ...

    async def declare(self, stream: StreamSpec) -> None:
        """Fix what must never change about a stream, or compare.

        Raises:
            Misconfigured: it exists with another partition count, record or hasher.
        """
        ...

    async def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Mapping[int, int]:
        """Store entries, in order within each partition, none of them twice.

        Returns:
            How many of each partition's entries were stored, from the front; fewer where it is full.

        Raises:
            BrokerUnavailable: no answer for a while; whether entries were stored is not known.
            Misconfigured: an explicit id is not above the partition's last one.

        Cancellation: entries under way are stored or not as a whole; their outcome is waited for.
        """
        ...

    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        """A new reader over the processor's partitions, which waits ``block`` seconds at a time."""
        ...

    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held]:
        """Take leases; with a `Held` that was seen before, by force from exactly that owner and epoch."""
        ...

    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        """Move cursors, each one only if lease and cursor are as its owner believes."""
        ...

    async def examine(self, processor: ProcessorSpec, partitions: Sequence[int]) -> Sequence[LogState | None]:
        """What the server says about partitions; None where the processor has no cursor."""
        ...

    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        """Give leases up; those that are no longer held are left alone."""
        ...

    async def beat(self, processor: ProcessorSpec, member: str, expiry: float, about: str) -> Membership:
        """Join, or stay a member for `expiry` seconds from now; members whose time is over are removed."""
        ...

    async def leave(self, processor: ProcessorSpec, member: str) -> None:
        """Stop being a member."""
        ...
