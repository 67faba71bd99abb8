"""What we take for granted of redis-py's insides, name by name; `nox -s redispy` runs it on the oldest and newest."""

from __future__ import annotations

import ast
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis import exceptions as theirs
from redis._parsers import _HiredisParser, _RESP2Parser
from redis.sentinel import Sentinel

import runnel_trio
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._socket import Answers, can_look, interrupt, socket_of
from runnel_trio._embedded._server import embedded_server

REDIS = Path(runnel_trio.__file__).parent / "_broker" / "_redis"


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with embedded_server("embedded://") as url:
        yield url


@pytest.fixture(params=[_HiredisParser, _RESP2Parser])
def connection(url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
    endpoint = Endpoint.at(url)
    endpoint.pool.connection_kwargs["parser_class"] = request.param
    connection = endpoint.connect()
    yield connection
    connection.disconnect()


def test_private_names_of_redis_py_stand_in_one_file() -> None:
    found = {
        str(path.relative_to(REDIS))
        for path in REDIS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in {"_sock", "_parser", "_reader"}
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }
    assert found == {"_transport/_socket.py"}


async def test_sock_is_the_socket(connection: Any) -> None:
    assert isinstance(connection._sock, socket.socket)
    assert socket_of(connection) is connection._sock
    assert can_look(connection) is not isinstance(connection._sock, ssl.SSLSocket)


async def test_sock_can_be_shut_down_from_elsewhere(connection: Any) -> None:
    connection.send_command("BLPOP", "nothing", 0)
    interrupt(connection)
    with pytest.raises(theirs.ConnectionError):
        connection.read_response()
    connection.disconnect()
    interrupt(connection)  # there is no socket any more


async def test_parser_reader_takes_bytes_and_gives_answers(url: str) -> None:
    connection: Any = Endpoint.at(url).connect()
    assert isinstance(connection._parser, _HiredisParser)
    reader = connection._parser._reader
    nothing = reader.gets()
    reader.feed(b":1\r\n$2\r\nab\r\n-ERR no\r\n-MOVED 5 h:7\r\n-LOADING wait\r\n$3\r\n")
    one, text, refused, moved, loading, rest = (reader.gets(False) for _ in range(6))
    assert (one, text) == (1, b"ab")
    assert isinstance(refused, theirs.ResponseError)
    assert isinstance(moved, theirs.MovedError)
    assert (moved.slot_id, moved.host, moved.port) == (5, "h", 7)
    assert isinstance(loading, theirs.ConnectionError)
    assert rest is nothing
    connection.disconnect()


async def test_what_redis_py_reads_follows_on_what_was_taken(url: str) -> None:
    connection: Any = Endpoint.at(url).connect()
    answers = Answers.of(connection)
    assert answers is not None
    connection.send_packed_command([b"".join(connection.pack_command("ECHO", x)) for x in ("a", "b")])
    found: list[Any] = []
    while not found:
        answers.take(found, 1)
    assert found == [b"a"]
    assert connection.read_response(disable_decoding=True) == b"b"
    connection.disconnect()


async def test_a_parser_without_a_reader_is_left_to_redis_py(url: str) -> None:
    endpoint = Endpoint.at(url)
    endpoint.pool.connection_kwargs["parser_class"] = _RESP2Parser
    connection: Any = endpoint.connect()
    assert Answers.of(connection) is None
    connection.send_command("ECHO", "a")
    assert connection.read_response(disable_decoding=True) == b"a"
    connection.disconnect()


def test_pools_say_how_connections_are_made_and_who_is_the_master() -> None:
    pool: Any = redis.ConnectionPool.from_url("redis://h:7")
    assert pool.connection_kwargs["host"] == "h"
    assert issubclass(pool.connection_class, redis.Connection)
    watched: Any = Sentinel([("a", 26379)]).master_for("main").connection_pool
    assert (watched.service_name, watched.is_master, watched.master_address) == ("main", True, None)
    assert len(watched.sentinel_manager.sentinels) == 1
    assert "get_master_address" in dir(watched)
    assert not hasattr(pool, "get_master_address")


def test_a_connection_takes_our_settings() -> None:
    names = {"protocol", "retry", "socket_timeout", "socket_connect_timeout", "health_check_interval"}
    taken = {
        name for each in redis.Connection.__mro__ for name in inspect.signature(each.__init__).parameters
    }
    assert names | {"decode_responses", "parser_class"} <= taken
