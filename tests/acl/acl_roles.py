"""What senders, workers and operators ask of a server: every verb, and in each script every command."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._seen import Ending
from runnel_trio._broker._values import (
    SEALED,
    Acquired,
    AppSpec,
    Batch,
    Beat,
    Commit,
    CommitOutcome,
    Lease,
    Output,
    ParkedChange,
    ProcessorSpec,
    Quarantine,
    StreamSpec,
)
from runnel_trio._rules._cursor import ORIGIN
from runnel_trio._rules._parked import Facts, Head, facts_text, pack_entry
from runnel_trio.constants import Overflow

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "acl.rst"


def rules() -> dict[str, list[str]]:
    """The rule of each role, word by word, as the page has it for the app ``shop``."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^ +user shop-(\w+) (.*?)\n\n", text, re.MULTILINE | re.DOTALL)
    return {role: rule.replace("\\\n", " ").split() for role, rule in found}  # fmt: skip


Step: TypeAlias = Callable[[Broker, Any], Awaitable[None]]

ORDERS = StreamSpec(
    app="shop", name="orders", partition_count=2, record="Order", hasher="blake3", partition_size=3,
    overflow=Overflow.BLOCK,
)  # fmt: skip
RECENT = attrs.evolve(ORDERS, name="recent", overflow=Overflow.TRIM)
DEAD = attrs.evolve(ORDERS, name="dead")
BILL = ProcessorSpec(stream=ORDERS, name="bill")


def rows(*values: str) -> Batch:
    return Batch((b"data",), [value.encode() for value in values])


def why(number: int, xid: bytes = ORIGIN) -> Quarantine:
    return Quarantine(
        partition=number, first=xid, last=xid, count=1, time="2026-01-01T00:00:00+00:00", error="x", traceback="", member="w"
    )  # fmt: skip


async def declares(broker: Broker, admin: Any) -> None:
    for stream in (ORDERS, RECENT, DEAD):
        await broker.declare(stream)


async def sends(broker: Broker, admin: Any) -> None:
    # So many producers that have gone make one look who has.
    admin.hset(_keys.producers(ORDERS, 0), mapping={f"gone{n}": "1 1 0" for n in range(101)})
    await broker.append(ORDERS, {0: rows("a"), 1: rows("b")})
    await broker.append(ORDERS, {0: Batch((b"data",), [b"c"], [b"9999999999999-1"])})
    await broker.append(RECENT, {0: rows("a", "b", "c", "d")})
    await broker.replicated(ORDERS, [0, 1], 1, 0.01)


async def sends_to_a_full_partition(broker: Broker, admin: Any) -> None:
    admin.xgroup_create(_keys.log(ORDERS, 1), "old", "$", entries_read=1)
    await broker.append(ORDERS, {1: rows("a", "b", "c", "d")})


async def meets_a_change(broker: Broker, admin: Any) -> None:
    """Of partitions, that somebody has begun: it is completed by whoever meets it."""
    admin.xgroup_create(_keys.log(ORDERS, 0), "old", "$", entries_read=-1, mkstream=True)
    admin.hset(_keys.meta(ORDERS), "next", "2 3")
    new = (await broker.reconcile_layout(ORDERS)).current
    assert await broker.append(ORDERS, {0: rows("z")}) == {0: SEALED}  # fmt: skip
    assert await broker.append(new, {2: rows("z")}) == {2: 1}  # fmt: skip


async def goes_over(broker: Broker, admin: Any) -> None:
    assert await broker.layouts(ORDERS)
    await broker.undrained(BILL)
    await broker.acquire(attrs.evolve(BILL, stream=ORDERS.laid_out(2, 3)), "w", {2: None})


async def changes(broker: Broker, admin: Any) -> None:
    await broker.repartition(RECENT, 5)
    await broker.announce_layout(attrs.evolve(BILL, stream=RECENT))
    assert await broker.discard(RECENT, ["bill"]) == [0]


async def leads_and_joins(broker: Broker, admin: Any) -> None:
    for party in (AppSpec("shop"), BILL):
        admin.hset(_keys.members(party), mapping={"m:gone": "1 1 1 1 0 x"})
        view = await broker.beat(Beat(party=party, member="w", expiry=10, about="w"))
        await broker.members(party)
        if isinstance(party, ProcessorSpec):
            await broker.plan(party, view.generation, {"w": [0, 1]})
    pulse = broker.pulse()
    assert pulse is not None
    pulse.send([Beat(party=BILL, member="w", expiry=10, about="w")])
    pulse.close()


async def hears(broker: Broker, admin: Any) -> None:
    control = broker.control(BILL, 0.01)
    try:
        assert await control.read({0: ORIGIN}, 10)
    finally:
        await control.aclose()


async def works(broker: Broker, admin: Any) -> None:
    await broker.append(ORDERS, {0: rows("a", "b")})
    for number in (0, 1):
        (granted,) = await broker.acquire(BILL, "w", {number: None})
        assert isinstance(granted, Acquired)
        await broker.log_states(BILL, [number])
        reader = broker.reader(BILL, 0.01)
        try:
            found = await reader.read({number: ORIGIN}, 10)
        finally:
            await reader.aclose()
        await _handles(broker, granted.lease, [xid for xid, _ in found[number]] if found else [])


async def _handles(broker: Broker, lease: Lease, xids: list[bytes]) -> None:
    if xids:
        await broker.mark_attempt(BILL, lease, xids[0], 1)
        outputs = [Output(DEAD, lease.partition, rows("x")), Output(RECENT, lease.partition, rows("x"))]
        commit = Commit(lease, 1, ORIGIN, xids[0], 1, xids[0], outputs)
        assert await broker.commit(BILL, [commit]) == [CommitOutcome.COMMITTED]
        await broker.commit_replicated(BILL, [commit], 1, 0.01)
        unknown = Commit(lease, 2, xids[0], xids[-1], -1, xids[-1])
        await broker.commit(BILL, [unknown])
    if lease.partition:
        await broker.quarantine(BILL, lease, why(1))
        await broker.quarantined(BILL, [1])
    else:
        await broker.release(BILL, [lease])


async def parks(broker: Broker, admin: Any) -> None:
    """Two events of a key, one of which is handled later."""
    (granted,) = await broker.acquire(BILL, "w", {0: None})
    assert isinstance(granted, Acquired)
    lease, cursor, facts = granted.lease, granted.state.cursor, Facts(key="Ada", hash=0)
    packed = [pack_entry(b"1-1", [b"data", b"a"])] * 2
    aside = ParkedChange(b"sAda", None, Head(1, 2, 1, 1), packed, facts_text(facts))
    commit = Commit(lease, 1, cursor, cursor, -1, cursor, parked=[aside])
    assert await broker.commit(BILL, [commit]) == [CommitOutcome.COMMITTED]
    assert await broker.parked_heads(BILL, 0) == {b"sAda": Head(1, 2, 1, 1)}
    assert await broker.parked_entries(BILL, 0, b"sAda", 1, 2) == packed
    handled = Commit(
        lease, 2, cursor, cursor, -1, cursor, parked=[ParkedChange(b"sAda", aside.now, Head(2, 2))]
    )
    assert await broker.commit(BILL, [handled]) == [CommitOutcome.COMMITTED]
    await broker.parked_values(BILL, 0)
    assert await broker.move_parked(attrs.evolve(BILL, name="never"), 0, aside)
    await broker.release(BILL, [lease])


async def leaves(broker: Broker, admin: Any) -> None:
    for _ in range(2):
        await broker.ended("shop", Ending(error="ValueError: no"))
    await broker.leave(BILL, "w")


async def looks(broker: Broker, admin: Any) -> None:
    admin.xadd(_keys.log(ORDERS, 0), {"data": "a"})
    admin.xgroup_create(_keys.log(ORDERS, 0), "bill", "0", entries_read=0)
    admin.xadd(_keys.control(BILL), {"changed": "x"})
    admin.hset(_keys.meta(ORDERS), mapping={"partition_count": 2, "record": "Order", "hasher": "blake3"})
    assert [x.name for x in await broker.streams("shop")] == ["orders"]
    await broker.survey(ORDERS)
    await broker.members(BILL)
    await broker.members(AppSpec("shop"))
    admin.hset(_keys.members(BILL), mapping={"m:gone": "1 1 1 1 0 x"})
    assert (await broker.muster(BILL)).overdue
    admin.set(_keys.endings("shop"), '1000 {"error": "x"}')
    assert not (await broker.muster(AppSpec("shop"))).endings
    await broker.time()
    await broker.log_states(BILL, [0, 1])
    assert len(await broker.entries(ORDERS, 0)) == 1
    await broker.quarantined(BILL, [0, 1])
    reader = broker.reader(BILL, 0.01)  # inspect --follow
    try:
        assert await reader.read({0: ORIGIN}, 10)
    finally:
        await reader.aclose()


async def unparks(broker: Broker, admin: Any) -> None:
    held = ParkedChange(b"sAda", None, Head(), (), facts_text(Facts(key="Ada", hash=0)))
    assert await broker.change_parked(BILL, 0, [held]) == [True]
    assert await broker.parked_values(BILL, 0)
    await broker.parked_entries(BILL, 0, b"sAda", 1, 2)
    heads = await broker.parked_heads(BILL, 0)
    assert await broker.change_parked(BILL, 0, [ParkedChange(b"sAda", heads[b"sAda"], None)]) == [True]


async def operates(broker: Broker, admin: Any) -> None:
    ((xid, _),) = await broker.entries(ORDERS, 0)
    await broker.pause(BILL, [why(0, xid), why(1)])
    await broker.resume(BILL, why(0, xid), skip=True, outputs=[Output(DEAD, 0, rows("x"))])
    await broker.rewind(BILL, {0: ORIGIN, 1: b"$"}, dry_run=False)
    ((letter, _),) = await broker.entries(DEAD, 0)
    await broker.transfer(DEAD, 0, letter, Output(ORDERS, 0, rows("y")))
    await broker.remove(DEAD, 0, [b"1-1"])
    await broker.forget(BILL)


#: By role, in the order in which they are done.
STEPS: dict[str, list[Step]] = {
    "sender": [declares, sends, sends_to_a_full_partition, meets_a_change],
    "worker": [
        declares, sends, sends_to_a_full_partition, leads_and_joins, hears, works, parks, leaves, meets_a_change, goes_over
    ],
    "operator": [looks, declares, unparks, operates, sends, sends_to_a_full_partition, changes, meets_a_change],
}  # fmt: skip
