"""An exchange without a thread: whatever its size, and however the answers come."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from redis import Redis
from redis._parsers import _RESP2Parser
from redis.connection import DefaultParser

from runnel_trio._broker._redis._transport._connection import Connection
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._scripts import Call, PlainCommand
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._embedded._server import embedded_server
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable

WAITER = Waiter()
LARGE = b"x" * 200_000

#: Who parses answers: hiredis, if it is there, or redis-py by itself.
PARSERS = [DefaultParser, _RESP2Parser]


def endpoint(url: str, parser: Any, timeout: float) -> Endpoint:
    """To a server, by connections with a parser."""
    found = Endpoint.at(url, timeout)
    found.pool.connection_kwargs["parser_class"] = parser
    return found


@pytest.fixture(params=PARSERS)
async def connection(request: pytest.FixtureRequest) -> Any:
    async with embedded_server("embedded://") as url:
        connection = Connection(endpoint(url, request.param, 0.5))
        await connection.talk([PlainCommand(("PING",))], WAITER)  # connects
        yield connection
        connection.close()


@pytest.mark.parametrize(
    ("texts"),
    [
        [b"a"],
        [b"%d" % number for number in range(3000)],  # more than fits what is looked at
        [LARGE] * 30,  # more than any buffer of the system
        [b"a", LARGE, b"b", b"c", LARGE],
    ],
    ids=["one", "many", "large", "mixed"],
)
async def test_every_call_has_its_own_answer(connection: Connection, texts: list[bytes]) -> None:
    assert await connection.talk([PlainCommand(("ECHO", text)) for text in texts], WAITER) == texts
    assert await connection.talk([PlainCommand(("ECHO", "after"))], WAITER) == [b"after"]


async def test_a_refusal_stands_in_its_place(connection: Connection) -> None:
    found = await connection.talk(
        [PlainCommand(("ECHO", "a")), PlainCommand(("NONSENSE",)), PlainCommand(("ECHO", "b"))], WAITER
    )
    assert (found[0], found[2]) == (b"a", b"b")
    assert isinstance(found[1], BrokerRefused)


async def test_the_text_of_a_forgotten_script_goes_along_once(connection: Connection) -> None:
    redis = Redis.from_url(connection.endpoint.url)
    before = redis.info("stats")["total_net_input_bytes"]
    calls = [Call("mark_attempt", [f"lease:{number}"], ["m", 1, "1-1", 1]) for number in range(1000)]
    assert await connection.talk(calls, WAITER) == [0] * 1000
    assert redis.info("stats")["total_net_input_bytes"] - before < 400 * len(calls)


@pytest.mark.parametrize(
    ("text", "said"),
    [(b"a", r"no answer within 0\.5 s"), (LARGE * 20, "Timeout writing to socket")],
    ids=["small", "large"],
)
async def test_a_server_that_stands_still_holds_nobody(
    connection: Connection, text: bytes, said: str
) -> None:
    pid = Redis.from_url(connection.endpoint.url).info("server")["process_id"]
    os.kill(pid, signal.SIGSTOP)
    try:
        with trio.fail_after(60), pytest.raises(BrokerUnavailable, match=said):
            await connection.talk([PlainCommand(("ECHO", text))], WAITER)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert await connection.talk([PlainCommand(("ECHO", "b"))], WAITER) == [b"b"]


async def test_others_go_on_while_it_waits_for_the_server_to_take_more(connection: Connection) -> None:
    pid = Redis.from_url(connection.endpoint.url).info("server")["process_id"]
    found: list[Any] = []

    async def talk() -> None:
        found.extend(await connection.talk([PlainCommand(("ECHO", LARGE * 5))] * 3, WAITER))

    os.kill(pid, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert not found
        os.kill(pid, signal.SIGCONT)
    assert found == [LARGE * 5] * 3


Steps = Sequence[bytes | threading.Event]


@pytest.fixture(params=PARSERS)
def answering(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Steps], Connection]]:
    """A server that answers the first exchange with these pieces, and then hangs up."""
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket, steps: Steps) -> None:
        peer = listener.accept()[0]
        with listener, peer:
            while (asked := peer.recv(4096)) and b"ECHO" not in asked:
                peer.sendall(b"+OK\r\n" * asked.count(b"*"))  # what redis-py says about itself, and PING
            for step in steps:
                if isinstance(step, bytes):
                    peer.sendall(step)
                else:
                    assert step.wait(60)

    def start(steps: Steps) -> Connection:
        path = str(tmp_path / "s")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        threads.append(threading.Thread(target=serve, args=(listener, steps)))
        threads[-1].start()
        return Connection(endpoint(f"unix://{path}", request.param, 2))

    yield start
    for thread in threads:
        thread.join(60)


@pytest.mark.parametrize(
    "pieces",
    [
        [b":1\r\n:2\r\n:3\r\n"],
        [b":1\r\n", b":2\r\n", b":3\r\n"],
        [b":1\r\n:2", b"\r\n:3\r\n"],
        [b":", b"1\r\n:2\r\n:3\r", b"\n"],
    ],
)
async def test_answers_may_come_in_any_pieces(
    answering: Callable[[Steps], Connection], pieces: list[bytes]
) -> None:
    gates = [threading.Event() for _ in pieces]
    connection = answering([step for pair in zip(gates, pieces, strict=True) for step in pair])
    assert await connection.talk([PlainCommand(("PING",))], WAITER) == [b"OK"]

    async def open_gates() -> None:
        for gate in gates:
            gate.set()
            for _ in range(50):
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_gates)
        found = await connection.talk([PlainCommand(("ECHO", "x"))] * 3, WAITER)
    assert found == [1, 2, 3]
    connection.close()


@pytest.mark.parametrize("pieces", [[], [b":1\r\n"], [b":1\r\n$100\r\nab"]])
async def test_a_connection_that_ends_in_the_middle_answers_nothing(
    answering: Callable[[Steps], Connection], pieces: list[bytes]
) -> None:
    connection = answering(pieces)
    assert await connection.talk([PlainCommand(("PING",))], WAITER) == [b"OK"]
    with pytest.raises(BrokerUnavailable):
        await connection.talk([PlainCommand(("ECHO", "x"))] * 3, WAITER)
    assert not connection.is_open


async def test_a_connection_that_ends_while_it_is_written_to_answers_nothing(
    answering: Callable[[Steps], Connection],
) -> None:
    connection = answering([])
    assert await connection.talk([PlainCommand(("PING",))], WAITER) == [b"OK"]
    with pytest.raises(BrokerUnavailable):
        await connection.talk([PlainCommand(("ECHO", LARGE))] * 50, WAITER)
