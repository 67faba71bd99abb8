"""What user code gets: one event, and the partition that it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

from runnel_trio._rules._cursor import parse_id
from runnel_trio.exceptions import DeserializationError

__all__ = ["Event", "Origin", "Partition"]


@attrs.frozen(kw_only=True)
class Partition:
    """One partition of a stream, as its current owner sees it.

    Attributes:
        number: which partition, from 0. After repartitioning, the same number is a different partition, and a
            record's key may be in another partition than before. So keep your state for a partition by
            ``key``.
        key: the Redis key of its log, made of the names of app and stream, ``layout`` and ``number``. It
            stays the same as long as the partition exists, so your own database can identify it by this.
        epoch: rises each time that the partition changes hands, separately for each processor. It is a
            fencing token against owners that were taken for dead: store it with what you write to your own
            database, and refuse a lower one there. Only compare epochs of the same processor and ``key``.
        layout: number of the stream's layout, from 1; it rises each time that the stream is repartitioned
            (``runnel-trio stream repartition``).
    """

    number: int
    key: str
    epoch: int = 0
    layout: int = 1


@attrs.frozen(kw_only=True)
class Origin:
    """What all events have in common while one member owns the partition.

    Attributes:
        partition: where the events come from.
        group: the consumer group that serves as the processor's cursor.
        decode: event → record.
        key_bytes: record → its partition key in canonical form; None if keys are not needed.
        recovering_to: the highest id that a former owner is known to have read, parsed.
    """

    partition: Partition
    group: bytes
    decode: Callable[[Event], Any]
    key_bytes: Callable[[Any], bytes] | None = None
    recovering_to: tuple[int, int] = (0, 0)


@attrs.define(eq=False, init=False)
class Event:
    """One entry of a partition, as it is stored.

    Attributes:
        xid: its Redis stream id.

    Example:
        Inside a processor function::

            async for event in events:
                print(event.partition.number, event.xid, event.data)
    """

    _origin: Origin
    xid: bytes
    _fields: Sequence[bytes]
    _number: int  # in the backlog
    _record: Any  # once it was decoded

    # By hand: one that attrs makes takes `_record` as an argument, and a tenth longer for each event.
    def __init__(self, origin: Origin, xid: bytes, fields: Sequence[bytes], number: int = -1) -> None:
        self._origin = origin
        self.xid = xid
        self._fields = fields
        self._number = number
        self._record = None

    @property
    def partition(self) -> Partition:
        """The partition that it came from."""
        return self._origin.partition

    @property
    def group(self) -> bytes:
        """The consumer group that serves as the processor's cursor."""
        return self._origin.group

    @property
    def recovering(self) -> bool:
        """Whether a former owner is known to have read it, so that it may have been handled before."""
        return parse_id(self.xid) <= self._origin.recovering_to

    @property
    def parked(self) -> bool:
        """Whether it was parked, and is handled again: events of other keys may have overtaken it."""
        return self._number < -1

    @property
    def data(self) -> dict[bytes, bytes]:
        """The entry's fields and values, undecoded."""
        return dict(zip(self._fields[::2], self._fields[1::2], strict=True))

    def record(self) -> Any:
        """The entry as the stream's Record. It is decoded once; every call returns the same object.

        Raises:
            DeserializationError: it cannot be read as a record.
        """
        if self._record is None:
            self._record = self._origin.decode(self)
        return self._record

    def _key(self) -> bytes | None:
        """The partition key in canonical form; None for an entry that cannot be read, which has no key."""
        if self._origin.key_bytes is None:
            return None
        try:
            return self._origin.key_bytes(self.record())
        except DeserializationError:
            return None

    def __repr__(self) -> str:
        return f"<Event {self.partition.key} {self.xid.decode()}>"
