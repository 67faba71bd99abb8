"""What operators see of a server: frozen values, in addition to those of `_values`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from runnel_trio._broker._values import Membership, Quarantine
from runnel_trio._rules._ahead import Ahead

__all__ = ["ENDINGS", "ENDINGS_KEPT", "Ending", "Misfit", "Muster", "Standing", "Surveyed"]

#: How many ends of workers are kept for an app, the last ones, and for how many seconds.
ENDINGS, ENDINGS_KEPT = 16, 3600


@attrs.frozen
class Misfit:
    """One of our keys in which another program has put something.

    Attributes:
        key: its name.
        kind: the type that it has, as the server names it.
        expected: the type that it must have.
    """

    key: str
    kind: str
    expected: str

    @property
    def text(self) -> str:
        """What is wrong, in words that follow the key."""
        return f"is a {self.kind}, and must be a {self.expected}: somebody else has written to it"


@attrs.frozen(kw_only=True)
class Ending:
    """A worker that an exception has ended.

    Attributes:
        error: the exception, in one line.
        member: the id of the worker.
        host: its machine.
        pid: its process id.
        processor: the processor whose function raised it; empty if none did.
        stream: the stream of that processor.
        partition: the partition that the function was called for; None if no function raised it.
        xid: the id of the event in hand, or of the first of several; empty if there was none.
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
    """The current state of a party, for operators.

    Attributes:
        membership: its members; empty if a key of the party is a misfit.
        overdue: for each member that counts as dead, seconds since it does.
        endings: for an app's party, the workers that exceptions have ended, the newest first.
        misfits: keys of the party that have another type.
    """

    membership: Membership = attrs.field(factory=Membership)
    overdue: Mapping[str, float] = attrs.field(factory=dict)
    endings: Sequence[Ending] = ()
    misfits: Sequence[Misfit] = ()


@attrs.frozen(kw_only=True)
class Standing:
    """How far a processor is in a partition.

    Attributes:
        cursor: id of the last acknowledged entry.
        lag: how many entries are not acknowledged, those done ahead not counted; -1 if the server does not
            know.
        ahead: which entries are acknowledged ahead of others that are not.
        next_id: id of the first of them that still exists; ``b"0-0"`` if there is none.
        owner: the member that holds the lease; empty if none does.
        epoch: the epoch of the last lease.
        quarantine: why the partition stands still, if it does.
        parked_keys: how many keys are parked.
        parked: how many entries these have.
    """

    cursor: bytes
    lag: int
    next_id: bytes
    owner: str
    epoch: int
    quarantine: Quarantine | None
    ahead: Ahead = Ahead()
    parked_keys: int = 0
    parked: int = 0


@attrs.frozen(kw_only=True)
class Surveyed:
    """The state of a partition at one moment, for operators.

    Attributes:
        number: which one.
        length: entries now in the log.
        entries_added: entries ever added.
        first_id: id of the first entry that still exists; ``b"0-0"`` if there is none.
        last_id: the highest id ever given.
        size: about how many bytes of memory it takes on the server.
        processors: all processors that have a cursor in it, by name.
        node: the cluster node that it is on; empty without a cluster.
        misfits: keys of the partition that have another type.
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
        """Events that a processor has not acknowledged, as far as known; all of them if it has no cursor."""
        standing = self.processors.get(name)
        return self.length if standing is None else max(0, standing.lag)
