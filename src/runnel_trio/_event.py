"""What user code is handed: one event, and the partition that it came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs

__all__ = ["Event", "Partition"]


@attrs.frozen(kw_only=True)
class Partition:
    """One partition of a stream, as its present owner sees it.

    Attributes:
        number: which one, from 0.
        key: the Redis key of its log.
        epoch: rises each time that the partition changes hands. Store it with what you write to your own
            database and refuse a lower one there: a fencing token against owners that were thought dead.
    """

    number: int
    key: str
    epoch: int = 0


@attrs.define(eq=False)
class Event:
    """One entry of a partition, as it is stored.

    Attributes:
        partition: where it came from.
        xid: its Redis stream id.
        group: the consumer group that serves as the processor's cursor.
        recovering: whether an owner before this one is known to have read it already: it may have been
            handled before.

    Example:
        Inside a processor function::

            async for event in events:
                print(event.partition.number, event.xid, event.data)
    """

    partition: Partition
    xid: bytes
    group: bytes
    recovering: bool
    _fields: Sequence[bytes]
    _decode: Callable[[Event], Any]

    @property
    def data(self) -> dict[bytes, bytes]:
        """The entry's fields and values, undecoded."""
        return dict(zip(self._fields[::2], self._fields[1::2], strict=True))

    def record(self) -> Any:
        """The entry as the stream's Record.

        Raises:
            DeserializationError: it cannot be read as one.
        """
        return self._decode(self)

    def __repr__(self) -> str:
        return f"<Event {self.partition.key} {self.xid.decode()}>"
