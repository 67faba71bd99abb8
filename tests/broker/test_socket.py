"""What is done with a connection's socket without waiting in it, with TLS and without."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import hiredis
import pytest
import trustme
from redis import exceptions as theirs

from runnel_trio._broker._redis._transport._socket import Answers, count_arrived, wholes, write_now

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
    assert not count_arrived(connection)
    server.sendall(b"c\r\n")
    assert count_arrived(connection) == 1
    server.sendall(b":1\r\n:2\r\n$3\r\n")
    assert count_arrived(connection) == 3
    assert connection._sock.recv(100) == b"$3\r\nabc\r\n:1\r\n:2\r\n$3\r\n"
    server.close()
    assert not count_arrived(connection)


def test_what_is_large_is_left_to_a_thread(pair: tuple[socket.socket, Any]) -> None:
    server, connection = pair
    server.sendall(b"$4096\r\n" + b"x" * 4096 + b"\r\n")
    assert not count_arrived(connection)


@pytest.fixture(params=["plain", "tls"])
def parsed(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, Any]]:
    """The server's end, and ours, for which hiredis parses as redis-py has it do."""
    theirs_, ours = socket.socketpair()
    if request.param == "tls":
        theirs_, ours = secured(theirs_, ours)
    with theirs_, ours:
        ours.settimeout(5)
        theirs_.settimeout(5)
        connection: Any = Connection(ours)
        connection._parser = Parser()
        yield theirs_, connection


def secured(server: socket.socket, client: socket.socket) -> tuple[socket.socket, socket.socket]:
    ca, theirs_ = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("server.test").configure_cert(theirs_)
    ours = ssl.create_default_context()
    ca.configure_trust(ours)
    ends: list[ssl.SSLSocket] = []
    shaking = threading.Thread(target=lambda: ends.append(theirs_.wrap_socket(server, server_side=True)))
    shaking.start()
    secure = ours.wrap_socket(client, server_hostname="server.test")
    shaking.join(60)
    return ends[0], secure


class Parser:
    """As much of redis-py's as is used: what hiredis makes of errors is redis-py's."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader(replyError=self.error)

    @staticmethod
    def error(text: str) -> Exception:
        return theirs.BusyLoadingError(text) if text.startswith("LOADING") else theirs.ResponseError(text)


def taken(answers: Answers, count: int) -> list[Any]:
    """So many, with no more than a few looks for each piece."""
    found: list[Any] = []
    for _ in range(1000):
        answers.take(found, count)
        if len(found) == count:
            return found
    pytest.fail(f"{len(found)} of {count}")


def answers_of(connection: Any) -> Answers:
    answers = Answers.of(connection)
    assert answers is not None
    with_tls_of_its_own = answers.take([], 1)  # tickets that follow a handshake
    assert not with_tls_of_its_own
    return answers


def test_nothing_is_there_and_nothing_is_waited_for(parsed: tuple[socket.socket, Any]) -> None:
    server, connection = parsed
    answers, found = answers_of(connection), list[Any]()
    assert not answers.take(found, 1)
    server.sendall(b"$3\r\nab")
    assert answers.take(found, 1)
    assert not found
    assert not answers.take(found, 1)
    server.sendall(b"c\r\n")
    assert answers.take(found, 1)
    assert found == [b"abc"]
    assert connection._sock.gettimeout() == 5


def test_no_more_are_taken_than_are_asked_for(parsed: tuple[socket.socket, Any]) -> None:
    server, connection = parsed
    answers, found = answers_of(connection), list[Any]()
    server.sendall(b":1\r\n:2\r\n-ERR no\r\n:4\r\n")
    assert answers.take(found, 3)
    assert found[:2] == [1, 2]
    assert isinstance(found[2], theirs.ResponseError)
    assert connection._parser._reader.gets() == 4


def test_an_answer_of_any_size_comes_in_pieces(parsed: tuple[socket.socket, Any]) -> None:
    server, connection = parsed
    answers = answers_of(connection)
    texts = [b"x" * size for size in (1, 16_384, 16_385, 131_072, 1_000_000, 0, 5)]
    wire = b"".join(b"$%d\r\n%s\r\n" % (len(text), text) for text in texts)
    sending = threading.Thread(target=server.sendall, args=(wire,))
    sending.start()
    found: list[Any] = []
    looks = 0
    while len(found) < len(texts):
        assert readable(connection._sock)
        looks += answers.take(found, len(texts))
    sending.join(60)
    assert found == texts
    assert looks >= 9, "1.1 MB in pieces of 128 KiB"


def readable(sock: socket.socket) -> bool:
    """Whether it becomes so: what is left behind in OpenSSL, it would not say."""
    return bool(select.select([sock], [], [], 5)[0])


@pytest.mark.parametrize("before", [b"", b"$3\r\nab"])
def test_an_end_in_the_middle_is_no_answer(parsed: tuple[socket.socket, Any], before: bytes) -> None:
    server, connection = parsed
    answers = answers_of(connection)
    server.sendall(before)
    server.close()
    with pytest.raises(theirs.ConnectionError, match="closed"):
        taken(answers, 1)


@pytest.mark.parametrize("parsed", ["tls"], indirect=True)
def test_an_end_that_comes_with_an_answer_is_remembered(parsed: tuple[Any, Any]) -> None:
    server, connection = parsed
    answers, found = answers_of(connection), list[Any]()
    server.sendall(b":1\r\n$3\r\nab")
    server.settimeout(0)
    with pytest.raises(ssl.SSLWantReadError):
        server.unwrap()  # says that nothing more will come, and does not wait for the same from us
    assert answers.take(found, 1)
    assert (found, answers.ended) == ([1], True)
    with pytest.raises(theirs.ConnectionError, match="closed"):
        answers.take(found, 2)


def test_who_is_not_let_in_has_no_connection(parsed: tuple[socket.socket, Any]) -> None:
    server, connection = parsed
    answers = answers_of(connection)
    server.sendall(b"-LOADING not yet\r\n")
    with pytest.raises(theirs.BusyLoadingError, match="not yet"):
        taken(answers, 1)


def test_after_the_socket_was_closed_nobody_elses_is_read(parsed: tuple[socket.socket, Any]) -> None:
    _, connection = parsed
    answers = answers_of(connection)
    connection._sock.close()
    with pytest.raises(theirs.ConnectionError, match="broke"):
        answers.take([], 1)
    with pytest.raises(theirs.ConnectionError, match="broke"):
        write_now(connection, b"x")


def test_only_what_the_system_takes_at_once_is_written(parsed: tuple[socket.socket, Any]) -> None:
    server, connection = parsed
    wire = b"".join(b"%09d" % number for number in range(200_000))
    pieces = [wire[at : at + 5000] for at in range(0, len(wire), 5000)]
    while pieces:
        count = write_now(connection, pieces[0])
        if count < len(pieces[0]):
            pieces[0] = pieces[0][count:]
            break
        del pieces[0]
    assert pieces, "more than any buffer of the system"
    assert not write_now(connection, pieces[0])
    assert connection._sock.gettimeout() == 5

    def read() -> None:
        while len(got) < len(wire):
            got.extend(server.recv(100_000))

    got = bytearray()
    reading = threading.Thread(target=read)
    reading.start()
    for piece in pieces:
        connection._sock.sendall(piece)  # as redis-py goes on with it, in a thread
    reading.join(60)
    assert got == wire


def test_without_hiredis_there_is_nothing_to_feed(parsed: tuple[socket.socket, Any]) -> None:
    _, connection = parsed
    connection._parser = object()
    assert Answers.of(connection) is None
