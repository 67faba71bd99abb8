"""One table of states, and one rule: what `_rules/_drained` says of each, _behind.lua and the memory broker do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
from fault_app import mutate
from redis import Redis

from runnel_trio._broker import open_broker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Group, Log
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._replies import quarantine_text
from runnel_trio._broker._values import (
    OutboxRecord,
    ParkedChange,
    ProcessorSpec,
    Quarantine,
    ServerConfig,
    StreamSpec,
    TableWrites,
)
from runnel_trio._rules._cursor import ORIGIN, LogState
from runnel_trio._rules._drained import holds_up, is_behind, is_needed, lag
from runnel_trio._rules._parked import Head
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import BrokerRefused

ORDERS = StreamSpec(
    app="app", name="orders", partition_count=1, record="Order", hasher="blake3", partition_size=100,
    overflow=Overflow.BLOCK,
)  # fmt: skip
BILL = ProcessorSpec(stream=ORDERS, name="bill")
ADDED = 5
WHY = Quarantine(
    partition=0, first=b"1-0", last=b"1-0", count=0, error="a pause", traceback="",
    time="2026-01-01T00:00:00+00:00", member="m",
)  # fmt: skip
#: Of the entries 1-0 to 5-0, those that are there; none may also mean that nothing was ever stored.
LOGS: list[Collection[int]] = [(), range(1, 6), range(3, 6), range(1, 5), range(2, 6), (2, 4)]
CURSORS = [None, 0, 2, 4, 5, 9]


@attrs.frozen
class State:
    """What a server holds; cursors are of `bill` and of another group, the count is the first one's."""

    there: Collection[int]
    added: int
    cursor: int | None
    counts: bool
    other: int | None
    stands_still: bool
    has_parked: bool
    has_outbox: bool
    has_tables: bool
    sealed: bool

    def log_state(self) -> LogState:
        first, newest = (b"%d-0" % x for x in ((min(self.there), max(self.there)) if self.there else (0, 0)))
        return LogState(
            cursor=xid(self.cursor), entries_read=self.read, length=len(self.there), entries_added=self.added,
            last_id=xid(self.added), max_deleted=ORIGIN, first_id=first, newest=newest,
        )  # fmt: skip

    @property
    def read(self) -> int:
        return min(self.added, self.cursor or 0) if self.counts else -1


#: Whether it stands still, whether keys are parked, and whether there is anything in the outbox, and in tables.
STOPS = [tuple(x is what for x in range(4)) for what in (None, 0, 1, 2, 3)]

STATES = [
    State(there, added, cursor, counts, other, *stops, sealed)
    for there, added, cursor, counts, other, stops, sealed in itertools.product(
        LOGS, (0, ADDED), CURSORS, (True, False), (None, 2, 5), STOPS, (True, False)
    )
    if (added or not there) and (counts or (cursor is not None and sealed and other is None))
]


def xid(number: int | None) -> bytes:
    return b"%d-0" % (number or 0)


def in_memory(broker: MemoryBroker, state: State) -> None:
    log = Log(ids=[(x, 0) for x in state.there], added=state.added, last_id=(state.added, 0))
    log.entries = [(xid(x), (b"data", b"x")) for x in state.there]
    if state.cursor is not None:
        log.groups["bill"] = Group(xid(state.cursor), state.read)
    if state.other is not None:
        log.groups["other"] = Group(xid(state.other), state.other)
    if state.stands_still:
        log.quarantines["bill"] = WHY
    if state.has_parked:
        log.change_parked("bill", [ParkedChange(b"sAda", None, Head())])
    if state.has_outbox:
        log.outbox("bill").append(OutboxRecord("out", 0, (), b"1-0"))
    if state.has_tables:
        log.write_tables("bill", [TableWrites("accounts", {b"4:sAda": b"x" * 10})], 0)
    broker.store.logs[broker.log_key(ORDERS, 0)] = log
    broker.store.switched["app", "orders", 0] = 1 + state.sealed


def on_a_server(client: Redis, state: State) -> None:
    key, why, keys = _keys.log(ORDERS, 0), _keys.quarantine(BILL, 0), _keys.parked_keys(BILL, 0)
    outbox, lease = _keys.outbox(BILL, 0), _keys.lease(BILL, 0)
    with client.pipeline() as pipe:
        pipe.delete(key, why, keys, outbox, lease)
        for number in range(1, state.added + 1):
            pipe.xadd(key, {"data": "x"}, id=xid(number))
        gone = set(range(1, state.added + 1)) - set(state.there)
        if gone:
            pipe.xdel(key, *map(xid, gone))
        if state.cursor is not None:
            read = state.read if state.counts else None
            pipe.xgroup_create(key, "bill", xid(state.cursor), mkstream=True, entries_read=read)
        if state.other is not None:
            pipe.xgroup_create(key, "other", xid(state.other), mkstream=True, entries_read=state.other)
        if state.stands_still:
            pipe.set(why, quarantine_text(WHY))
        if state.has_parked:
            pipe.hset(keys, "sAda", "1 0 0 0 0 0 {}")
        if state.has_outbox:
            pipe.xadd(outbox, {"to": "out", "hash": 0, "entry": ""}, id="1-0")
        if state.has_tables:
            pipe.hset(lease, "table:accounts", "1")
        pipe.hset(_keys.producers(ORDERS, 0), "layout", 1 + state.sealed)
        pipe.execute()


@contextmanager
def arranged(broker: Broker) -> Iterator[Callable[[State], Any]]:
    """What puts a server into a state, behind the broker's back."""
    if isinstance(broker, MemoryBroker):
        yield lambda state: in_memory(broker, state)
    else:
        with Redis.from_url(broker.url) as client:
            yield lambda state: on_a_server(client, state)


async def disagreement(broker: Broker) -> tuple[str, State] | None:
    """What a broker does otherwise than the rule says, and in which state."""
    with arranged(broker) as put:
        for state in STATES:
            put(state)
            if await examined(broker) != examined_by(state):
                return "log_states", state
            if (await broker.undrained(BILL) == [0]) is not stays(state):
                return "undrained", state
            for processors in ([], ["bill"]):
                put(state)
                if (await broker.discard(ORDERS, processors) == []) is not may_go(state, processors):
                    return "discard", state
    return None


async def examined(broker: Broker) -> tuple[bool, int] | None:
    (state,) = await broker.log_states(BILL, [0])
    return None if state is None else (is_behind(state), lag(state))


def examined_by(state: State) -> tuple[bool, int] | None:
    there = state.log_state()
    return None if state.cursor is None else (is_behind(there), lag(there))


def stays(state: State) -> bool:
    is_owing = state.has_parked or state.has_outbox or state.has_tables
    return holds_up(state.log_state(), stands_still=state.stands_still, is_owing=is_owing)


def may_go(state: State, processors: Collection[str]) -> bool:
    cursors = [xid(x) for x in (state.cursor, state.other) if x is not None]
    return state.sealed and not (processors and stays(state)) and not is_needed(state.log_state(), cursors)


async def test_each_state_is_judged_as_the_rule_judges_it(broker: Broker) -> None:
    assert await disagreement(broker) is None


@pytest.mark.parametrize(
    ("what", "guard", "instead", "told"),
    [
        ("undrained", "redis.call('EXISTS', quarantine, keys) > 0 or ", "", None),
        ("undrained", "redis.call('XLEN', outbox) > 0 or ", "", None),
        ("undrained", "redis.call('EXISTS', quarantine, keys)", "redis.call('EXISTS', quarantine)", None),
        ("undrained", "redis.call('EXISTS', quarantine, keys)", "redis.call('EXISTS', keys)", None),
        ("undrained", "has_tables(lease)\n    or ", "", None),
        ("undrained", "string.sub(held[at], 1, 6) == 'table:'", "false", None),
        ("undrained", "or '0-0', newest[1])", "or newest[1], newest[1])", None),
        ("undrained", "id_before(group and group['last-delivered-id'] or '0-0', newest[1])", "true", None),
        ("undrained", "group and group['last-delivered-id'] or", "group['last-delivered-id'] or", "index"),
        ("undrained", "newest and id_before", "id_before", "index"),
        ("undrained", "if type_of(log) == 'none' then return false end", "", "no such key"),
        (
            "discard",
            "if tonumber(redis.call('HGET', KEYS[2], 'layout') or '1') <= ",
            "if 2 < 1 and 0 <= ",
            None,
        ),
        (
            "discard",
            "if holds_up(KEYS[1], KEYS[at], KEYS[at + 2], KEYS[at + 4], KEYS[at + 1], ARGV[i]) then return 0 end",
            "",
            None,
        ),
        ("discard", "if is_needed(KEYS[1]) then return 0 end", "", None),
        ("discard", "if is_behind(log, as_table(flat)['name']) then return true end", "", None),
        ("discard", "return #groups == 0 and is_behind(log, '')", "return false", None),
        ("log_states", "last and last[1] or '0-0'", "'0-0'", None),
    ],
)
async def test_gate_a_script_without_this_guard_is_found_out(
    monkeypatch: pytest.MonkeyPatch, what: str, guard: str, instead: str, told: str | None
) -> None:
    mutate([(what, guard, instead)], monkeypatch.setattr)
    async with open_broker(ServerConfig("embedded://")) as broker:
        if told is not None:
            with pytest.raises(BrokerRefused, match=told):
                await disagreement(broker)
            return
        found = await disagreement(broker)
    assert found is not None
    assert found[0] == what
