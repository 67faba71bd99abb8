"""Who is a member of a party, and which plan its members follow: pure functions of the party's former state.

The memory broker calls them; ``scripts/beat.lua``, ``leave.lua`` and ``plan.lua`` do the same on a server.
`tests/broker/test_membership_rule.py` holds both to one table.

    a heartbeat of          does
    somebody who is here    stays, also where its time was over: nobody has taken anything from it yet
    somebody who is not     joins, behind all who ever joined
    the same, leaving       nothing: what is said after leaving does not make a member again
    anybody                 removes others whose time is over, and suspects that made no beat since

- **The generation** rises by one when a member joins, begins to leave, leaves or is removed, and at no other
  time. A plan is made for one generation; the first one submitted for the current generation holds.
- **The number of a join** is given only once. A member that finds a different number than before was removed
  in between, and others may own its partitions by now. The number is at least the server's clock, so that it
  rises even if the server has lost the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

__all__ = ["MemberState", "PartyState", "after_beat", "after_leaving", "after_plan"]

#: What members are told, besides that something has changed.
News = tuple[str, ...]


@attrs.frozen(kw_only=True)
class MemberState:
    """What is kept of a member.

    Attributes:
        deadline: when its time is over.
        beat: how many heartbeats it has made.
        joined_as: the number of its join.
        expiry: seconds after a heartbeat that its time is over.
        leaving: it gives up what it has.
        about: what it told about itself.
    """

    deadline: float
    beat: int
    joined_as: int
    expiry: float
    leaving: bool
    about: str


@attrs.frozen(kw_only=True)
class PartyState:
    """What is kept of a party.

    Attributes:
        members: by id, in the order of joining.
        generation: rises with each change of the members.
        joins: the number of the last join.
        planned: the generation for which there is a plan.
        plan: which partitions each member is to own.
    """

    members: Mapping[str, MemberState] = attrs.field(factory=dict)
    generation: int = 0
    joins: int = 0
    planned: int = 0
    plan: Mapping[str, tuple[int, ...]] = attrs.field(factory=dict)

    def changed(self, members: Mapping[str, MemberState], news: News) -> PartyState:
        """The party with other members; each of the news is one more generation."""
        return attrs.evolve(self, members=members, generation=self.generation + len(news))


def after_beat(
    party: PartyState,
    now: float,
    member: str,
    *,
    expiry: float,
    leaving: bool,
    about: str,
    suspects: Mapping[str, int],
) -> tuple[PartyState, News]:
    """The party after a heartbeat, and what has changed.

    Args:
        party: as it was.
        now: the server's clock, in seconds.
        member: who makes it.
        expiry: seconds from now until its time is over.
        leaving: whether it is leaving.
        about: what it tells about itself.
        suspects: others that it saw make no beat after this one.
    """
    removed = [x for x, its in party.members.items() if x != member and _is_over(x, its, now, suspects)]
    news = tuple(f"removed {x}" for x in removed)
    members = {x: its for x, its in party.members.items() if x not in removed}
    mine, joins = members.get(member), party.joins
    if mine is None and leaving:
        return party.changed(members, news), news
    if mine is None:
        joins = max(party.joins + 1, int(now * 1000))
        news += (f"joined {member}",)
    elif mine.leaving != leaving:
        news += (f"leaving {member}" if leaving else f"joined {member}",)
    members[member] = MemberState(
        deadline=now + expiry,
        beat=mine.beat + 1 if mine else 1,
        joined_as=mine.joined_as if mine else joins,
        expiry=expiry,
        leaving=leaving,
        about=about,
    )
    return attrs.evolve(party.changed(members, news), joins=joins), news


def _is_over(name: str, its: MemberState, now: float, suspects: Mapping[str, int]) -> bool:
    return its.deadline < now or suspects.get(name) == its.beat


def after_leaving(party: PartyState, member: str) -> tuple[PartyState, News]:
    """The party without a member, and what has changed: nothing, if it was none."""
    if member not in party.members:
        return party, ()
    news = (f"left {member}",)
    return party.changed({x: its for x, its in party.members.items() if x != member}, news), news


def after_plan(
    party: PartyState, generation: int, plan: Mapping[str, Sequence[int]]
) -> tuple[PartyState, News]:
    """The party with a plan, and what has changed: nothing, if another one holds, or others are members."""
    if generation != party.generation or generation == party.planned:
        return party, ()
    kept = {member: tuple(numbers) for member, numbers in plan.items()}
    return attrs.evolve(party, planned=generation, plan=kept), ("planned",)
