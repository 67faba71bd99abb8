"""An answer is read without a thread only when all of it is there."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from runnel_trio._broker._redis._arrival import arrived, wholes

ANSWERS = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$4\r\n\r\n\r\n\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*1\r\n$3\r\nabc\r\n:1\r\n",
    b"*1\r\n*2\r\n$3\r\nlog\r\n*1\r\n*2\r\n$3\r\n1-0\r\n*2\r\n$4\r\ndata\r\n$2\r\n{}\r\n",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_only_the_last_byte_makes_it_whole(answer: bytes) -> None:
    assert [wholes(answer[:n]) for n in range(len(answer) + 1)] == [*[0] * len(answer), 1]


@pytest.mark.parametrize("answer", ANSWERS)
def test_whole_ones_are_counted_up_to_one_that_is_not(answer: bytes) -> None:
    assert wholes(b":1\r\n" + answer + b"+OK\r\n") == 3
    assert wholes(b":1\r\n" + answer[:-1]) == 1


class Connection:
    """As much of redis-py's as is looked at."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, Any]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        yield theirs, Connection(ours)


def test_looking_takes_nothing_away_and_waits_for_nothing(pair: tuple[socket.socket, Any]) -> None:
    server, connection = pair
    server.sendall(b"$3\r\nab")
    assert not arrived(connection)
    server.sendall(b"c\r\n")
    assert arrived(connection) == 1
    server.sendall(b":1\r\n:2\r\n$3\r\n")
    assert arrived(connection) == 3
    assert connection._sock.recv(100) == b"$3\r\nabc\r\n:1\r\n:2\r\n$3\r\n"
    server.close()
    assert not arrived(connection)


def test_what_is_large_is_left_to_a_thread(pair: tuple[socket.socket, Any]) -> None:
    server, connection = pair
    server.sendall(b"$4096\r\n" + b"x" * 4096 + b"\r\n")
    assert not arrived(connection)
