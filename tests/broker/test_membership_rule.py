"""One table of parties, and one rule: what `_rules/_membership` makes of each, the scripts and the memory broker make."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
import trio
from fault_app import mutate
from redis import Redis

from runnel_trio._broker import open_broker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._values import Beat, Member, Membership, ProcessorSpec, ServerConfig, StreamSpec
from runnel_trio._rules._membership import (
    MemberState,
    PartyState,
    after_beat,
    after_leaving,
    after_plan,
)
from runnel_trio.constants import Overflow

ORDERS = StreamSpec(
    app="app", name="orders", partition_count=2, record="Order", hasher="blake3", partition_size=100,
    overflow=Overflow.BLOCK,
)  # fmt: skip
BILL = ProcessorSpec(stream=ORDERS, name="bill")
#: How many seconds a member has left: the one who acts, and another one. None: it is not there.
TIMES: list[float | None] = [None, 60, -60]
PLAN = {"me": (0, 1)}
#: The other's third heartbeat is the last that was seen.
SUSPECTS: list[dict[str, int]] = [{}, {"it": 3}, {"it": 2}, {"me": 3}]
#: The number of the last join: forgotten, and given by a server whose clock was ahead.
JOINS = [0, 10**14]


def member(left: float, joined_as: int, *, leaving: bool = False) -> MemberState:
    return MemberState(deadline=left, beat=3, joined_as=joined_as, expiry=10, leaving=leaving, about="{}")


def parties() -> Iterator[PartyState]:
    """Parties by the clock of one who says that it is 0."""
    for mine, its, leaving, joins in itertools.product(TIMES, TIMES, (False, True), JOINS):
        if mine is None and leaving:
            continue
        members = {} if its is None else {"it": member(its, 1)}
        if mine is not None:
            members["me"] = member(mine, 2, leaving=leaving)
        yield PartyState(members=members, generation=7, joins=joins, planned=6, plan={"it": (0, 1)})


PARTIES = list(parties())


@attrs.define
class Arranged:
    """The other way to a party: puts it into a state, and says what its members were told."""

    broker: Any
    client: Any = None

    def clock(self) -> float:
        if self.client is None:
            return trio.current_time()
        seconds, microseconds = self.client.time()
        return float(seconds + microseconds / 1e6)

    def put(self, party: PartyState) -> PartyState:
        """The same by the server's clock."""
        now = self.clock()
        members = {x: attrs.evolve(its, deadline=its.deadline + now) for x, its in party.members.items()}
        party = attrs.evolve(party, members=members)
        if self.client is None:
            self.broker.store.forget(BILL)
            self.broker.store.parties[BILL] = party
            return party
        self.client.delete(_keys.members(BILL), _keys.plan(BILL), _keys.control(BILL))
        self.client.hset(_keys.members(BILL), mapping=_members(party))
        plan = {f"m:{x}": " ".join(map(str, numbers)) for x, numbers in party.plan.items()}
        self.client.hset(_keys.plan(BILL), mapping={"generation": party.planned, **plan})
        return party

    def told(self) -> list[str]:
        if self.client is None:
            return [fields[1].decode() for _, fields in self.broker.store.control(BILL).entries]
        return [fields[b"changed"].decode() for _, fields in self.client.xrange(_keys.control(BILL))]


def _members(party: PartyState) -> dict[Any, Any]:
    fields: dict[Any, Any] = {"generation": party.generation}
    if party.joins:
        fields["places"] = party.joins
    for name, x in reversed(party.members.items()):  # a hash has no order that could be relied on
        words = (int(x.deadline * 1000), x.beat, x.joined_as, int(x.expiry * 1000), int(x.leaving), x.about)
        fields[f"m:{name}"] = " ".join(map(str, words))
    return fields


@contextmanager
def arranged(broker: Broker) -> Iterator[Arranged]:
    if isinstance(broker, MemoryBroker):
        yield Arranged(broker)
        return
    with Redis.from_url(broker.url) as client:
        yield Arranged(broker, client)


def seen(party: PartyState, me: str = "") -> Membership:
    """What a broker answers of such a party, but for the place in its control log."""
    mine = party.members.get(me)
    members = (Member(x, its.beat, its.expiry, its.leaving, its.about) for x, its in party.members.items())
    return Membership(
        generation=party.generation, members=tuple(members), joined_as=mine.joined_as if mine else 0,
        planned=party.planned, plan=party.plan,
    )  # fmt: skip


async def disagreement(broker: Broker) -> Any:
    """What a broker does otherwise than the rule says, and to which party."""
    with arranged(broker) as there:
        for party in PARTIES:
            for found in (
                [
                    await of_beat(broker, there, party, *given)
                    for given in itertools.product((False, True), SUSPECTS)
                ]
                + [await of_plan(broker, there, party, planned, given) for planned, given in PLANS]
                + [await of_leaving(broker, there, party)]
            ):
                if found is not None:
                    return found
    return None


async def of_beat(
    broker: Broker, there: Arranged, party: PartyState, leaving: bool, suspects: Mapping[str, int]
) -> Any:
    given: Any = {"expiry": 20.0, "leaving": leaving, "about": '{"n": 1}', "suspects": suspects}
    put = there.put(party)
    expected, news = after_beat(put, there.clock(), "me", **given)
    view = await broker.beat(Beat(BILL, "me", **given))
    latest, _ = after_beat(put, there.clock(), "me", **given)
    first, last = seen(expected, "me").joined_as, seen(latest, "me").joined_as
    overdue = set((await broker.muster(BILL)).overdue)
    late = {x for x, its in expected.members.items() if its.deadline < there.clock()}
    again = await broker.beat(Beat(BILL, "me", **given)) if "me" in expected.members else view
    if (
        attrs.evolve(view, news=b"0-0", joined_as=first) != seen(expected, "me")
        or not first <= view.joined_as <= last
        or (again.joined_as, again.generation) != (view.joined_as, view.generation)
        or there.told() != list(news)
        or overdue != late
    ):
        return "beat", party, given
    return None


#: The generation of the plan that there is, and of the one that is given; the party's is 7.
PLANS = [(6, 7), (7, 7), (6, 6), (6, 8), (8, 7)]


async def of_plan(broker: Broker, there: Arranged, party: PartyState, planned: int, generation: int) -> Any:
    put = there.put(attrs.evolve(party, planned=planned))
    expected, news = after_plan(put, generation, PLAN)
    await broker.plan(BILL, generation, PLAN)
    view = attrs.evolve(await broker.members(BILL), news=b"0-0")
    return None if (view, there.told()) == (seen(expected), list(news)) else ("plan", party, planned)


async def of_leaving(broker: Broker, there: Arranged, party: PartyState) -> Any:
    expected, news = after_leaving(there.put(party), "me")
    await broker.leave(BILL, "me")
    view = attrs.evolve(await broker.members(BILL), news=b"0-0")
    return None if (view, there.told()) == (seen(expected), list(news)) else ("leave", party)


async def test_each_party_becomes_what_the_rule_makes_of_it(broker: Broker) -> None:
    assert await disagreement(broker) is None


@pytest.mark.parametrize(
    ("what", "guard", "instead"),
    [
        ("beat", "== me then\n", "== me and member.deadline >= now then\n"),
        ("beat", "member.deadline < now or ", ""),
        ("beat", " or suspects[member.id] == member.beat", ""),
        ("beat", "suspects[member.id] == member.beat", "suspects[member.id]"),
        ("beat", "    changed(members, control, 'removed ' .. member.id)\n", ""),
        ("beat", "if not mine and ARGV[3] == '1' then", "if false then"),
        ("beat", "math.max(tonumber(redis.call('HGET', members, 'places') or '0') + 1, now)", "now"),
        ("beat", " + 1, now)", " + 1)"),
        ("beat", "mine.beat + 1", "mine.beat"),
        ("beat", "now + ARGV[2], ", "mine.deadline or now + ARGV[2], "),
        ("beat", "if before ~= ARGV[3] then", "if not before then"),
        ("beat", "if before ~= ARGV[3] then", "if true then"),
        ("beat", "  redis.call('HINCRBY', members, 'generation', 1)\n", ""),
        ("beat", "  tell(control, 'changed', why)\n", ""),
        ("beat", "table.sort(members, function(a, b) return a.joined_as < b.joined_as end)", ""),
        ("plan", "if redis.call('HGET', KEYS[1], 'generation') ~= generation then return 0 end\n", ""),
        ("plan", "if redis.call('HGET', KEYS[2], 'generation') == generation then return 0 end\n", ""),
        ("plan", "redis.call('DEL', KEYS[2])\n", ""),
        ("plan", "tell(KEYS[3], 'changed', 'planned')\n", ""),
        ("leave", "if gone == 1 then", "if true then"),
        ("leave", "local gone = redis.call('HDEL', KEYS[1], 'm:' .. ARGV[1])", "local gone = 1"),
    ],
)
async def test_gate_a_script_without_this_guard_is_found_out(
    monkeypatch: pytest.MonkeyPatch, what: str, guard: str, instead: str
) -> None:
    mutate([(what, guard, instead)], monkeypatch.setattr)
    async with open_broker(ServerConfig("embedded://")) as broker:
        found = await disagreement(broker)
    assert found is not None
    assert found[0] == what
