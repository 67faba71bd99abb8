"""The seam to the outside: the verbs that a broker has; what they carry is in `_values`.

Two brokers implement it, and one suite holds both to it: `_redis`, and `_memory` on Trio's own clock.
Every verb that writes may be called again after a failure without harm; none is abandoned half-way.
While the server is away the verbs of the consuming side wait for it, and `append` gives up after a while.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._seen import Ending, Misfit, Muster, Standing, Surveyed
from runnel_trio._broker._values import (
    SEALED,
    Acquired,
    AppSpec,
    Batch,
    Beat,
    Commit,
    CommitOutcome,
    Entry,
    Held,
    Layouts,
    Lease,
    Member,
    Membership,
    Output,
    Party,
    Place,
    ProcessorSpec,
    Quarantine,
    Rewound,
    StreamSpec,
)
from runnel_trio._rules._cursor import LogState

__all__ = [
    "SEALED",
    "Acquired",
    "AppSpec",
    "Batch",
    "Beat",
    "Broker",
    "Commit",
    "CommitOutcome",
    "Ending",
    "Entry",
    "Held",
    "Layouts",
    "Lease",
    "Member",
    "Membership",
    "Misfit",
    "Muster",
    "Output",
    "Party",
    "Place",
    "ProcessorSpec",
    "Pulse",
    "Quarantine",
    "Reader",
    "Rewound",
    "Standing",
    "StreamSpec",
    "Surveyed",
]


class Pulse(Protocol):
    """Heartbeats that leave from a thread, over a connection of their own."""

    def send(self, beats: Sequence[Beat]) -> list[Membership]:
        """As `Broker.beat` for each; blocks.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """
        ...

    def interrupt(self) -> None:
        """From another thread: make the `send` under way fail now, and all later ones."""
        ...

    def close(self) -> None:
        """Give up what it holds, in the thread that sends."""
        ...


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

    @property
    def interruptions(self) -> int:
        """How often the connection was lost so far: what was known about the server may have changed."""
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

    def wall(self) -> float:
        """The time of day, in seconds since 1970; in memory it goes on as Trio's clock does."""
        ...

    @property
    def url(self) -> str:
        """Where the server is, for clients of user code."""
        ...

    @property
    def clustered(self) -> bool:
        """Whether only partitions of one number are sure to be on one node."""
        ...

    @property
    def keys_per_read(self) -> int:
        """How many partitions one reader waits for without strain."""
        ...

    @property
    def about(self) -> str:
        """What kind of server it is, in words for people."""
        ...

    def id_time(self) -> float:
        """The time in an id that is given now, in seconds: as near as it is known without asking."""
        ...

    def watch(self, away: Callable[[], None], back: Callable[[float], None]) -> None:
        """Have it told, in Trio, when the server goes away, and when it is back after so many seconds."""
        ...

    def log_key(self, stream: StreamSpec, partition: int) -> str:
        """The key of a partition's log."""
        ...

    @property
    def appends_at_once(self) -> bool:
        """Whether what is given to `append` now is read at once, and leaves before all of it was read."""
        ...

    async def declare(self, stream: StreamSpec, *, dry_run: bool = False) -> Layouts:
        """Fix what must never change about a stream, or compare; complete a change that was begun.

        With ``dry_run`` it is only compared.

        Raises:
            Misconfigured: it exists with another record or hasher, or never had so many partitions.
        """
        ...

    async def create_groups(
        self, stream: StreamSpec, names: Collection[str]
    ) -> Mapping[str, Mapping[int, int]]:
        """Give processors a cursor in each partition of this layout where they have none, at its start.

        From then on no entry is trimmed there that they have not passed. `subscribe` does so in every layout.

        Returns:
            By name, and by the numbers of the partitions where it had no cursor: how many entries had left
                the log before its time. (Of one that has committed there, an owner finds what it has lost.)
        """
        ...

    async def layouts(self, stream: StreamSpec) -> Layouts | None:
        """In which partitions a stream is; None when nobody has declared it. Changes nothing."""
        ...

    async def relearn(self, stream: StreamSpec) -> Layouts:
        """As `declare`, by somebody whom a partition has refused: sees to it that all of them agree."""
        ...

    async def repartition(self, stream: StreamSpec, count: int) -> Layouts:
        """Give a stream so many partitions; those that it has take nothing more.

        Args:
            stream: as it is, by `layouts`; nothing is done when it is no longer so, or when there still are
                former partitions.
            count: of the new ones.
        """
        ...

    async def remaining(self, processor: ProcessorSpec) -> Sequence[int]:
        """The partitions that stand still, or where not everything is acknowledged."""
        ...

    async def news(self, processor: ProcessorSpec) -> None:
        """Tell the processor's members that the stream has got other partitions."""
        ...

    async def discard(self, stream: StreamSpec, processors: Collection[str]) -> Sequence[int]:
        """Delete the partitions of a former layout, with what these processors have there.

        Returns:
            The numbers of those that stay: somebody has not acknowledged everything, or nobody ever read it.
                When there are none, the stream has no former layout any more.
        """
        ...

    def append(self, stream: StreamSpec, batches: Mapping[int, Batch]) -> Awaitable[Mapping[int, int]]:
        """Store entries, in order within each partition, none of them twice.

        Args:
            stream: where.
            batches: by partition. With `appends_at_once` each may be made when it is read: all are read
                before the first wait.

        Returns:
            How many of each partition's entries were stored, from the front; fewer where it is full. `SEALED`
                where it takes entries for another layout: see `relearn`.

        Raises:
            BrokerUnavailable: no answer for a while; whether entries were stored is not known.
            Misconfigured: an explicit id is not above the partition's last one.

        Cancellation: entries under way are stored or not as a whole; their outcome is waited for.
        """
        ...

    async def replicated(
        self, stream: StreamSpec, partitions: Collection[int], count: int, within: float
    ) -> int:
        """Wait until so many replicas have what was written to partitions so far.

        Returns:
            How many have it, at least; fewer than ``count`` when so many seconds were not enough.

        Raises:
            BrokerUnavailable: another master has taken over, and does not have it.
        """
        ...

    async def commit_replicated(
        self, processor: ProcessorSpec, commits: Sequence[Commit], count: int, within: float
    ) -> int:
        """As `replicated`, for commits that were made; one that a failover has lost is made anew."""
        ...

    def reader(self, processor: ProcessorSpec, block: float) -> Reader:
        """A new reader over the processor's partitions, which waits ``block`` seconds at a time."""
        ...

    async def acquire(
        self, processor: ProcessorSpec, member: str, partitions: Mapping[int, Held | None]
    ) -> Sequence[Acquired | Held | Quarantine]:
        """Take leases; with a `Held` that was seen before, by force from exactly that owner and epoch."""
        ...

    async def attempt(self, processor: ProcessorSpec, lease: Lease, xid: bytes, count: int) -> bool:
        """Mark that an entry is about to be handled for the ``count``-th time; False: the lease is another's.

        The mark tells the next owner, if this one's process ends over it. It goes with a clean release.
        """
        ...

    async def commit(self, processor: ProcessorSpec, commits: Sequence[Commit]) -> Sequence[CommitOutcome]:
        """Move cursors, each one only if lease and cursor are as its owner believes."""
        ...

    async def examine(self, processor: ProcessorSpec, partitions: Sequence[int]) -> Sequence[LogState | None]:
        """What the server says about partitions; None where the processor has no cursor."""
        ...

    async def release(self, processor: ProcessorSpec, leases: Sequence[Lease]) -> None:
        """Give leases up, and tell the party; those that are no longer held are left alone."""
        ...

    async def quarantine(self, processor: ProcessorSpec, lease: Lease, why: Quarantine) -> bool:
        """Let a partition stand still, and give its lease up; False: the lease is another's."""
        ...

    async def quarantined(
        self, processor: ProcessorSpec, partitions: Sequence[int]
    ) -> Sequence[Quarantine | None]:
        """Why partitions stand still; None where they do not."""
        ...

    async def resume(
        self, processor: ProcessorSpec, why: Quarantine, *, skip: bool, outputs: Sequence[Output] = ()
    ) -> CommitOutcome:
        """Lift exactly this quarantine, and tell the party.

        Args:
            processor: whose.
            why: the quarantine that was seen; FENCED when there is another one or none.
            skip: acknowledge the entries that failed. REWOUND when the cursor is not right before them.
            outputs: stored in the same step.
        """
        ...

    async def pause(self, processor: ProcessorSpec, whys: Sequence[Quarantine]) -> Sequence[bool]:
        """Let partitions stand still whoever owns them, and tell the party: owners end the event in hand.

        Returns:
            For each whether it does so now; False: it stood still already, for another reason.
        """
        ...

    async def forget(self, processor: ProcessorSpec) -> int:
        """Delete cursors, leases, quarantines and members; in how many partitions it had a cursor."""
        ...

    async def rewind(
        self, processor: ProcessorSpec, starts: Mapping[int, bytes], *, dry_run: bool
    ) -> Sequence[Rewound]:
        """Set cursors, whoever owns the partitions; lifts quarantines and forgets attempts.

        Args:
            processor: whose.
            starts: by partition: process what comes after this id; ``b"$"``, or an id behind the end, for
                what is added from now on.
            dry_run: only say what would happen.
        """
        ...

    async def entries(
        self, stream: StreamSpec, partition: int, *, after: bytes = b"0-0", count: int = 1000
    ) -> Sequence[Entry]:
        """Stored entries behind an id, at once."""
        ...

    async def time(self) -> float:
        """The clock by which ids are given, in seconds since 1970."""
        ...

    async def streams(self, app: str) -> Sequence[StreamSpec]:
        """The streams of an app that the server knows, by name, as they were declared last."""
        ...

    async def survey(self, stream: StreamSpec) -> Sequence[Surveyed]:
        """All partitions of a stream, for people who look; each as of a moment of its own."""
        ...

    async def muster(self, party: Party) -> Muster:
        """As `look`, for people: who of them is overdue, what has ended workers, what is no key of ours."""
        ...

    async def ended(self, app: str, ending: Ending) -> None:
        """Keep for people that a worker was ended, for a while, beside the last few others."""
        ...

    async def remove(self, stream: StreamSpec, partition: int, xids: Sequence[bytes]) -> int:
        """Delete entries; how many were there."""
        ...

    async def transfer(self, stream: StreamSpec, partition: int, xid: bytes, output: Output) -> CommitOutcome:
        """Delete an entry and store another one elsewhere, in one step. REWOUND: there is no such entry."""
        ...

    async def beat(self, beat: Beat) -> Membership:
        """Join, or stay a member; members whose time is over are removed.

        One that is leaving does not join: what it says after `leave` changes nothing, and its place is 0.
        """
        ...

    def pulse(self) -> Pulse | None:
        """For heartbeats from a thread; None where there is nothing but Trio's own time."""
        ...

    async def look(self, party: Party) -> Membership:
        """As `beat`, by somebody who is no member; changes nothing."""
        ...

    async def plan(
        self, processor: ProcessorSpec, generation: int, plan: Mapping[str, Sequence[int]]
    ) -> None:
        """Store who is to own what, and tell the party; the first plan of a generation holds."""
        ...

    async def leave(self, party: Party, member: str) -> None:
        """Stop being a member, and tell the party."""
        ...

    def control(self, party: Party, block: float) -> Reader:
        """News for a party's members, as entries of partition 0: wait behind `Membership.news`.

        Entries have the field ``released`` or ``paused`` with the numbers of partitions, in text with blanks
        between, or ``layout`` (see `news`); every other one says that the membership or the plan has changed.
        """
        ...
