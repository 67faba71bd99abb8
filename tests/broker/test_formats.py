"""What is stored, byte by byte: docs/reference/formats says it, and the versions to come have to read it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
from redis import Redis

from runnel_trio._broker import open_broker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import (
    Acquired,
    Batch,
    Commit,
    CommitOutcome,
    ProcessorSpec,
    ServerConfig,
    StreamSpec,
    TableWrites,
)
from runnel_trio._rules._ahead import read_ahead, write_ahead
from runnel_trio._rules._tables import TableValue, entry_field
from runnel_trio.constants import Overflow

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "formats.rst"
ORDERS = StreamSpec(
    app="shop", name="orders", partition_count=4, record="Order", hasher="blake3", partition_size=100,
    overflow=Overflow.BLOCK,
)  # fmt: skip
BILL = ProcessorSpec(stream=ORDERS, name="bill")
LEASE = b"runnel:{shop:3}:orders:lease:bill"


@pytest.fixture
async def server() -> AsyncIterator[Broker]:
    async with open_broker(ServerConfig("embedded://")) as broker:
        yield broker


@pytest.fixture
def redis(server: Broker) -> Iterator[Redis]:
    with Redis.from_url(server.url) as client:
        yield client


async def owned(broker: Broker, member: str = "me") -> Acquired:
    (granted,) = await broker.acquire(BILL, member, {3: None})
    assert isinstance(granted, Acquired)
    return granted


async def test_a_lease_is_stored_as_the_page_says(server: Broker, redis: Redis) -> None:
    await server.append(ORDERS, {3: Batch((b"data",), [b"a", b"b"], [b"5-0", b"6-0"])})
    lease = (await owned(server)).lease
    await server.mark_attempt(BILL, lease, b"5-0", 2)
    acquired = {
        b"owner": b"me", b"epoch": b"%d" % lease.epoch, b"commit": b"0", b"unclean": b"0", b"attempts": b"5-0 2",
    }  # fmt: skip
    assert redis.hgetall(LEASE) == acquired
    await server.commit(BILL, [Commit(lease, 1, b"0-0", b"5-0", 1, b"6-0")])
    assert redis.hgetall(LEASE) == acquired | {b"commit": b"1", b"read_to": b"6-0", b"entries_read": b"1"}
    await server.release(BILL, [lease])
    assert redis.hgetall(LEASE) == {
        b"owner": b"", b"epoch": b"%d" % lease.epoch, b"commit": b"1", b"unclean": b"0", b"read_to": b"6-0",
        b"entries_read": b"1",
    }  # fmt: skip


async def test_a_lease_of_a_version_that_numbered_no_commits_is_read(server: Broker, redis: Redis) -> None:
    await server.append(ORDERS, {3: Batch((b"data",), [b"a", b"b"], [b"5-0", b"6-0"])})
    redis.xgroup_create("runnel:{shop:3}:orders:log", "bill", "5-0", entries_read=1)
    redis.hset(LEASE.decode(), mapping={"owner": "", "epoch": "7", "unclean": "0", "read_to": "6-0"})
    granted = await owned(server)
    assert (granted.state.cursor, granted.read_to, granted.clean) == (b"5-0", b"6-0", True)
    commit = Commit(granted.lease, 1, b"5-0", b"6-0", 2, b"6-0")
    assert await server.commit(BILL, [commit]) == [CommitOutcome.COMMITTED]


async def test_what_is_done_ahead_is_stored_as_the_page_says(server: Broker, redis: Redis) -> None:
    """And goes to the next owner as it is; an operator's rewind removes it."""
    ids = [b"1764330000000-5", b"1764330000003-0", b"1764330000005-2", b"1764330000023-0"]
    await server.append(ORDERS, {3: Batch((b"data",), [b"x"] * 4, ids)})
    runs = [(ids[1], ids[2], 2), (ids[3], ids[3], 1)]
    ahead, _ = write_ahead(ids[0], runs)
    assert ahead == b"1764330000000-5 3 3-0:2-2,18-0"
    assert ahead.decode() in PAGE.read_text(encoding="utf-8")
    lease = (await owned(server)).lease
    await server.commit(BILL, [Commit(lease, 1, b"0-0", ids[0], 1, ids[3], ahead=ahead, highest=ids[3])])
    assert redis.hget(LEASE, "ahead") == ahead
    assert (await owned(server)).ahead == ahead
    await server.rewind(BILL, {3: b"0-0"}, dry_run=True)
    assert redis.hget(LEASE, "ahead") == ahead
    await server.rewind(BILL, {3: b"0-0"}, dry_run=False)
    assert not redis.hexists(LEASE, "ahead")


async def test_what_is_done_ahead_belongs_to_its_cursor_only(server: Broker, redis: Redis) -> None:
    """Somebody sets the group's cursor by hand: what is behind it then is to be handled, all of it."""
    await server.append(ORDERS, {3: Batch((b"data",), [b"x"] * 4, [b"1-0", b"2-0", b"3-0", b"4-0"])})
    lease = (await owned(server)).lease
    ahead, _ = write_ahead(b"1-0", [(b"3-0", b"4-0", 2)])
    await server.commit(BILL, [Commit(lease, 1, b"0-0", b"1-0", 1, b"4-0", ahead=ahead, highest=b"4-0")])
    granted = await owned(server)
    assert b"3-0" in read_ahead(granted.ahead, granted.state.cursor)
    redis.xgroup_setid("runnel:{shop:3}:orders:log", "bill", "2-0")
    granted = await owned(server)
    assert granted.state.cursor == b"2-0"
    assert b"3-0" not in read_ahead(granted.ahead, granted.state.cursor)


async def test_the_page_names_every_field_of_a_lease(server: Broker, redis: Redis) -> None:
    await server.append(ORDERS, {3: Batch((b"data",), [b"a"])})
    lease = (await owned(server)).lease
    await server.mark_attempt(BILL, lease, b"5-0", 2)
    await server.commit(BILL, [Commit(lease, 1, b"0-0", (await server.entries(ORDERS, 3))[0][0], 1, b"6-0")])
    written = TableWrites("accounts", {entry_field(b"sAda"): TableValue((b"data", b"{}")).packed})
    await server.write_table(BILL, 3, written)
    await server.rewind(attrs.evolve(BILL, name="never-ran"), {3: b"0-0"}, dry_run=False)
    _, _, table = PAGE.read_text(encoding="utf-8").partition(".. list-table:: ``runnel:{shop:3}:orders:lease")
    table, _, _ = table.partition("The entries of tables")
    named = set(re.findall(r"^   \* - ``([\w:]+)``$", table, re.MULTILINE))
    found = {name.decode().replace("accounts", "NAME") for name in redis.hkeys(LEASE)}
    assert found | {"ahead"} == named
