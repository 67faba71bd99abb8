"""The only reader of a member's partitions: asks for those that have room, and offers what comes.

Three demands: never hold more than `prefetch_count` events of a partition; never let a partition that has
room wait for one that has not; cost the same whether many partitions are owned or few. So a read names only
the partitions with room for a chunk, and is woken when another has room again; and partitions are dealt out
to lanes, each with a reader of its own, because a read sends all its keys again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import trio

from runnel_trio._broker._protocol import Reader
from runnel_trio._worker._member._backlog import Backlog

__all__ = ["Fetcher", "readers_for"]

#: So few events come one by one: then what counts is how soon each is handled.
_LITTLE = 16


def readers_for(partition_count: int, pool_size: int, keys_per_read: int) -> int:
    """How many readers serve so many partitions."""
    return max(1, min(pool_size, -(-partition_count // keys_per_read)))


@attrs.define(eq=False)
class _ReaderTask:
    reader: Reader
    on_interrupted: Callable[[], None]
    backlogs: dict[int, Backlog] = attrs.field(factory=dict)
    asked: frozenset[int] | None = None
    changed: trio.Event = attrs.field(factory=trio.Event)

    def look(self, number: int) -> None:
        """A partition has room, came or went."""
        self.changed.set()
        if self.asked is not None and (number not in self.asked or number not in self.backlogs):
            self.reader.wake()

    async def run(self) -> None:
        try:
            while True:
                self.changed = trio.Event()
                wanted = {number: x for number, x in self.backlogs.items() if x.has_room}
                if wanted:
                    await self._read(wanted)
                else:
                    await self.changed.wait()
        finally:
            await self.reader.aclose()

    async def _read(self, wanted: dict[int, Backlog]) -> None:
        positions = {number: backlog.position for number, backlog in wanted.items()}
        self.asked = frozenset(wanted)
        interruptions = self.reader.interruptions
        try:
            found = await self.reader.read(positions, min(x.chunk for x in wanted.values()))
        finally:
            self.asked = None
        if self.reader.interruptions != interruptions:
            self.on_interrupted()
        for number, entries in found.items():
            if self.backlogs.get(number) is wanted[number]:
                wanted[number].offer(entries)
        # Handlers first: writing the next read takes as long as they do. Trio runs what is ready in any
        # order, so after one turn they may still wait. After a second they do not; where little came, it is
        # worth its price.
        await trio.lowlevel.checkpoint()
        if sum(map(len, found.values())) < _LITTLE:
            await trio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Fetcher:
    """Fills the backlogs that it watches.

    Attributes:
        readers: each read by a task of its own.
        on_interrupted: called when a connection was lost.
    """

    readers: list[Reader]
    on_interrupted: Callable[[], None]
    _tasks: list[_ReaderTask] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tasks = [_ReaderTask(reader, self.on_interrupted) for reader in self.readers]

    def watch(self, backlog: Backlog) -> None:
        """Fill this one too."""
        task = self._task_of(backlog.number)
        task.backlogs[backlog.number] = backlog
        backlog.on_room = partial(task.look, backlog.number)
        task.look(backlog.number)

    def forget(self, backlog: Backlog) -> None:
        """Do not fill this one any more."""
        task = self._task_of(backlog.number)
        if task.backlogs.get(backlog.number) is backlog:
            del task.backlogs[backlog.number]
            task.look(backlog.number)

    async def run(self) -> None:
        """Read until cancelled.

        Raises:
            BrokerRefused: as it is, with no group around it.
        """
        failed: list[Exception] = []

        async def read(task: _ReaderTask) -> None:
            try:
                await task.run()
            except Exception as error:  # by value, so that the nursery has nothing to wrap
                failed.append(error)
                nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            for task in self._tasks:
                nursery.start_soon(read, task)
        if failed:
            raise failed[0]

    def _task_of(self, number: int) -> _ReaderTask:
        return self._tasks[number % len(self._tasks)]
