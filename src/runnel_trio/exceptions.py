"""The error tree. Every message says what is wrong and what to do.

Ordered by who is to blame::

    RunnelError
    ├── Misconfigured          you: a setting, a name, a declaration, a call that cannot work
    ├── RecordInvalid          you: a record whose values do not fit its types (at `send`)
    ├── DeserializationError   the sender: a stored entry that does not fit the record (at `records()`)
    ├── StreamFull             the load: no room left in a partition, and `overflow="error"`
    ├── NotReplicated          outside: stored, and not in time on as many replicas as wanted
    ├── HandlerTimeout         the handler: it took longer than the processor's `timeout`
    ├── ParkingFull            the load: `max_parked` events of a partition are parked
    ├── WrongPartition         you: an entry of a table whose key belongs to another partition
    ├── NotLoaded              you: an entry of a table that is not in memory: `await mine.load(key)`
    ├── TableFull              the load: `max_entries` of a table are in a partition
    ├── Poisoned               an event: it has ended the process of every worker that tried it
    ├── LeaseLost              the cluster: somebody else owns the partition now
    ├── WorkersAlive           you: a reset under workers that run
    ├── BrokerUnavailable      outside: the server cannot be reached or answers nothing useful
    ├── BrokerRefused          outside: the server refuses for good (password, permission, wrong type)
    └── InternalError          us: please report it
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any

from runnel_trio._report._words import counted

__all__ = [
    "BrokerRefused",
    "BrokerUnavailable",
    "DeserializationError",
    "HandlerTimeout",
    "InternalError",
    "LeaseLost",
    "Misconfigured",
    "NotLoaded",
    "NotReplicated",
    "ParkingFull",
    "Poisoned",
    "RecordInvalid",
    "RunnelError",
    "StreamFull",
    "TableFull",
    "WorkersAlive",
    "WrongPartition",
]


class RunnelError(Exception):
    """The base class of everything that runnel-trio itself raises.

    What a processor function raises is *not* a `RunnelError`: it reaches the caller unwrapped.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        # Python would call the class with `args`, which is only the text; a copy also needs the attributes.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class Misconfigured(RunnelError):
    """A declaration, setting or call that cannot work as written; nothing was started or sent."""


class RecordInvalid(RunnelError, ValueError):
    """A record does not fit its own type annotations; raised before anything is sent.

    Attributes:
        record: name of the Record class.
        path: where the value is, as in ``items[2].price``.
        reason: what is wrong with it.
    """

    def __init__(self, record: str, path: str, reason: str) -> None:
        super().__init__(f"{record}.{path}: {reason}" if path else f"{record}: {reason}")
        self.record = record
        self.path = path
        self.reason = reason


class DeserializationError(RunnelError):
    """A stored entry cannot be read as the stream's Record; the exception policy decides what happens.

    Attributes:
        stream: name of the stream.
        partition: number of the partition.
        xid: Redis stream id of the entry.
        field: where the problem is, as in ``items[2].price``; empty for the entry as a whole.
        reason: what is wrong.
    """

    def __init__(self, stream: str, partition: int, xid: str, field: str, reason: str) -> None:
        where = f"{stream}[{partition}] {xid}"
        super().__init__(f"cannot read entry {where}: {f'{field}: ' if field else ''}{reason}")
        self.stream = stream
        self.partition = partition
        self.xid = xid
        self.field = field
        self.reason = reason


class StreamFull(RunnelError):
    """A partition has no room and the stream was declared with ``overflow="error"``.

    Attributes:
        stream: name of the stream.
        partition: the first partition without room.
        size: its `partition_size`, in events.
        unsent: indexes, among the records given to `send`, of those that were *not* stored.
    """

    def __init__(self, stream: str, partition: int, size: int, unsent: tuple[int, ...]) -> None:
        super().__init__(
            f"{stream}[{partition}] is full, with {counted(size, 'event')}. "
            f"Not stored: {counted(len(unsent), 'record')}. "
            "Run more workers, raise partition_size, or declare the stream with overflow='block'."
        )
        self.stream = stream
        self.partition = partition
        self.size = size
        self.unsent = unsent


class NotReplicated(RunnelError):
    """Records are stored, but fewer replicas than requested confirmed in time that they have them.

    Sending them again would store them twice. They are lost if the server is lost before its replicas have
    them.

    Attributes:
        stream: name of the stream.
        wanted: how many replicas should have the records.
        reached: how many have them at least.
    """

    def __init__(self, stream: str, wanted: int, reached: int) -> None:
        super().__init__(
            f"{stream}: the records are stored, but only {reached} of {counted(wanted, 'replica')} say that "
            "they have them; do not send them again. Look after the replicas (INFO replication)."
        )
        self.stream = stream
        self.wanted = wanted
        self.reached = reached


class HandlerTimeout(RunnelError, TimeoutError):
    """Handling an event, or a list, took longer than the processor's ``timeout``.

    The processor function was cancelled where it waited, and called anew. The event has failed: rules of the
    middleware and the exception policy decide, as if the function had raised this. What it raised over its
    cancellation, if anything, is the ``__cause__``.
    """


class ParkingFull(RunnelError):
    """There is no room for one more event of a parked key: the partition is quarantined with this reason."""


class WrongPartition(RunnelError):
    """The key of a table's entry belongs to another partition than the one that is being processed.

    Its owner would never see what is written here. Attributes: ``table``, its name; ``partition``, the number
    of the one that is being processed; ``belongs``, that of the key's.
    """

    def __init__(self, table: str, key: str, partition: int, belongs: int) -> None:
        super().__init__(
            f"table {table}: the key {key} belongs to partition {belongs}, and this is partition "
            f"{partition}. A table has entries for the partition keys of the events; those of other "
            "partitions can be read with `await table.get(key)`."
        )
        self.table = table
        self.partition = partition
        self.belongs = belongs


class NotLoaded(RunnelError):
    """An entry of a table is not in memory: only those of the keys of the events in hand are read ahead.

    Attributes:
        table: its name.
    """

    def __init__(self, table: str, key: str) -> None:
        super().__init__(
            f"table {table}: the entry for {key} is not in memory. What is read ahead is the entry of an "
            "event's own key, without a subkey; for any other, first `await mine.load(key)` or "
            "`await mine.load((key, subkey))`."
        )
        self.table = table


class TableFull(RunnelError):
    """A table has ``max_entries`` entries in a partition; nothing was written, and the event has failed.

    Attributes:
        table: its name.
        partition: the number of the partition.
        most: its ``max_entries``.
    """

    def __init__(self, table: str, partition: int, most: int) -> None:
        super().__init__(
            f"table {table}[{partition}] is full, with {counted(most, 'entry', 'entries')}. Delete some, "
            "give the table a ttl, or raise its max_entries."
        )
        self.table = table
        self.partition = partition
        self.most = most


class Poisoned(RunnelError):
    """An event was tried `max_attempts` times, and each time the worker's process ended while handling it.

    It is not tried again: the exception policy decides as if the processor function had raised this error.

    Attributes:
        stream: name of the stream.
        partition: number of the partition.
        xid: Redis stream id of the event.
        attempts: how often it was tried.
    """

    def __init__(self, stream: str, partition: int, xid: str, attempts: int) -> None:
        super().__init__(
            f"{stream}[{partition}] {xid}: {counted(attempts, 'worker')} ended without a word while "
            "handling it, as by a kill or a crash of the interpreter; it is not tried again"
        )
        self.stream = stream
        self.partition = partition
        self.xid = xid
        self.attempts = attempts


class LeaseLost(RunnelError):
    """Another member owns the partition now; commits by the former owner are refused.

    Never raised: the processor function is cancelled, and middleware finds this error as `Events.exception`.

    Attributes:
        partition: number of the partition.
        epoch: the lost lease's epoch.
    """

    def __init__(self, partition: int, epoch: int) -> None:
        super().__init__(f"partition {partition}: the lease with epoch {epoch} was taken over")
        self.partition = partition
        self.epoch = epoch


class WorkersAlive(RunnelError):
    """This must not be done while workers run: stop them first.

    Attributes:
        processor: the workers' processor, as ``app.stream/processor``.
        workers: their ids.
    """

    def __init__(self, processor: str, workers: Sequence[str], expiry: float) -> None:
        super().__init__(
            f"{processor} has workers: {', '.join(workers)}. Stop them first (one that was killed counts for "
            f"up to {expiry:g} s), or force it: then events in hand are handled, and may be so again."
        )
        self.processor = processor
        self.workers: tuple[str, ...] = tuple(workers)


class BrokerUnavailable(RunnelError):
    """The server cannot be reached, or cannot serve requests now; trying again later can succeed."""


class BrokerRefused(RunnelError):
    """The server refuses permanently (password, permission, wrong type of key); waiting does not help."""


class InternalError(RunnelError):
    """A promise of this library is broken; please report it with the traceback."""
