"""In memory, what people look at: streams, partitions, parties, and what has ended workers."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from runnel_trio._broker._memory._catalog import LayoutVerbs
from runnel_trio._broker._seen import ENDINGS, Ending, Muster, Surveyed
from runnel_trio._broker._values import AppSpec, Membership, Party, StreamSpec

__all__ = ["LookingVerbs"]


@attrs.define(eq=False, kw_only=True)
class LookingVerbs(LayoutVerbs):
    """See `_protocol.Broker`."""

    async def time(self) -> float:
        """See `_protocol.Broker`; ids are given by Trio's clock."""
        await trio.lowlevel.checkpoint()
        return trio.current_time()

    async def streams(self, app: str) -> Sequence[StreamSpec]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        return [spec for (owner, _), spec in sorted(self.store.streams.items()) if owner == app]

    async def survey(self, stream: StreamSpec) -> Sequence[Surveyed]:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        numbers = range(stream.partition_count)
        return [self.store.log(self.log_key(stream, number)).surveyed(number) for number in numbers]

    async def look(self, party: Party) -> Membership:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        return self.store.party(party).view("")

    async def muster(self, party: Party) -> Muster:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        there, now = self.store.party(party), trio.current_time()
        endings = self.store.endings.get(party.name, ()) if isinstance(party, AppSpec) else ()
        overdue = {name: now - seat.deadline for name, seat in there.members.items() if seat.deadline < now}
        return Muster(membership=there.view(""), overdue=overdue, endings=tuple(endings))

    async def ended(self, app: str, ending: Ending) -> None:
        """See `_protocol.Broker`."""
        await trio.lowlevel.checkpoint()
        kept = self.store.endings.setdefault(app, [])
        kept.insert(0, attrs.evolve(ending, time=trio.current_time()))
        del kept[ENDINGS:]
