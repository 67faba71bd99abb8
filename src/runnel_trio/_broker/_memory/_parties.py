"""Members and plans in memory, by the rules of `_rules/_membership`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import trio

from runnel_trio._broker._memory._reader import MemoryReader
from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Parties, Reader
from runnel_trio._broker._seen import ENDINGS, Ending, Muster
from runnel_trio._broker._values import AppSpec, Beat, Membership, Party, ProcessorSpec
from runnel_trio._override import override
from runnel_trio._rules._membership import after_beat, after_leaving, after_plan

__all__ = ["MemoryParties"]


class MemoryParties(MemoryVerbs, Parties):
    """The store keeps a state of each party, and a log of what its members are told."""

    @override
    async def beat(self, beat: Beat) -> Membership:
        await trio.lowlevel.checkpoint()
        state = after_beat(
            self.store.party(beat.party),
            trio.current_time(),
            beat.member,
            expiry=beat.expiry,
            leaving=beat.leaving,
            about=beat.about,
            suspects=beat.suspects,
        )
        self.store.change(beat.party, state)
        return self.store.view(beat.party, beat.member)

    @override
    def pulse(self) -> None:
        return None

    @override
    async def members(self, party: Party) -> Membership:
        await trio.lowlevel.checkpoint()
        return self.store.view(party)

    @override
    async def plan(
        self, processor: ProcessorSpec, generation: int, plan: Mapping[str, Sequence[int]]
    ) -> None:
        await trio.lowlevel.checkpoint()
        self.store.change(processor, after_plan(self.store.party(processor), generation, plan))

    @override
    async def leave(self, party: Party, member: str) -> None:
        await trio.lowlevel.checkpoint()
        self.store.change(party, after_leaving(self.store.party(party), member))

    @override
    def control(self, party: Party, block: float) -> Reader:
        return MemoryReader(lambda _: self.store.control(party), self.store, block)

    @override
    async def muster(self, party: Party) -> Muster:
        await trio.lowlevel.checkpoint()
        now, members = trio.current_time(), self.store.party(party).members
        endings = self.store.endings.get(party.name, ()) if isinstance(party, AppSpec) else ()
        overdue = {name: now - x.deadline for name, x in members.items() if x.deadline < now}
        return Muster(membership=self.store.view(party), overdue=overdue, endings=tuple(endings))

    @override
    async def ended(self, app: str, ending: Ending) -> None:
        await trio.lowlevel.checkpoint()
        kept = self.store.endings.setdefault(app, [])
        kept.insert(0, attrs.evolve(ending, time=trio.current_time()))
        del kept[ENDINGS:]
