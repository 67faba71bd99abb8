"""Tables: what a commit writes, what others write and read, and that neither is lost over the other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
import trio
from fault_app import mutate
from redis import Redis

from runnel_trio._broker import open_broker
from runnel_trio._broker._memory import _ownership
from runnel_trio._broker._memory._broker import MemoryBroker
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
    ServerConfig,
    StreamSpec,
    TableWrites,
)
from runnel_trio._rules._commit import judge
from runnel_trio._rules._tables import TableValue, entry_field
from runnel_trio.constants import Overflow

ORDERS = StreamSpec(
    app="app", name="orders", partition_count=1, record="Order", hasher="blake3", partition_size=100,
    overflow=Overflow.BLOCK,
)  # fmt: skip
OUT = attrs.evolve(ORDERS, name="out", partition_size=1)
BILL = ProcessorSpec(stream=ORDERS, name="bill")
ADA, BOB = entry_field(b"sAda"), entry_field(b"sBob", b"i7")
MADE = CommitOutcome.COMMITTED


async def prepared(broker: Broker) -> Lease:
    await broker.append(ORDERS, {0: Batch((b"data",), [b"x"] * 5, [b"%d-0" % n for n in range(1, 6)])})
    return (await granted(broker)).lease


async def granted(broker: Broker) -> Acquired:
    (found,) = await broker.acquire(BILL, "me", {0: None})
    assert isinstance(found, Acquired)
    return found


def value(text: bytes, deadline: int = 0) -> bytes:
    return TableValue((b"data", text), deadline).packed


def writes(changes: Mapping[bytes, bytes | None], name: str = "accounts", **more: Any) -> TableWrites:
    return TableWrites(name, changes, **more)


def writing(lease: Lease, number: int, *tables: TableWrites, touched: int | None = 0, **more: Any) -> Commit:
    ids = b"%d-0" % (number - 1), b"%d-0" % number
    return Commit(lease, number, *ids, number, b"5-0", tables=tables, touched=touched, **more)


async def stored(broker: Broker, name: str = "accounts", *fields: bytes) -> list[bytes | None]:
    read = await broker.read_tables(BILL, {0: {name: fields or (ADA, BOB)}})
    return list(read.values[0][name])


async def counted(broker: Broker, name: str = "accounts") -> int:
    return (await broker.read_tables(BILL, {0: {name: ()}})).counts[0][name]


async def test_entries_are_written_and_deleted_with_the_commits_that_say_so(broker: Broker) -> None:
    lease = await prepared(broker)
    assert await stored(broker) == [None, None]
    one, two, other = value(b"1"), value(b"2"), value(b"other")
    tables = writes({ADA: one, BOB: two}), writes({ADA: other}, "others")
    assert await broker.commit(BILL, [writing(lease, 1, *tables)]) == [MADE]
    assert await stored(broker) == [one, two]
    assert await stored(broker, "others") == [other, None]
    assert (await counted(broker), await counted(broker, "others")) == (2, 1)
    assert await broker.commit(BILL, [writing(lease, 2, writes({ADA: two, BOB: None}))]) == [MADE]
    assert await stored(broker) == [two, None]
    assert await counted(broker) == 1
    assert await broker.table_names(BILL, 0) == ["accounts", "others"]


async def test_a_commit_says_of_each_kind_what_it_stores(broker: Broker) -> None:
    """Outputs and tables each find their keys and their arguments behind the others'."""
    lease = await prepared(broker)
    rows = [Output(OUT, 0, Batch((b"data",), [b"y"]))]
    tables = writes({ADA: value(b"1")}), writes({BOB: value(b"2")}, "others")
    assert await broker.commit(BILL, [writing(lease, 1, *tables, outputs=rows)]) == [MADE]
    assert [fields for _, fields in await broker.entries(OUT, 0)] in ([(b"data", b"y")], [[b"data", b"y"]])
    assert await stored(broker, "others") == [None, value(b"2")]


async def test_a_repeated_commit_writes_nothing(broker: Broker) -> None:
    lease = await prepared(broker)
    first = writing(lease, 1, writes({ADA: value(b"1")}))
    assert await broker.commit(BILL, [first]) == [MADE]
    assert await broker.commit(BILL, [writing(lease, 2, writes({ADA: value(b"2")}))]) == [MADE]
    assert await broker.commit(BILL, [first]) == [CommitOutcome.REWOUND]
    again = writing(lease, 2, writes({ADA: value(b"3")}))
    assert await broker.commit(BILL, [again]) == [MADE], "it was made"
    assert await stored(broker) == [value(b"2"), None]


@pytest.mark.parametrize("stale", ["owner", "full", "cursor"])
async def test_what_is_refused_writes_nothing(broker: Broker, stale: str) -> None:
    lease = await prepared(broker)
    rows = [Output(OUT, 0, Batch((b"data",), [b"y", b"y"]))] if stale == "full" else []
    held = attrs.evolve(lease, owner="another") if stale == "owner" else lease
    commit = writing(held, 1, writes({ADA: value(b"1")}), outputs=rows)
    if stale == "cursor":
        commit = attrs.evolve(commit, previous=b"4-0")
    (outcome,) = await broker.commit(BILL, [commit])
    expected = {"owner": CommitOutcome.FENCED, "full": CommitOutcome.FULL, "cursor": CommitOutcome.REWOUND}
    assert outcome is expected[stale]
    assert await stored(broker) == [None, None]
    assert await broker.table_names(BILL, 0) == []


@pytest.mark.parametrize(("there", "believed"), list(itertools.product([0, 1, 2], [None, 0, 1, 2])))
async def test_a_commit_is_made_only_if_nobody_has_written_since_its_owner_began_to_read(
    broker: Broker, there: int, believed: int | None
) -> None:
    lease = await prepared(broker)
    for n in range(there):
        assert await broker.write_table(BILL, 0, writes({BOB: value(b"%d" % n)})) is MADE
    (outcome,) = await broker.commit(BILL, [writing(lease, 1, writes({ADA: value(b"1")}), touched=believed)])
    refused = believed is not None and believed != there
    assert outcome is (CommitOutcome.TOUCHED if refused else MADE)
    assert (await stored(broker))[0] == (None if refused else value(b"1"))
    assert (await granted(broker)).touched == there, "what the next owner is told"


async def test_others_write_and_delete(broker: Broker) -> None:
    assert await broker.write_table(BILL, 0, writes({ADA: value(b"1"), BOB: value(b"2")})) is MADE
    assert await stored(broker) == [value(b"1"), value(b"2")]
    assert await broker.write_table(BILL, 0, writes({ADA: None})) is MADE
    assert await stored(broker) == [None, value(b"2")]


async def test_others_write_nothing_to_a_former_layout(broker: Broker) -> None:
    await broker.declare(ORDERS)
    await broker.repartition(ORDERS, 2)
    assert await broker.write_table(BILL, 0, writes({ADA: value(b"1")})) is CommitOutcome.SEALED
    assert await stored(broker) == [None, None]
    now = attrs.evolve(BILL, stream=ORDERS.laid_out(2, 2))
    assert await broker.write_table(now, 0, writes({ADA: value(b"1")})) is MADE


async def test_all_of_a_large_table_is_written_scanned_and_deleted(broker: Broker) -> None:
    lease = await prepared(broker)
    many: dict[bytes, bytes | None] = {entry_field(b"i%d" % n): value(b"%d" % n) for n in range(10_000)}
    assert await broker.commit(BILL, [writing(lease, 1, writes(many))]) == [MADE]
    found: dict[bytes, bytes] = {}
    cursor = b""
    while cursor != b"0":
        cursor, page = await broker.scan_table(BILL, 0, "accounts", cursor or b"0")
        found |= dict(page)
    assert found == many
    assert await broker.commit(BILL, [writing(lease, 2, writes(dict.fromkeys(many)))]) == [MADE]
    assert await counted(broker) == 0


@pytest.mark.parametrize("key", [b"", b"s", b"b\x00\xff\n", b"s12:34 5", b"s" * 70_000])
async def test_a_key_may_be_of_any_bytes(broker: Broker, key: bytes) -> None:
    lease, field = await prepared(broker), entry_field(key, key)
    commit = writing(lease, 1, writes({field: value(b"\x00\r\n")}, expires=True))
    assert await broker.commit(BILL, [commit]) == [MADE]
    assert await stored(broker, "accounts", field) == [value(b"\x00\r\n")]


async def test_what_is_over_is_not_read_and_goes_with_later_commits(broker: Broker) -> None:
    lease = await prepared(broker)
    now = (await broker.read_tables(BILL, {0: {"accounts": ()}})).now
    assert abs(now / 1000 - await broker.time()) < 60
    over = {entry_field(b"i%d" % n): value(b"x", 1) for n in range(150)}
    later = {ADA: value(b"1", now + 3_600_000), BOB: value(b"2")}
    assert await broker.commit(BILL, [writing(lease, 1, writes(over | later, expires=True))]) == [MADE]
    assert await counted(broker) == 52, "a hundred at a time"
    assert await stored(broker, "accounts", *list(over)[:3], ADA, BOB) == [None, None, None, *later.values()]
    assert await broker.commit(BILL, [writing(lease, 2, writes({}, expires=True))]) == [MADE]
    assert await counted(broker) == 2
    assert await stored(broker) == list(later.values())


async def test_a_deadline_of_a_value_before_removes_nothing(broker: Broker) -> None:
    """Also where a version of the code without a ttl has written in between."""
    lease = await prepared(broker)
    assert await broker.commit(
        BILL, [writing(lease, 1, writes({ADA: value(b"1", 1 << 50)}, expires=True))]
    ) == [MADE]
    assert await broker.commit(BILL, [writing(lease, 2, writes({ADA: value(b"2")}))]) == [MADE]
    if isinstance(broker, MemoryBroker):
        broker.store.log_of(ORDERS, 0).tables["bill"]["accounts"].due = [(1, ADA)]
    else:
        with Redis.from_url(broker.url) as client:
            await trio.to_thread.run_sync(client.zadd, _keys.due(BILL, 0, "accounts"), {ADA: 1})
    assert await broker.commit(BILL, [writing(lease, 3, writes({}, expires=True))]) == [MADE]
    assert await stored(broker) == [value(b"2"), None]


async def test_what_is_forgotten_is_gone_with_its_tables(broker: Broker) -> None:
    lease = await prepared(broker)
    assert await broker.commit(
        BILL, [writing(lease, 1, writes({ADA: value(b"1", 1 << 50)}, expires=True))]
    ) == [MADE]
    await broker.forget(BILL)
    assert await stored(broker) == [None, None]
    assert await broker.table_names(BILL, 0) == []
    if not isinstance(broker, MemoryBroker):
        with Redis.from_url(broker.url) as client:
            assert await trio.to_thread.run_sync(client.keys, "*bill*") == []


async def test_entries_are_copied_only_to_where_nobody_has_owned_or_written(broker: Broker) -> None:
    copied = writes({ADA: value(b"1")})
    assert await broker.copy_table(BILL, 0, copied)
    assert await broker.copy_table(BILL, 0, copied), "again, by the next owner"
    lease = await prepared(broker)
    assert not await broker.copy_table(BILL, 0, writes({ADA: value(b"2")}))
    assert await stored(broker) == [value(b"1"), None]
    assert not await broker.drop_tables(BILL, attrs.evolve(lease, epoch=1), ["accounts"])
    assert await stored(broker) == [value(b"1"), None]
    assert await broker.drop_tables(BILL, lease, ["accounts"])
    assert await stored(broker) == [None, None]
    assert await broker.table_names(BILL, 0) == []


async def test_a_late_copy_brings_nothing_back_that_somebody_has_deleted(broker: Broker) -> None:
    assert await broker.copy_table(BILL, 0, writes({ADA: value(b"1")}))
    assert await broker.write_table(BILL, 0, writes({ADA: None})) is MADE
    assert not await broker.copy_table(BILL, 0, writes({ADA: value(b"1")}))
    assert await stored(broker) == [None, None]


@pytest.fixture
async def server() -> Any:
    async with open_broker(ServerConfig("embedded://")) as broker:
        yield broker


async def test_a_server_without_memory_takes_no_entry_and_lets_deletions_pass(server: Broker) -> None:
    await runs_out_of_memory(server)


async def runs_out_of_memory(broker: Broker) -> None:
    lease = await prepared(broker)
    assert await broker.commit(BILL, [writing(lease, 1, writes({ADA: value(b"1"), BOB: value(b"1")}))]) == [
        MADE
    ]
    with Redis.from_url(broker.url) as client:
        await trio.to_thread.run_sync(client.config_set, "maxmemory", "100kb")
        grows = writing(lease, 2, writes({ADA: value(b"2")}))
        assert await broker.commit(BILL, [grows]) == [CommitOutcome.FULL]
        assert await broker.write_table(BILL, 0, writes({ADA: value(b"2")})) is CommitOutcome.FULL
        assert await broker.write_table(BILL, 0, writes({BOB: None})) is MADE
        shrinks = writing(lease, 2, writes({ADA: None}), touched=1)
        assert await broker.commit(BILL, [shrinks]) == [MADE]
        assert await broker.commit(BILL, [writing(lease, 3, touched=1)]) == [MADE], "nothing of tables"
        await trio.to_thread.run_sync(client.config_set, "maxmemory", "0")
        grows = writing(lease, 4, writes({ADA: value(b"2")}), touched=1)
        assert await broker.commit(BILL, [grows]) == [MADE]


async def test_a_write_from_outside_that_is_said_twice_is_made_once(server: Broker, monkeypatch: Any) -> None:
    await writes_twice(server, monkeypatch)


async def writes_twice(server: Broker, monkeypatch: Any) -> None:
    """Its answer was lost, and the owner has committed upon it."""
    lease = await prepared(server)
    real, lost = type(server).ask, []

    async def ask(self: Any, calls: Any, **more: Any) -> Any:
        replies = await real(self, calls, **more)
        if not lost and getattr(calls[0], "script", "") == "write_table":
            lost.append(replies)
            commit = writing(lease, 1, writes({ADA: value(b"upon it")}), touched=1)
            assert await server.commit(BILL, [commit]) == [MADE]
            return await real(self, calls, **more)
        return replies

    monkeypatch.setattr(type(server), "ask", ask)
    assert await server.write_table(BILL, 0, writes({ADA: value(b"from outside")})) is MADE
    assert await stored(server) == [value(b"upon it"), None]
    assert (await granted(server)).touched == 1


async def test_the_stored_keys_are_these(server: Broker) -> None:
    """What is stored is read by the versions of years to come: see docs/reference/formats."""
    lease = await prepared(server)
    due = value(b"{}", 1 << 50)
    await server.commit(BILL, [writing(lease, 1, writes({ADA: due, BOB: value(b"{}")}, expires=True))])
    await server.write_table(BILL, 0, writes({BOB: None}))
    with Redis.from_url(server.url) as client:
        table = await trio.to_thread.run_sync(client.hgetall, "runnel:{app:0}:orders:table:bill:accounts")
        deadlines = await trio.to_thread.run_sync(
            lambda: client.zrange("runnel:{app:0}:orders:due:bill:accounts", 0, -1, withscores=True)
        )
        held = await trio.to_thread.run_sync(client.hgetall, "runnel:{app:0}:orders:lease:bill")
    assert table == {b"4:sAda": b"\x01\x00\x04\x00\x00\x00\x00\x00\x00\x01{}"}
    assert [tuple(x) for x in deadlines] == [(b"4:sAda", float(1 << 50))]
    assert (held[b"table:accounts"], held[b"touched"], len(held[b"writes"])) == (b"1", b"1", 13)


@pytest.mark.parametrize("is_compared", [True, False])
async def test_without_a_look_at_who_has_written_a_write_from_outside_is_lost(
    monkeypatch: pytest.MonkeyPatch, is_compared: bool
) -> None:
    if not is_compared:
        monkeypatch.setattr(_ownership, "judge", lambda *x, **more: judge(*x, **{**more, "touched": None}))
    broker = MemoryBroker()
    lease = await prepared(broker)
    await broker.write_table(BILL, 0, writes({ADA: value(b"from outside")}))
    await broker.commit(BILL, [writing(lease, 1, writes({ADA: value(b"read before that")}))])
    assert (await stored(broker))[0] == value(b"from outside" if is_compared else b"read before that")


Gate = tuple[list[tuple[str, str, str]], Callable[..., Any]]
GATES = {
    "who has written": (
        [("commit", "if ARGV[11] ~= '' and (held[4] or '0') ~= ARGV[11] then return 'TOUCHED' end", "")],
        lambda broker: test_a_commit_is_made_only_if_nobody_has_written_since_its_owner_began_to_read(broker, 1, 0),
    ),
    "fence": (
        [("commit", "if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return 'FENCED' end", "")],
        lambda broker: test_what_is_refused_writes_nothing(broker, "owner"),
    ),
    "cursor": (
        [("commit", "if group['last-delivered-id'] ~= ARGV[5] then return 'REWOUND' end", "")],
        lambda broker: test_what_is_refused_writes_nothing(broker, "cursor"),
    ),
    "number": (
        [
            ("commit", "if made == number then return 'COMMITTED' end", ""),
            ("commit", "if made ~= number - 1 then return 'REWOUND' end", ""),
            ("commit", "if group['last-delivered-id'] ~= ARGV[5] then return 'REWOUND' end", ""),
        ],
        test_a_repeated_commit_writes_nothing,
    ),
    "memory": ([("commit", "if #tables > 0 and lack_room(tables) then return 'FULL' end", "")], runs_out_of_memory),
    "memory for others": ([("write_table", "if lack_room(tables) then return 'FULL' end", "")], runs_out_of_memory),
    "deletions pass": ([("commit", "grow = grow or ARGV[at + 2] ~= ''", "grow = true")], runs_out_of_memory),
    "a former layout": (
        [("write_table", "if layout > tonumber(ARGV[2]) then return 'SEALED' end", "")],
        test_others_write_nothing_to_a_former_layout,
    ),
    "nobody has owned it": (
        [("copy_table", "held[1] or held[2]", "held[2]")],
        test_entries_are_copied_only_to_where_nobody_has_owned_or_written,
    ),
    "nobody has written": (
        [("copy_table", "held[1] or held[2]", "held[1]")],
        test_a_late_copy_brings_nothing_back_that_somebody_has_deleted,
    ),
    "the lease": (
        [("drop_tables", "if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return 0 end", "")],
        test_entries_are_copied_only_to_where_nobody_has_owned_or_written,
    ),
    "the deadline of the value": (
        [("commit", "if deadline > 0 and deadline <= now then", "if value then")],
        test_a_deadline_of_a_value_before_removes_nothing,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GATES)
async def test_gate_a_script_without_this_guard_is_found_out(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    mutations, found_by = GATES[name]
    mutate(mutations, monkeypatch.setattr)
    async with open_broker(ServerConfig("embedded://")) as broker:
        with pytest.raises(AssertionError):
            await found_by(broker)


async def test_gate_a_script_that_does_not_remember_writes_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    guard = "if string.find(' ' .. writes .. ' ', ' ' .. ARGV[1] .. ' ', 1, true) then return 'COMMITTED' end"
    mutate([("write_table", guard, "")], monkeypatch.setattr)
    async with open_broker(ServerConfig("embedded://")) as broker:
        with pytest.raises(AssertionError):
            await writes_twice(broker, monkeypatch)
