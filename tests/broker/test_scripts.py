"""The scripts on a real server: what each guard lets through and what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import OutOfMemoryError, ResponseError

from runnel_trio._broker import open_broker
from runnel_trio._broker._redis._transport import _scripts
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._scripts import Call, LazyList, PlainCommand, exchange
from runnel_trio._broker._values import ServerConfig, StreamSpec
from runnel_trio._embedded._server import embedded_server
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import Misconfigured

LOG, PRODUCERS, LEASE, QUARANTINE, KEYS = "log", "producers", "lease", "quarantine", "keys"


class Server:
    """One connection for the scripts, one client to look at what they did."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(url, decode_responses=True, protocol=2)
        pool = redis.ConnectionPool.from_url(url, decode_responses=True, protocol=2)
        self._connection = pool.make_connection()
        self._connection.connect()

    def close(self) -> None:
        self._connection.disconnect()
        self.client.close()
        self.client.connection_pool.disconnect()

    def call(self, script: str, keys: list[str], *arguments: Any) -> Any:
        (reply,) = exchange(self._connection, [Call(script, keys, arguments)])
        if isinstance(reply, Exception):
            raise reply
        return reply

    def send(
        self, *values: str, seq: int = 1, size: int = 100, overflow: str = "block", layout: int = 1
    ) -> int:
        return int(
            self.call("send", [LOG, PRODUCERS], "P", seq, size, overflow, layout, 1, "data", 0, *values)
        )

    def acquire(self, member: str, observed: tuple[str, str] = ("", "")) -> Any:
        return self.call("acquire", [LOG, LEASE, QUARANTINE, KEYS], "g", member, *observed)

    def commit(self, owner: str, epoch: str, previous: str, last: str, read: int, number: int = 1) -> Any:
        return self.call(
            "commit", [LOG, LEASE], "g", owner, epoch, number, previous, last, read, last, "", "", "", 0, 0, 0
        )

    def stored(self) -> list[str]:
        return [fields["data"] for _, fields in self.client.xrange(LOG)]

    def ids(self) -> list[str]:
        return [xid for xid, _ in self.client.xrange(LOG)]

    def group(self) -> Any:
        (group,) = self.client.xinfo_groups(LOG)
        return group


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with embedded_server("embedded://") as url:
        server = Server(url)
        yield server
        server.close()


async def test_a_repeated_send_stores_nothing_twice(server: Server) -> None:
    assert server.send("a", "b", seq=1) == 2
    assert server.send("a", "b", seq=1) == 2
    assert server.send("c", seq=2) == 1
    assert server.stored() == ["a", "b", "c"]


async def test_a_late_send_with_an_old_sequence_is_refused(server: Server) -> None:
    server.send("new", seq=5)
    with pytest.raises(ResponseError, match="STALE 5"):
        server.send("late", seq=4)
    assert server.stored() == ["new"]


async def test_a_copy_of_a_refused_send_that_was_held_up_stores_nothing_when_there_is_room_again(
    server: Server,
) -> None:
    server.send("a", seq=1, size=1)
    assert server.send("b", seq=2, size=1) == 0
    server.client.xtrim(LOG, 0)
    assert server.send("b", seq=2, size=1) == 0  # the copy; its sender goes on with a new number
    assert server.send("b", seq=3, size=1) == 1
    assert server.stored() == ["b"]


async def test_a_full_partition_takes_what_fits_and_nothing_more(server: Server) -> None:
    assert server.send("a", "b", "c", seq=1, size=2) == 2
    assert server.send("c", seq=2, size=2) == 0
    assert server.stored() == ["a", "b"]


async def test_room_is_made_only_behind_the_slowest_cursor(server: Server) -> None:
    server.send("a", "b", "c", seq=1, size=3)
    epoch = server.acquire("m")[1]
    server.client.xgroup_create(LOG, "slow", "0")
    assert server.commit("m", epoch, "0-0", server.ids()[1], 2) == "COMMITTED"
    assert server.send("d", seq=2, size=3) == 0
    server.client.xgroup_setid(LOG, "slow", server.ids()[0])
    assert server.send("d", "e", seq=3, size=3) == 1
    assert server.stored() == ["b", "c", "d"]


async def test_trim_lets_the_oldest_go(server: Server) -> None:
    for seq in range(1, 4):
        assert server.send(*(f"{seq}-{i}" for i in range(200)), seq=seq, size=100, overflow="trim") == 200
    assert len(server.stored()) < 300
    assert server.stored()[-1] == "3-199"


async def test_explicit_ids_are_checked_before_anything_is_stored(server: Server) -> None:
    def send(seq: int, *ids_and_values: str) -> Any:
        return server.call("send", [LOG, PRODUCERS], "P", seq, 100, "block", 1, 1, "data", 1, *ids_and_values)

    assert send(1, "5-0", "5-18446744073709551615", "a", "b") == 2
    with pytest.raises(ResponseError, match="BADID 6-1 is not above 6-1"):
        send(2, "6-1", "6-1", "c", "d")
    assert server.stored() == ["a", "b"]


@pytest.mark.parametrize("ids", [(), ("5-0", "5-1")])
async def test_entries_of_several_fields_keep_them_together(server: Server, ids: tuple[str, ...]) -> None:
    head = ["P", 1, 100, "block", 1, 2, "user", "kind", int(bool(ids))]
    assert server.call("send", [LOG, PRODUCERS], *head, *ids, "7", "a", "8", "b") == 2
    found = [fields for _, fields in server.client.xrange(LOG)]
    assert found == [{"user": "7", "kind": "a"}, {"user": "8", "kind": "b"}]


async def test_a_key_of_another_type_is_refused_before_anything_is_written(server: Server) -> None:
    server.client.set(PRODUCERS, "x")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        server.send("a")
    assert not server.client.exists(LOG)


async def test_a_lease_has_one_owner_and_a_rising_epoch(server: Server) -> None:
    granted, first, *_ = server.acquire("a")
    assert granted == 1
    assert server.acquire("b") == [0, "a", first]
    again = server.acquire("a")[1]
    assert int(again) > int(first)
    assert server.acquire("b", ("a", first)) == [0, "a", again]
    assert server.acquire("b", ("a", again))[0] == 1
    assert server.call("release", [LEASE], "a", again) == 0
    assert server.client.hget(LEASE, "owner") == "b"


async def test_the_epoch_survives_a_release(server: Server) -> None:
    epoch = server.acquire("a")[1]
    assert server.call("release", [LEASE], "a", epoch) == 1
    assert int(server.acquire("b")[1]) > int(epoch)


async def test_a_commit_moves_the_cursor_and_keeps_the_lag_exact(server: Server) -> None:
    server.send("a", "b", "c")
    epoch = server.acquire("m")[1]
    assert server.commit("m", epoch, "0-0", server.ids()[1], 2) == "COMMITTED"
    assert server.group()["lag"] == 1
    assert server.group()["pending"] == 0


async def test_a_repeated_commit_is_already_done(server: Server) -> None:
    server.send("a")
    epoch = server.acquire("m")[1]
    last = server.ids()[0]
    assert server.commit("m", epoch, "0-0", last, 1) == "COMMITTED"
    assert server.commit("m", epoch, "0-0", last, 1) == "COMMITTED"


async def test_a_commit_of_a_former_owner_is_fenced(server: Server) -> None:
    server.send("a")
    old = server.acquire("a")[1]
    server.acquire("b", ("a", old))
    assert server.commit("a", old, "0-0", server.ids()[0], 1) == "FENCED"
    assert server.group()["last-delivered-id"] == "0-0"


async def test_a_late_commit_of_the_same_owner_does_not_move_the_cursor_back(server: Server) -> None:
    server.send("a", "b")
    epoch = server.acquire("m")[1]
    first, second = server.ids()
    assert server.commit("m", epoch, "0-0", first, 1) == "COMMITTED"
    assert server.commit("m", epoch, first, second, 2, number=2) == "COMMITTED"
    assert server.commit("m", epoch, "0-0", first, 1) == "REWOUND"
    assert server.group()["last-delivered-id"] == second


async def test_a_full_server_can_still_be_drained(server: Server) -> None:
    server.send("a")
    server.client.config_set("maxmemory", 1)
    epoch = server.acquire("m")[1]
    assert server.commit("m", epoch, "0-0", server.ids()[0], 1) == "COMMITTED"
    assert server.call("release", [LEASE], "m", epoch) == 1
    with pytest.raises(OutOfMemoryError):
        server.send("b", seq=2)


async def test_a_group_made_after_trimming_has_an_exact_lag(server: Server) -> None:
    server.send("a", "b", "c")
    server.client.xtrim(LOG, maxlen=1, approximate=False)
    server.acquire("m")
    assert server.group()["lag"] == 1


async def test_scripts_survive_a_flush(server: Server) -> None:
    for seq in range(1, 20):
        server.client.script_flush()
        assert server.send("x", seq=seq) == 1


META = "meta"


async def test_the_first_declaration_of_a_stream_holds(server: Server) -> None:
    own = ["16", "Order", "blake3"]
    assert server.call("declare", [META], 16, "Order", "blake3", 1, 100, "block")[:3] == own
    assert server.call("declare", [META], 32, "Other", "mine", 1, 200, "trim")[:3] == own


async def test_what_is_known_of_a_stream_and_is_not_ours_is_refused_by_name() -> None:
    stream = StreamSpec(
        app="app", name="orders", partition_count=4, record="Order", hasher="blake3", partition_size=9,
        overflow=Overflow.BLOCK,
    )  # fmt: skip
    async with embedded_server("embedded://") as url, open_broker(ServerConfig(url)) as broker:
        with redis.Redis.from_url(url, protocol=2) as client:
            for field, value in (("partition_count", "many"), ("next", "2 lots")):
                client.delete("runnel:{app}:orders:meta")
                client.hset("runnel:{app}:orders:meta", field, value)
                with pytest.raises(Misconfigured, match=r"runnel:{app}:orders:meta is not as it was written"):
                    await broker.declare(stream)


@pytest.mark.parametrize("packs_itself", [True, False])
async def test_words_are_written_alike_with_and_without_hiredis(
    monkeypatch: pytest.MonkeyPatch, *, packs_itself: bool
) -> None:
    if not packs_itself:
        monkeypatch.setattr(_scripts, "_pack", None)
    async with embedded_server("embedded://") as url:
        connection = Endpoint.at(url).connect()
        words = ("MSET", "a", "ä", b"b", b"\x00\r\n", "c", 17, "d", bytearray(b"of a serializer"))
        assert exchange(connection, [PlainCommand(words), PlainCommand(("MGET", "a", "b", "c", "d"))])[1] == [
            "ä".encode(), b"\x00\r\n", b"17", b"of a serializer",
        ]  # fmt: skip
        connection.disconnect()


def test_a_lazy_list_makes_each_item_once_and_as_late_as_it_can() -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            yield number

    lazy = LazyList(numbers())
    early, late = iter(lazy), iter(lazy)
    assert (next(early), next(early), made) == (0, 1, [0, 1])
    assert (next(late), made) == (0, [0, 1])
    assert list(late) == [1, 2, 3]
    assert list(early) == [2, 3]
    assert list(lazy) == made == [0, 1, 2, 3]
