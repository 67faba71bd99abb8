"""What operators see of a server: frozen values, in addition to those of `_values`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from runnel_trio._broker._values import Membership, Quarantine

__all__ = ["ENDINGS", "ENDINGS_KEPT", "Ending", "Misfit", "Muster", "Standing", "Surveyed"]

#: How many ends of workers are kept for an app, the last ones, and for how many seconds.
ENDINGS, ENDINGS_KEPT = 16, 3600


@attrs.frozen
class Misfit:
    """A key of ours in which somebody else keeps something.

    Attributes:
        key: its name.
        kind: the type that it has, in the server's word.
        expected: the type that it must have.
    """

    key: str
    kind: str
    expected: str

    @property
    def text(self) -> str:
        """What is so, in words that follow the key."""
        return f"is a {self.kind}, and must be a {self.expected}: somebody else has written to it"


@attrs.frozen(kw_only=True)
class Ending:
    """A worker that was ended by an exception.

    Attributes:
        error: the exception, in a line.
        member: the id of the worker.
        host: its machine.
        pid: of its process.
        processor: in whose function it was raised; empty where it was in none.
        stream: of that processor.
        partition: for which the function was called; None where it was in none.
        xid: of the event in hand, of several the first; empty where there was none.
        time: by the broker's clock, in seconds since 1970; the broker sets it.
    """

    error: str
    member: str = ""
    host: str = ""
    pid: int = 0
    processor: str = ""
    stream: str = ""
    partition: int | None = None
    xid: str = ""
    time: float = 0.0


@attrs.frozen(kw_only=True)
class Muster:
    """A party as it is, for people who look.

    Attributes:
        membership: its members; nobody where a key of the party is a misfit.
        overdue: seconds by which a member is past the time at which it counts as dead, where it is.
        endings: of an app's party, the workers that were ended by exceptions; the last one first.
        misfits: keys of the party in which there is something else.
    """

    membership: Membership = attrs.field(factory=Membership)
    overdue: Mapping[str, float] = attrs.field(factory=dict)
    endings: Sequence[Ending] = ()
    misfits: Sequence[Misfit] = ()


@attrs.frozen(kw_only=True)
class Standing:
    """Where a processor stands in a partition.

    Attributes:
        cursor: id of the last acknowledged entry.
        lag: how many entries are not acknowledged; -1 when the server does not know.
        next_id: id of the first of them that is still there; ``b"0-0"`` when there is none.
        owner: the member that holds the lease; empty when nobody does.
        epoch: of the last lease.
        quarantine: why it stands still, if it does.
    """

    cursor: bytes
    lag: int
    next_id: bytes
    owner: str
    epoch: int
    quarantine: Quarantine | None


@attrs.frozen(kw_only=True)
class Surveyed:
    """A partition as of one moment, for people who look.

    Attributes:
        number: which one.
        length: entries now in the log.
        entries_added: entries ever added.
        first_id: id of the first entry still there; ``b"0-0"`` when there is none.
        last_id: the highest id ever given.
        size: about how many bytes of memory it takes in the server.
        processors: by name, all that have a cursor in it.
        node: of a cluster, on which it is; else empty.
        misfits: keys of the partition in which there is something else.
    """

    number: int
    length: int = 0
    entries_added: int = 0
    first_id: bytes = b"0-0"
    last_id: bytes = b"0-0"
    size: int = 0
    processors: Mapping[str, Standing] = attrs.field(factory=dict)
    node: str = ""
    misfits: Sequence[Misfit] = ()

    def lag_of(self, name: str) -> int:
        """Events that a processor has not acknowledged, as far as is known; all, where it has no cursor."""
        standing = self.processors.get(name)
        return self.length if standing is None else max(0, standing.lag)
