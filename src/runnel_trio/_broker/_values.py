"""The arguments and results of a broker's verbs: frozen values."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

import attrs

from runnel_trio._report._redaction import redacted
from runnel_trio._rules._commit import CommitOutcome
from runnel_trio._rules._cursor import LogState
from runnel_trio._rules._parked import Head
from runnel_trio.constants import Overflow

__all__ = [
    "MOST_OUTBOX",
    "SEALED",
    "Acquired",
    "AppSpec",
    "Appended",
    "Batch",
    "Beat",
    "Commit",
    "CommitOutcome",
    "Entry",
    "Held",
    "Layouts",
    "Lease",
    "Member",
    "Membership",
    "OutboxRecord",
    "Output",
    "ParkedChange",
    "Party",
    "ProcessorSpec",
    "Quarantine",
    "Rewound",
    "Sealed",
    "ServerConfig",
    "StreamSpec",
    "TableRead",
    "TableWrites",
]


class Sealed(enum.Enum):
    """The type of `SEALED`, its only value, so that type checkers tell it from a count."""

    SEALED = "sealed"


#: The partition takes entries for another layout than that of the sender.
SEALED: Final[Literal[Sealed.SEALED]] = Sealed.SEALED

#: What `Logs.append` says of one partition: how many entries it stored, from the front, or that it is sealed.
Appended: TypeAlias = int | Literal[Sealed.SEALED]

#: A stored entry: its id, and its fields and values in turn.
Entry = tuple[bytes, Sequence[bytes]]


@attrs.frozen
class ServerConfig:
    """Where the server is, and how to get in.

    Attributes:
        url: the setting ``redis_url``.
        options: the setting ``redis_options``.
        factory: the setting ``redis_factory``; if given, it is used instead of the URL.
    """

    url: str = attrs.field(repr=redacted)
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    factory: Callable[[], Any] | None = None


@attrs.define
class Batch:
    """Entries to be stored in one partition. All have the same fields, and all or none have ids.

    It is not frozen, because each send makes one, and that takes a third of the time.

    Attributes:
        names: names of their fields.
        values: values of these fields, entry by entry.
        ids: one for each entry; None lets the server choose them.
    """

    names: Sequence[bytes]
    values: Sequence[bytes]
    ids: Sequence[bytes] | None = None

    def __len__(self) -> int:
        return len(self.values) // len(self.names)


@attrs.frozen(kw_only=True, cache_hash=True)
class StreamSpec:
    """A stream as its app declares it; the first declaration fixes `record` and `hasher`.

    It also fixes `partition_count`, until that is changed on the server; each change raises `layout` by one.
    """

    app: str
    name: str
    partition_count: int
    record: str
    hasher: str
    partition_size: int
    overflow: Overflow
    layout: int = 1

    def laid_out(self, layout: int, partition_count: int) -> StreamSpec:
        """The same stream in another layout; itself if it has that layout."""
        if (layout, partition_count) == (self.layout, self.partition_count):
            return self
        return attrs.evolve(self, layout=layout, partition_count=partition_count)


@attrs.frozen
class Layouts:
    """The layouts of a stream.

    Attributes:
        current: the one that takes entries.
        draining: the former one, as long as there is anything in it; otherwise None.
        former_counts: its former partition counts.
    """

    current: StreamSpec
    draining: StreamSpec | None = None
    former_counts: frozenset[int] = attrs.field(default=frozenset(), eq=False)

    @property
    def all(self) -> list[StreamSpec]:
        """The existing layouts, the former one first."""
        return [x for x in (self.draining, self.current) if x is not None]


@attrs.frozen(kw_only=True)
class ProcessorSpec:
    """A processor of a stream; its name is the consumer group's."""

    stream: StreamSpec
    name: str


@attrs.frozen
class AppSpec:
    """The workers of an app. The one that has been a member longest leads."""

    name: str


#: What one is a member of.
Party = ProcessorSpec | AppSpec


@attrs.frozen
class Lease:
    """Ownership of one partition: every write under it carries owner and epoch."""

    partition: int
    owner: str
    epoch: int


@attrs.frozen
class Acquired:
    """A lease that was granted, and what the former owner left.

    Attributes:
        lease: the new one.
        state: the state of the log, and the processor's position in it.
        read_to: the highest id that a former owner is known to have read.
        clean: whether the former owner released it; False if it was lost with its owner.
        attempts: the entry that `Ownership.mark_attempt` marked last, and how often; (b"0-0", 0) for none.
        ahead: what the lease says about entries done ahead of the cursor (`_rules/_ahead`).
        parked: how many keys are parked.
        touched: how often others than owners have written to the processor's tables.
    """

    lease: Lease
    state: LogState
    read_to: bytes
    clean: bool = True
    attempts: tuple[bytes, int] = (b"0-0", 0)
    ahead: bytes = b""
    parked: int = 0
    touched: int = 0


@attrs.frozen
class Held:
    """A lease that was not granted: who holds it. Give it back to `acquire` to take it by force."""

    partition: int
    owner: str
    epoch: int


@attrs.frozen(kw_only=True)
class Quarantine:
    """Why and where a partition stands still.

    Attributes:
        partition: which one.
        first: id of the first entry that failed.
        last: id of the last entry that failed: a different one if a batch failed.
        count: how many entries failed.
        error: the exception, as ``type: text``.
        traceback: as Python prints it.
        time: when, ISO 8601 in UTC.
        member: the worker where it failed, or who paused it.
        ids: ids of the entries that failed, if entries that did not fail may stand between them.
    """

    partition: int
    first: bytes
    last: bytes
    count: int
    error: str
    traceback: str
    time: str
    member: str
    ids: tuple[bytes, ...] = ()

    @property
    def is_pause(self) -> bool:
        """Whether an operator paused it, so that nothing failed; ``error`` is then the reason."""
        return self.count == 0


@attrs.frozen
class Output:
    """Entries that are stored elsewhere together with a commit: either everything happens or nothing."""

    stream: StreamSpec
    partition: int
    batch: Batch

    def redirected(self, stream: StreamSpec, number: int) -> Output:
        """The same for the stream's current layout, from the partition of this number."""
        return Output(stream, number % stream.partition_count, self.batch)


#: So many records wait in an outbox at most; then a commit with more finds no room.
MOST_OUTBOX = 10_000


@attrs.frozen
class OutboxRecord:
    """A record that a processor has emitted, on its way to another node of a cluster.

    Attributes:
        stream: name of the stream that it goes to.
        hash: the number that the stream's hasher gives for its key.
        fields: its fields and values in turn.
        id: its id in the outbox; empty as long as it is not there.
    """

    stream: str
    hash: int
    fields: Sequence[bytes]
    id: bytes = b""


@attrs.frozen
class ParkedChange:
    """What becomes of one parked key's list (`_rules/_parked`).

    Attributes:
        key: in canonical form.
        seen: the head that is believed to be there; None: the key is not parked. If it is another one,
            nothing is changed.
        now: the head afterwards; None: the key is free. Entries before its first one are removed.
        entries: packed entries that are added at the end.
        facts: what people are told, as JSON; empty: as before.
    """

    key: bytes
    seen: Head | None
    now: Head | None
    entries: Sequence[bytes] = ()
    facts: bytes = b""

    @property
    def seen_text(self) -> bytes:
        """The head that is believed to be there, as it is stored; empty if none is."""
        return b"" if self.seen is None else self.seen.text

    @property
    def now_text(self) -> bytes:
        """The head afterwards, as it is stored; empty if there is none."""
        return b"" if self.now is None else self.now.text


@attrs.frozen
class TableWrites:
    """What becomes of entries of one table in one partition (`_rules/_tables`).

    Attributes:
        name: of the table.
        changes: by their fields, what they are from now on; None: they are gone.
        expires: whether its entries have deadlines: a few that are over are removed as well.
    """

    name: str
    changes: Mapping[bytes, bytes | None]
    expires: bool = False


@attrs.frozen
class TableRead:
    """What was read of tables, at one moment in each partition.

    Attributes:
        values: by partition and table, in the order in which they were asked for; None for an entry that is
            not there, or over.
        counts: how many entries there are, by partition and table.
        now: the server's time, in milliseconds since 1970.
    """

    values: Mapping[int, Mapping[str, Sequence[bytes | None]]]
    counts: Mapping[int, Mapping[str, int]]
    now: int


@attrs.frozen
class Commit:
    """Move a cursor from `previous` to `last`, and store what goes with it; see `_rules/_commit`.

    Attributes:
        lease: the lease under which it is made.
        number: number of the commit within the lease's epoch, from 1. A commit that found no room is tried
            again with the same number.
        previous: the cursor that this owner believes in.
        last: the new one.
        entries_read: how many entries are at or before `last`; -1 if unknown.
        read_to: the highest id that this owner has read.
        outputs: stored in the same step.
        parked: what becomes of parked keys in the same step.
        outbox: records that are put into the outbox in the same step.
        ahead: what the lease is to say about entries done ahead of `last` (`_rules/_ahead`); empty if there
            are none; None if the lease says so already.
        highest: the last id that is done ahead; empty if there is none.
        tables: what becomes of tables in the same step.
        touched: how often others had written to the processor's tables when this owner began to read them;
            None: it has none.
    """

    lease: Lease
    number: int
    previous: bytes
    last: bytes
    entries_read: int
    read_to: bytes
    outputs: Sequence[Output] = ()
    ahead: bytes | None = None
    highest: bytes = b""
    parked: Sequence[ParkedChange] = ()
    outbox: Sequence[OutboxRecord] = ()
    tables: Sequence[TableWrites] = ()
    touched: int | None = None


@attrs.frozen
class Rewound:
    """What `Admin.rewind` did to a partition, or would do.

    Attributes:
        partition: which one.
        before: where the cursor was; None if there was none.
        after: where it is.
        lag_before: entries that were not acknowledged; -1 if the server does not know.
        lag_after: entries that are now to be processed.
    """

    partition: int
    before: bytes | None
    after: bytes
    lag_before: int
    lag_after: int


@attrs.frozen
class Member:
    """One member, as all of them see it.

    Attributes:
        id: its own.
        beat: rises with each of its heartbeats.
        expiry: seconds after a heartbeat until it counts as dead.
        leaving: it releases its partitions, and must not get any more.
        about: what it says about itself, in JSON.
    """

    id: str
    beat: int
    expiry: float
    leaving: bool
    about: str


@attrs.frozen
class Beat:
    """A heartbeat: join, or stay a member.

    Attributes:
        party: the party to join.
        member: the id of the member.
        expiry: seconds from now for which it is a member.
        about: what others are told, in JSON.
        leaving: see `Member`.
        suspects: members without a heartbeat since the given one for longer than their expiry, by the
            sender's own clock; they are removed if that is still so.
    """

    party: Party
    member: str
    expiry: float
    about: str
    leaving: bool = False
    suspects: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Membership:
    """The state of a party at one moment.

    Attributes:
        generation: rises whenever a member joins, begins to leave, leaves or is removed.
        members: all members, in the order in which they joined.
        joined_as: the number of this member's join, 0 for none. A different number than before means that it
            was removed in between.
        planned: the generation for which `plan` was made.
        plan: which partitions each member should own.
        news: the position in the party's control log after which to wait for news.
    """

    generation: int = 0
    members: tuple[Member, ...] = ()
    joined_as: int = 0
    planned: int = 0
    plan: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)
    news: bytes = b"0-0"
