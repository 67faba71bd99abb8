"""Copies the tables' entries of a partition to those of the next layout, before anybody reads there.

A layout holds its processor as long as it has entries, so nobody has owned a partition of the next one when
they arrive. The owner copies all, and then deletes them here. If it ends between the two, the next owner
copies them again; nobody can have changed them in between: there are no events left, and who writes from
outside waits until they have moved. If an owner that was replaced goes on copying, the server refuses that as
soon as somebody has owned the partition where an entry goes, or written there.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ProcessorSpec, TableWrites
from runnel_trio._codec import hash_of_form
from runnel_trio._rules._tables import TableValue, deadline_of, split_field
from runnel_trio._worker._member._backlog import Backlog
from runnel_trio._worker._member._partition._parked_mover import is_log_through

__all__ = ["TableMover"]


@attrs.define(eq=False, kw_only=True)
class TableMover:
    """Moves the tables of one partition.

    Attributes:
        broker: where they are.
        processor: whose, in the layout that they leave.
        backlog: the partition's.
        is_idle: whether no event is in hand, or waits.
    """

    broker: Broker
    processor: ProcessorSpec
    backlog: Backlog
    is_idle: Callable[[], bool]
    _stage: ProcessorSpec | None = attrs.field(default=None, init=False)
    _told: trio.Event = attrs.field(factory=trio.Event, init=False)

    def move_to(self, stage: ProcessorSpec) -> None:
        """The stream has got other partitions; said again and again until the processor has left these."""
        self._stage = stage
        self._told.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._told.wait()
            self._told = trio.Event()
            if self._stage is not None and await self._may_move():
                await self._move(self._stage)

    async def _may_move(self) -> bool:
        """Whether nothing is left that could write: in the log, in hand, or parked."""
        backlog = self.backlog
        if backlog.unacknowledged or backlog.parked.heads or backlog.parked or not self.is_idle():
            return False
        is_through = await is_log_through(self.broker, self.processor, backlog.number)
        return is_through and not backlog.closed

    async def _move(self, stage: ProcessorSpec) -> None:
        number = self.backlog.number
        names = await self.broker.table_names(self.processor, number)
        for name in names:
            cursor = b""
            while cursor != b"0":
                cursor, page = await self.broker.scan_table(self.processor, number, name, cursor or b"0")
                if not await self._copy(stage, name, dict(page)):
                    return
        if names:
            await self.broker.drop_tables(self.processor, self.backlog.lease, names)

    async def _copy(self, stage: ProcessorSpec, name: str, page: dict[bytes, bytes]) -> bool:
        """Copy entries, each to the partition of its key; whether they may be there."""
        parts: dict[int, dict[bytes, bytes | None]] = {}
        for field, value in page.items():
            hashed = TableValue.parse(value).hash
            if hashed is None:
                hashed = hash_of_form(split_field(field)[0])
            parts.setdefault(hashed % stage.stream.partition_count, {})[field] = value
        for target, entries in parts.items():
            expires = any(deadline_of(value or b"") for value in entries.values())
            if not await self.broker.copy_table(stage, target, TableWrites(name, entries, expires)):
                return False
        return True
