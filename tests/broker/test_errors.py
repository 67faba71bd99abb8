"""Errors of the outside in our words, and no password in any of them."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from redis import exceptions as theirs

from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._errors import translate
from runnel_trio._embedded._server import embedded_server
from runnel_trio._report._redaction import redacted
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, Misconfigured


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ("redis://me:secret@host:1/2", "redis://me:***@host:1/2"),
        ("unix:///a/b.sock?db=1&password=secret", "unix:///a/b.sock?db=1&password=***"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    "error",
    [
        theirs.ConnectionError("Connection refused"),
        theirs.TimeoutError("Timeout reading"),
        theirs.BusyLoadingError("loading"),
        theirs.ReadOnlyError("You can't write against a read only replica."),
        theirs.OutOfMemoryError("command not allowed"),
        theirs.ResponseError("NOREPLICAS Not enough good replicas to write."),
        theirs.ResponseError("MISCONF Errors writing to the AOF file"),
        theirs.ResponseError("BUSY Valkey is busy running a script."),
    ],
)
def test_what_passes_by_itself_is_unavailable(error: Exception) -> None:
    assert isinstance(translate(error, "redis://h"), BrokerUnavailable)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("Error 111 connecting to 127.0.0.1:1. Connection refused.", "Connection refused"),
        ("Error -2 connecting to h.example:6379. Name or service not known.", "Name or service not known"),
        ("Timeout connecting to server", "no answer"),
    ],
)
def test_nobody_to_connect_to_is_no_server(said: str, why: str) -> None:
    assert str(translate(theirs.ConnectionError(said), "redis://h")) == f"no server at redis://h: {why}"


@pytest.mark.parametrize(
    "error",
    [
        theirs.AuthenticationError("invalid username-password pair"),
        theirs.NoPermissionError("this user has no permissions to run the 'xadd' command"),
        theirs.ResponseError("WRONGTYPE log is a string"),
    ],
)
def test_what_waiting_does_not_heal_is_refused(error: Exception) -> None:
    assert isinstance(translate(error, "redis://h"), BrokerRefused)


async def test_a_wrong_password_is_refused_without_showing_it() -> None:
    async with embedded_server("embedded://") as url:
        path = urlsplit(url).path
        with pytest.raises(BrokerRefused, match=r"password=\*\*\* refuses") as caught:
            Endpoint.at(f"unix://{path}?password=wrong-one").connect()
        assert "wrong-one" not in str(caught.value)


async def test_a_connection_is_made_without_retries_and_with_timeouts() -> None:
    async with embedded_server("embedded://") as url:
        connection = Endpoint.at(url, timeout=3).connect(patience=2)
        assert connection.retry.get_retries() == 0
        assert connection.socket_timeout == 5
        connection.disconnect()


def test_nobody_there_is_unavailable() -> None:
    with pytest.raises(BrokerUnavailable, match="runnel-nobody"):
        Endpoint.at("unix:///runnel-nobody.sock").connect()


def test_an_url_of_another_kind_is_misconfigured() -> None:
    with pytest.raises(Misconfigured, match="http://h"):
        Endpoint.at("http://h").connect()


@pytest.mark.parametrize(
    ("url", "said", "told"),
    [
        ("redis://:x@h:1", "Timeout reading from h:1", "redis://:***@h:1: Timeout reading"),
        ("redis://h:1", "Error while reading from h:1 : (104,)", "redis://h:1: Error while reading: (104,)"),
        (
            "unix:///run/s",
            "Error while reading from /run/s: (32,)",
            "unix:///run/s: Error while reading: (32,)",
        ),
        ("redis+cluster://a:1", "Timeout reading from b:2", "redis+cluster://a:1: Timeout reading from b:2"),
    ],
)
def test_an_error_names_the_server_once(url: str, said: str, told: str) -> None:
    assert str(translate(theirs.ConnectionError(said), url)) == told
