"""Connections that break at the worst moment: everything is stored, and nothing twice."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio
import trio.lowlevel

from runnel_trio import App, BrokerUnavailable, Record, Stream
from runnel_trio._broker._redis._transport import _sender
from runnel_trio._embedded._server import embedded_server

SEND, COMMIT = b":producers", b":lease:"


class Order(Record):
    key: str
    n: int


class Proxy:
    """Stands before a server, and cuts a connection where it is told to."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self.port = 0
        self.mode, self.marker, self.left = "", b"", 0
        self.cuts = 0
        self.dice: random.Random | None = None
        self._away = False

    def cut(self, mode: str, marker: bytes, times: int) -> None:
        """Cut the next connections over which a request with ``marker`` goes."""
        self.mode, self.marker, self.left = mode, marker, times

    def away(self, away: bool) -> None:
        """Let nobody through."""
        self._away = away

    async def serve(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        await trio.serve_listeners(self._connected, [listener], task_status=task_status)

    async def _connected(self, client: trio.SocketStream) -> None:
        async with await trio.open_unix_socket(self.socket) as server, trio.open_nursery() as nursery:
            marked = [False]
            nursery.start_soon(self._up, client, server, marked, nursery.cancel_scope)
            nursery.start_soon(self._down, client, server, marked, nursery.cancel_scope)

    async def _up(self, client: Any, server: Any, marked: list[bool], scope: trio.CancelScope) -> None:
        try:
            async for data in client:
                if self._away:
                    break
                cut = self.left > 0 and self.marker in data
                if cut and self.mode != "reply":
                    self._count()
                    if self.mode == "half":
                        await server.send_all(data[: len(data) // 2])
                    break
                marked[0] = marked[0] or cut
                if self._at_random(data):
                    await server.send_all(data[: self.dice.randrange(len(data))] if self.dice else data)
                    break
                await server.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    async def _down(self, client: Any, server: Any, marked: list[bool], scope: trio.CancelScope) -> None:
        try:
            async for data in server:
                if marked[0] and self.left > 0:
                    self._count()
                    break
                if self._away or self._at_random(data):
                    break
                await client.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    def _count(self) -> None:
        self.left -= 1
        self.cuts += 1

    def _at_random(self, data: bytes) -> bool:
        hit = self.dice is not None and self.dice.random() < 0.05
        self.cuts += hit
        return hit


@pytest.fixture
async def proxy(nursery: trio.Nursery) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy, and the URL through it."""
    async with embedded_server("embedded://") as url:
        proxy = Proxy(urlsplit(url).path)
        await nursery.start(proxy.serve)
        (password,) = parse_qs(urlsplit(url).query)["password"]
        yield proxy, f"redis://:{password}@127.0.0.1:{proxy.port}"


@pytest.fixture
async def app(proxy: tuple[Proxy, str]) -> AsyncIterator[App]:
    app = App("test", redis_url=proxy[1], default_partition_count=2)
    async with app.session():
        yield app


@pytest.fixture
def orders(app: App) -> Stream[Order]:
    return app.stream("orders", Order, "key")


def numbers(found: dict[int, list[tuple[bytes, Any]]], key: str = "a") -> list[int]:
    return [record.n for entries in found.values() for _, record in entries if record.key == key]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("mode", ["reply", "request", "half"])
async def test_a_send_whose_connection_is_cut_is_stored_once(
    mode: str, times: int, proxy: tuple[Proxy, str], orders: Stream[Order], stored: Any
) -> None:
    await orders.send(Order(key="a", n=0))  # the server knows the script from now on
    proxy[0].cut(mode, SEND, times)
    await orders.send(*(Order(key="a", n=n) for n in range(1, 2500)))
    assert proxy[0].cuts == times
    assert numbers(await stored(orders)) == list(range(2500))


@pytest.mark.parametrize("mode", ["reply", "request", "half"])
async def test_nor_is_one_stored_twice_that_is_encoded_while_it_leaves(
    mode: str, proxy: tuple[Proxy, str], app: App, stored: Any
) -> None:
    orders = app.stream("wide", Order, "key", partition_count=16)
    await orders.send(Order(key="0", n=0))
    proxy[0].cut(mode, SEND, 1)
    await orders.send(*(Order(key=str(n % 50), n=n) for n in range(1, 900)))
    assert proxy[0].cuts == 1
    found = await stored(orders)
    assert all(numbers(found, str(key)) == list(range(key, 900, 50)) for key in range(50))


async def test_the_very_first_send_may_be_cut_too(
    proxy: tuple[Proxy, str], orders: Stream[Order], stored: Any
) -> None:
    proxy[0].cut("reply", SEND, 4)  # unknown script, its text, and again
    await orders.send(Order(key="a", n=0))
    assert proxy[0].cuts == 4
    assert numbers(await stored(orders)) == [0]


async def test_a_partly_stored_send_whose_reply_is_lost_is_answered_as_the_first_time(
    proxy: tuple[Proxy, str], app: App, stored: Any
) -> None:
    stream = app.stream("small", Order, "key", partition_size=5, overflow="error")
    await stream.send(Order(key="a", n=0))
    proxy[0].cut("reply", SEND, 1)
    with pytest.raises(Exception, match="is full") as caught:
        await stream.send(*(Order(key="a", n=n) for n in range(1, 8)))
    assert caught.value.unsent == (4, 5, 6)  # type: ignore[attr-defined]
    assert numbers(await stored(stream)) == [0, 1, 2, 3, 4]


async def test_given_ids_whose_reply_is_lost_are_not_taken_for_falling_ones(
    proxy: tuple[Proxy, str], orders: Stream[Order], stored: Any
) -> None:
    await orders.send(Order(key="a", n=0), stream_ids=["1-1"])
    proxy[0].cut("reply", SEND, 2)
    await orders.send(Order(key="a", n=1), Order(key="a", n=2), stream_ids=["5-1", "6-1"])
    found = await stored(orders)
    assert [xid for entries in found.values() for xid, _ in entries] == [b"1-1", b"5-1", b"6-1"]


async def test_a_cancelled_send_whose_reply_is_lost_is_stored_once_or_not_at_all(
    proxy: tuple[Proxy, str], orders: Stream[Order], stored: Any
) -> None:
    await orders.send(Order(key="a", n=0))
    for n in range(1, 21):
        proxy[0].cut("reply", SEND, 2)
        with trio.move_on_after(0.002 * n):
            await orders.send(Order(key="a", n=n))
    proxy[0].cut("", b"", 0)
    await orders.send(Order(key="a", n=99))
    found = numbers(await stored(orders))
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, 99)


async def test_a_server_that_is_away_for_too_long_is_told_of_and_may_be_tried_again(
    proxy: tuple[Proxy, str], orders: Stream[Order], stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await orders.send(Order(key="a", n=0))
    monkeypatch.setattr(_sender, "PATIENCE", 0.5)
    proxy[0].away(True)
    with pytest.raises(BrokerUnavailable, match="may have been stored or not"):
        await orders.send(Order(key="a", n=1))
    proxy[0].away(False)
    await orders.send(Order(key="a", n=2))
    found = numbers(await stored(orders))
    assert found in ([0, 2], [0, 1, 2])


@pytest.mark.parametrize("seed", range(4))
async def test_connections_that_break_at_random_moments(
    seed: int, proxy: tuple[Proxy, str], orders: Stream[Order], stored: Any
) -> None:
    await orders.send(Order(key="warm", n=0))
    proxy[0].dice = random.Random(seed)

    async def send(task: int) -> None:
        for n in range(0, 60, 3):
            await orders.send(*(Order(key=str(task), n=n + i) for i in range(3)))

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for task in range(10):
                nursery.start_soon(send, task)
    proxy[0].dice = None
    assert proxy[0].cuts
    found = await stored(orders)
    for task in range(10):
        assert numbers(found, str(task)) == list(range(60))


@pytest.mark.parametrize("seed", range(3))
async def test_a_worker_whose_connections_break_at_random_handles_everything_once(
    seed: int, proxy: tuple[Proxy, str], app: App, orders: Stream[Order], drained: Any
) -> None:
    seen: dict[str, list[int]] = {}

    @app.processor(orders, prefetch_count=8, max_unacked=20)
    async def collect(events: Any) -> None:
        async for record in events.records():
            seen.setdefault(record.key, []).append(record.n)
            await trio.lowlevel.checkpoint()

    proxy[0].dice = random.Random(seed)
    with trio.fail_after(60):
        async with app.worker():
            for n in range(0, 300, 10):
                await orders.send(*(Order(key="ab"[n // 10 % 2], n=n + i) for i in range(10)))
            await drained(collect)
            proxy[0].dice = None
    assert proxy[0].cuts
    for at, key in enumerate("ab"):
        assert seen[key] == [n for n in range(300) if n // 10 % 2 == at]


@pytest.mark.parametrize("mode", ["reply", "request", "half"])
async def test_a_commit_whose_connection_is_cut_is_made_once(
    mode: str, proxy: tuple[Proxy, str], app: App, orders: Stream[Order], lag: Any, drained: Any
) -> None:
    seen: list[int] = []

    @app.processor(orders, max_unacked=1)
    async def collect(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)
            if record.n in {3, 7}:
                proxy[0].cut(mode, COMMIT, 2)

    with trio.fail_after(30):
        async with app.worker():
            await orders.send(*(Order(key="a", n=n) for n in range(20)))
            await drained(collect)
    assert seen == list(range(20))
    assert proxy[0].cuts == 4
