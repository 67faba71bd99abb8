"""Changing the number of a stream's partitions, for operators: begin, wait, finish.

The change itself is one verb of the broker, and workers follow by themselves. This module announces it, waits
until the former partitions are no longer needed, and deletes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._seen import Surveyed
from runnel_trio._broker._values import Layouts, Membership, ProcessorSpec, Quarantine, StreamSpec
from runnel_trio.exceptions import Misconfigured

__all__ = ["Progress", "Repartition", "Waiting"]

#: How many times as long as its expiry a member may be silent: it has four heartbeats in one.
_SILENCE = 1.25
#: Seconds between two looks; and how many times as long as one takes.
_LOOK, _REST = 0.5, 10.0


@attrs.frozen(kw_only=True)
class Waiting:
    """A processor that still needs the former partitions.

    Attributes:
        name: the name of the processor.
        partitions: numbers of the partitions that it has not finished.
        lag: how many events in them are not acknowledged, as far as the server knows.
        standing: why some of them stand still.
        members: how many workers run it there.
    """

    name: str
    partitions: Sequence[int]
    lag: int
    standing: Sequence[Quarantine]
    members: int


@attrs.frozen(kw_only=True)
class Progress:
    """The progress of a change.

    Attributes:
        layouts: the layouts of the stream.
        waiting: processors that have not finished the former partitions.
        through: names of processors that have finished them.
        members: how many workers of these have not switched yet.
        unread: events in the former partitions that no processor has ever read.
    """

    layouts: Layouts
    waiting: Sequence[Waiting] = ()
    through: Sequence[str] = ()
    members: int = 0
    unread: int = 0

    @property
    def lag(self) -> int:
        """Events in the former partitions that some processor still has to acknowledge."""
        return sum(x.lag for x in self.waiting) + self.unread


@attrs.define(eq=False)
class Repartition:
    """One change of one stream. Any number of these may run at once, and each can be begun again.

    Attributes:
        broker: the broker that has the stream.
        stream: the stream as its code declares it.
        check: raises `Misconfigured` for a partition count that the stream cannot have.
    """

    broker: Broker
    stream: StreamSpec
    check: Callable[[int], Awaitable[None]] | None = None
    _beats: dict[tuple[str, str], tuple[int, float]] = attrs.field(factory=dict, init=False)

    async def layouts(self, count: int) -> Layouts:
        """The current layouts of the stream.

        Raises:
            Misconfigured: the stream is unknown, is being changed to another count, or cannot have this many.
        """
        if self.check is not None:
            await self.check(count)
        where = f"stream {self.stream.name!r} of app {self.stream.app!r}"
        found = await self.broker.layouts(self.stream)
        if found is None:
            raise Misconfigured(
                f"the server does not know {where}: nothing was sent to it, or a failover lost what it knew "
                f"(then start a worker, which tells it again). Otherwise write partition_count={count} where "
                "it is declared, that is all"
            )
        now = found.current.partition_count
        if found.draining is not None and now != count:
            raise Misconfigured(
                f"{where} is still being changed from {found.draining.partition_count} to {now} partitions: "
                f"wait for that with --to {now}"
            )
        return found

    async def begin(self, count: int) -> Layouts:
        """Change the partition count to this, or continue a change that was begun.

        Raises:
            Misconfigured: as `layouts`.
        """
        found = await self.layouts(count)
        if found.draining is None and found.current.partition_count != count:
            found = await self.broker.repartition(found.current, count)
            if found.current.partition_count != count:  # somebody else was faster
                found = await self.layouts(count)
        if found.draining is not None:
            for processor, _ in await self._processors(
                found.draining, await self.broker.survey(found.draining)
            ):
                await self.broker.announce_layout(processor)
        return found

    async def look(self) -> Progress:
        """The progress of the change; before it has begun, how it would begin."""
        layouts = await self.broker.layouts(self.stream) or Layouts(self.stream)
        former = layouts.draining or layouts.current
        surveyed = await self.broker.survey(former)
        waiting, through, members = [], [], 0
        for processor, view in await self._processors(former, surveyed):
            living = self._living(processor.name, view)
            if numbers := await self.broker.undrained(processor):
                standing = await self.broker.quarantined(processor, numbers)
                waiting.append(_waiting(processor.name, numbers, surveyed, standing, living))
            else:
                through.append(processor.name)
                members += living
        unread = 0 if waiting or through else sum(x.length for x in surveyed)
        return Progress(layouts=layouts, waiting=waiting, through=through, members=members, unread=unread)

    async def finish(self, progress: Progress) -> bool:
        """Delete the former partitions, if they are no longer needed; returns whether they are gone."""
        former = progress.layouts.draining
        if former is None:
            return True
        if progress.waiting or progress.members or progress.unread:
            return False
        return not await self.broker.discard(former, progress.through)

    async def wait(self, tell: Callable[[Progress], object] | None = None) -> None:
        """Wait until the former partitions are no longer needed, and delete them.

        Args:
            tell: called with the progress at each check.

        Cancellation: the change goes on without this; called again, it waits for the rest.
        """
        while True:
            began = trio.current_time()
            progress = await self.look()
            if tell is not None:
                tell(progress)
            if await self.finish(progress):
                return
            await trio.sleep(max(_LOOK, _REST * (trio.current_time() - began)))

    async def _processors(
        self, former: StreamSpec, surveyed: Sequence[Surveyed]
    ) -> list[tuple[ProcessorSpec, Membership]]:
        """All that have a cursor in some partition, and their members there."""
        names = sorted({name for partition in surveyed for name in partition.processors})
        processors = [ProcessorSpec(stream=former, name=name) for name in names]
        return [(x, await self.broker.members(x)) for x in processors]

    def _living(self, name: str, view: Membership) -> int:
        """How many members are not known to be dead: where nobody lives, nobody removes the dead."""
        now, living = trio.current_time(), 0
        for member in view.members:
            beat, since = self._beats.get((name, member.id), (0, now))
            if beat != member.beat:
                since = now
            self._beats[name, member.id] = member.beat, since
            living += now - since <= _SILENCE * member.expiry
        return living


def _waiting(
    name: str,
    numbers: Sequence[int],
    surveyed: Sequence[Surveyed],
    standing: Sequence[Quarantine | None],
    members: int,
) -> Waiting:
    return Waiting(
        name=name,
        partitions=numbers,
        lag=sum(surveyed[number].lag_of(name) for number in numbers),
        standing=[why for why in standing if why is not None],
        members=members,
    )
