"""One table of states, and one rule: what `_rules/_commit` says of each, commit.lua and the memory broker do."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
import trio
from redis import Redis

from runnel_trio._broker._memory import _ownership
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Group
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._values import (
    Acquired,
    Batch,
    Commit,
    CommitOutcome,
    Lease,
    Output,
    ProcessorSpec,
    StreamSpec,
)
from runnel_trio._rules._ahead import read_ahead, write_ahead
from runnel_trio._rules._commit import Stored, judge
from runnel_trio.constants import Overflow

ORDERS = StreamSpec(
    app="app", name="orders", partition_count=1, record="Order", hasher="blake3", partition_size=100,
    overflow=Overflow.BLOCK,
)  # fmt: skip
OUT = attrs.evolve(ORDERS, name="out")
BILL = ProcessorSpec(stream=ORDERS, name="bill")
IDS = [b"%d-0" % n for n in range(1, 6)]
#: What the server may hold beside what the commit of number 3 expects, which moves the cursor from 2-0 to 4-0.
OWNERS = ["me", "another", ""]
EPOCHS = [0, 1]
NUMBERS = [0, 1, 2, 3, 4]
CURSORS = [None, b"0-0", b"2-0", b"3-0", b"4-0"]
#: The new cursor, and how many entries stand at or before it: in the log, not known, behind the log's end.
MOVES = [(b"4-0", 4), (b"4-0", -1), (b"9-0", 9), (b"9-0", -1), (b"2-0", 2)]


@attrs.frozen
class State:
    owner: str
    epoch: int
    number: int
    cursor: bytes | None


#: The highest id done ahead: none, in the log, behind its end.
HIGHEST = [b"", b"5-0", b"5-1"]

STATES = [State(*x) for x in itertools.product(OWNERS, EPOCHS, NUMBERS, CURSORS)]


def expected(state: State, last: bytes, read: int, highest: bytes) -> CommitOutcome:
    stored = Stored(
        owner=state.owner,
        epoch=state.epoch,
        number=state.number,
        cursor=state.cursor,
        entries_added=len(IDS),
        last_id=IDS[-1],
    )
    commit = {"owner": "me", "epoch": 0, "number": 3, "previous": b"2-0", "last": last, "entries_read": read}
    return judge(stored, **commit, highest=highest) or CommitOutcome.COMMITTED  # type: ignore[arg-type]  # these are its names


def in_memory(broker: MemoryBroker) -> Callable[[State, Lease], None]:
    log = broker.store.log(broker.log_key(ORDERS, 0))

    def put(state: State, lease: Lease) -> None:
        holding = log.lease(BILL)
        holding.owner, holding.epoch, holding.commit = state.owner, lease.epoch + state.epoch, state.number
        log.groups.pop("bill", None)
        if state.cursor is not None:
            log.groups["bill"] = Group(state.cursor, int(state.cursor.split(b"-")[0]))

    return put


def on_a_server(client: Redis) -> Callable[[State, Lease], None]:
    key = _keys.log(ORDERS, 0)

    def put(state: State, lease: Lease) -> None:
        fields: Any = {"owner": state.owner, "epoch": lease.epoch + state.epoch, "commit": state.number}
        client.hset(_keys.lease(BILL, 0), mapping=fields)
        client.xgroup_destroy(key, "bill")
        if state.cursor is not None:
            read = int(state.cursor.split(b"-")[0])
            client.xgroup_create(key, "bill", state.cursor, entries_read=read)

    return put


@contextmanager
def arranged(broker: Broker) -> Iterator[Callable[[State, Lease], None]]:
    """What puts a server into a state, behind the broker's back."""
    if isinstance(broker, MemoryBroker):
        yield in_memory(broker)
        return
    with Redis.from_url(broker.url) as client:
        yield on_a_server(client)


async def prepared(broker: Broker) -> Lease:
    await broker.append(ORDERS, {0: Batch((b"data",), [b"x"] * len(IDS), IDS)})
    (granted,) = await broker.acquire(BILL, "me", {0: None})
    assert isinstance(granted, Acquired)
    return granted.lease


@pytest.mark.parametrize("highest", HIGHEST)
@pytest.mark.parametrize(("last", "read"), MOVES)
async def test_each_state_has_the_outcome_of_the_rule_and_outputs_only_when_it_is_made(
    broker: Broker, last: bytes, read: int, highest: bytes
) -> None:
    lease = await prepared(broker)
    outputs = [Output(OUT, 0, Batch((b"data",), [b"y"]))]
    commit = Commit(lease, 3, b"2-0", last, read, last, outputs, highest=highest)
    stored = 0
    with arranged(broker) as put:
        for state in STATES:
            await in_thread(broker, put, state, lease)
            (outcome,) = await broker.commit(BILL, [commit])
            assert outcome is expected(state, last, read, highest), state
            stored += outcome is CommitOutcome.COMMITTED and state.number != 3
            assert len(await broker.entries(OUT, 0)) == stored, state


async def in_thread(broker: Broker, put: Callable[[State, Lease], None], *state: Any) -> None:
    if isinstance(broker, MemoryBroker):
        put(*state)
    else:
        await trio.to_thread.run_sync(put, *state)


async def test_a_commit_that_moves_nothing_stores_its_outputs_once(broker: Broker) -> None:
    lease = await prepared(broker)
    first = Commit(lease, 1, b"0-0", b"2-0", 2, b"5-0")
    still = Commit(lease, 2, b"2-0", b"2-0", 2, b"5-0", [Output(OUT, 0, Batch((b"data",), [b"y"]))])
    for commit in (first, still, still):
        assert await broker.commit(BILL, [commit]) == [CommitOutcome.COMMITTED]
    assert len(await broker.entries(OUT, 0)) == 1


async def test_a_new_epoch_counts_anew(broker: Broker) -> None:
    await broker.commit(BILL, [Commit(await prepared(broker), 1, b"0-0", b"2-0", 2, b"5-0")])
    (granted,) = await broker.acquire(BILL, "me", {0: None})
    assert isinstance(granted, Acquired)
    commit = Commit(granted.lease, 1, b"2-0", b"3-0", 3, b"5-0")
    assert await broker.commit(BILL, [commit]) == [CommitOutcome.COMMITTED]


#: What the lease says already, what a commit says, and what the lease says then.
SAID = b"2-0 1 1-0"
AHEADS = [(None, SAID), (b"", b""), (b"4-0 1 1-0", b"4-0 1 1-0")]


@pytest.mark.parametrize(("ahead", "then"), AHEADS)
@pytest.mark.parametrize(
    ("number", "epoch", "last", "highest", "outcome"),
    [
        (1, 0, b"4-0", b"", CommitOutcome.COMMITTED),
        (1, 0, b"4-0", b"5-0", CommitOutcome.COMMITTED),
        (1, 0, b"2-0", b"5-0", CommitOutcome.COMMITTED),  # nothing but what is ahead
        (1, 0, b"4-0", b"5-1", CommitOutcome.REWOUND),  # a failover has lost what was done ahead
        (1, 0, b"4-0", b"6-0", CommitOutcome.REWOUND),
        (3, 0, b"4-0", b"5-0", CommitOutcome.REWOUND),
        (1, -1, b"4-0", b"5-0", CommitOutcome.FENCED),
    ],
)
async def test_what_is_done_ahead_is_kept_with_the_commit_and_not_without_it(
    broker: Broker, number: int, epoch: int, last: bytes, highest: bytes, outcome: CommitOutcome, ahead: bytes | None,
    then: bytes,
) -> None:  # fmt: skip
    lease = await prepared(broker)
    assert await ahead_of(broker) == b""
    first = Commit(lease, 1, b"0-0", b"2-0", 2, b"5-0", ahead=SAID)
    assert await broker.commit(BILL, [first]) == [CommitOutcome.COMMITTED]
    stale = attrs.evolve(lease, epoch=lease.epoch + epoch)
    read = int(last.split(b"-")[0])
    commit = Commit(stale, number + 1, b"2-0", last, read, b"5-0", ahead=ahead, highest=highest)
    assert await broker.commit(BILL, [commit]) == [outcome]
    assert await ahead_of(broker) == (then if outcome is CommitOutcome.COMMITTED else SAID)


@pytest.mark.parametrize("is_looked_at", [True, False])
async def test_without_a_look_at_what_is_ahead_a_lossy_failover_would_skip_what_is_sent_after_it(
    monkeypatch: pytest.MonkeyPatch, is_looked_at: bool
) -> None:
    if not is_looked_at:
        monkeypatch.setattr(
            _ownership, "judge", lambda *given, **more: judge(*given, **{**more, "highest": b""})
        )
    broker = MemoryBroker()
    lease = await prepared(broker)
    log = broker.store.log(broker.log_key(ORDERS, 0))
    log.remove(b"5-0")
    log.last_id, log.added = (4, 0), 4
    ahead, _ = write_ahead(b"2-0", [(b"5-0", b"5-0", 1)])
    commit = Commit(lease, 1, b"0-0", b"2-0", 2, b"5-0", ahead=ahead, highest=b"5-0")
    (outcome,) = await broker.commit(BILL, [commit])
    await broker.append(ORDERS, {0: Batch((b"data",), [b"new"], [b"5-0"])})
    (granted,) = await broker.acquire(BILL, "me", {0: None})
    assert isinstance(granted, Acquired)
    is_skipped = b"5-0" in read_ahead(granted.ahead, granted.state.cursor)
    assert (outcome is CommitOutcome.REWOUND, is_skipped) == (is_looked_at, not is_looked_at)


async def test_a_repeated_commit_does_not_bring_back_what_was_done_ahead(broker: Broker) -> None:
    lease = await prepared(broker)
    first = Commit(lease, 1, b"0-0", b"2-0", 2, b"5-0", ahead=SAID)
    second = Commit(lease, 2, b"2-0", b"5-0", 5, b"5-0", ahead=b"")
    assert await broker.commit(BILL, [first]) == [CommitOutcome.COMMITTED]
    assert await broker.commit(BILL, [second]) == [CommitOutcome.COMMITTED]
    assert await broker.commit(BILL, [first]) == [CommitOutcome.REWOUND]
    assert await ahead_of(broker) == b""


async def test_a_commit_without_room_for_its_outputs_says_nothing_of_what_is_done_ahead(
    broker: Broker,
) -> None:
    lease = await prepared(broker)
    small = attrs.evolve(OUT, name="small", partition_size=1)
    rows = [Output(small, 0, Batch((b"data",), [b"y", b"y"]))]
    commit = Commit(lease, 1, b"0-0", b"2-0", 2, b"5-0", rows, SAID, b"5-0")
    assert await broker.commit(BILL, [commit]) == [CommitOutcome.FULL]
    assert await ahead_of(broker) == b""


async def test_a_rewind_removes_what_was_done_ahead_also_to_where_the_cursor_is(broker: Broker) -> None:
    lease = await prepared(broker)
    await broker.commit(
        BILL, [Commit(lease, 1, b"0-0", b"2-0", 2, b"5-0", ahead=b"2-0 1 2-0", highest=b"4-0")]
    )
    await broker.rewind(BILL, {0: b"2-0"}, dry_run=False)
    assert await ahead_of(broker) == b""
    following = Commit(lease, 2, b"2-0", b"3-0", 3, b"5-0")
    assert await broker.commit(BILL, [following]) == [CommitOutcome.REWOUND], "its owner must notice"


async def ahead_of(broker: Broker) -> bytes:
    """What the next owner would be given."""
    if isinstance(broker, MemoryBroker):
        return broker.store.log(broker.log_key(ORDERS, 0)).lease(BILL).ahead
    with Redis.from_url(broker.url) as client:
        return await trio.to_thread.run_sync(client.hget, _keys.lease(BILL, 0), "ahead") or b""
