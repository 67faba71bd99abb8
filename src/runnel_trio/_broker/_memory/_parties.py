"""Members and plans in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import trio

from runnel_trio._broker._memory._reader import MemoryReader
from runnel_trio._broker._memory._store import Seat
from runnel_trio._broker._memory._verbs import MemoryVerbs
from runnel_trio._broker._protocol import Parties, Reader
from runnel_trio._broker._seen import ENDINGS, Ending, Muster
from runnel_trio._broker._values import AppSpec, Beat, Member, Membership, Party, ProcessorSpec
from runnel_trio._override import override

__all__ = ["MemoryParties"]


class MemoryParties(MemoryVerbs, Parties):
    """A party holds its members, their plan, and what they are told."""

    @override
    async def beat(self, beat: Beat) -> Membership:
        await trio.lowlevel.checkpoint()
        party, now = self.store.party(beat.party), trio.current_time()
        generation = party.generation
        for other, member in list(party.members.items()):
            suspected = beat.suspects.get(other) == member.seen.beat
            if other != beat.member and (member.deadline < now or suspected):
                del party.members[other]
                party.changed(b"removed")
        mine = party.members.get(beat.member)
        if mine is None and not beat.leaving:
            party.places += 1
        place, count = (mine.place, mine.seen.beat) if mine else (party.places, 0)
        if mine is not None or not beat.leaving:
            seen = Member(beat.member, count + 1, beat.expiry, beat.leaving, beat.about)
            party.members[beat.member] = Seat(now + beat.expiry, place, seen)
            if mine is None or mine.seen.leaving != beat.leaving:
                party.changed(b"leaving" if beat.leaving else b"joined")
        if party.generation != generation:
            self.store.announce()
        return party.view(beat.member)

    @override
    def pulse(self) -> None:
        return None

    @override
    async def look(self, party: Party) -> Membership:
        await trio.lowlevel.checkpoint()
        return self.store.party(party).view("")

    @override
    async def plan(
        self, processor: ProcessorSpec, generation: int, plan: Mapping[str, Sequence[int]]
    ) -> None:
        await trio.lowlevel.checkpoint()
        party = self.store.party(processor)
        if generation == party.generation != party.planned:
            party.planned = generation
            party.plan = {member: tuple(numbers) for member, numbers in plan.items()}
            party.tell(b"changed", b"planned")
            self.store.announce()

    @override
    async def leave(self, party: Party, member: str) -> None:
        await trio.lowlevel.checkpoint()
        there = self.store.party(party)
        if there.members.pop(member, None) is not None:
            there.changed(b"left")
            self.store.announce()

    @override
    def control(self, party: Party, block: float) -> Reader:
        return MemoryReader(lambda _: self.store.party(party).control, self.store, block)

    @override
    async def muster(self, party: Party) -> Muster:
        await trio.lowlevel.checkpoint()
        there, now = self.store.party(party), trio.current_time()
        endings = self.store.endings.get(party.name, ()) if isinstance(party, AppSpec) else ()
        overdue = {name: now - seat.deadline for name, seat in there.members.items() if seat.deadline < now}
        return Muster(membership=there.view(""), overdue=overdue, endings=tuple(endings))

    @override
    async def ended(self, app: str, ending: Ending) -> None:
        await trio.lowlevel.checkpoint()
        kept = self.store.endings.setdefault(app, [])
        kept.insert(0, attrs.evolve(ending, time=trio.current_time()))
        del kept[ENDINGS:]
