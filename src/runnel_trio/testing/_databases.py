"""Databases of a server for tests: each test has its own, which is empty before and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from runnel_trio._broker._redis._transport._connection import Connection
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._broker._redis._transport._scripts import PlainCommand
from runnel_trio._report._redaction import redacted
from runnel_trio._report._words import counted
from runnel_trio._settings._urls import database
from runnel_trio.exceptions import Misconfigured

__all__ = ["emptied", "with_database"]


def with_database(url: str, ahead: int) -> str:
    """The URL of the database ``ahead`` numbers after the one in a URL.

    Example:
        >>> with_database("redis://localhost/2", 3)
        'redis://localhost?db=5'
        >>> with_database("unix:///run/valkey.sock?password=x", 1)
        'unix:///run/valkey.sock?password=x&db=1'
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    path = parts.path if parts.scheme == "unix" else ""
    number = database(url) + ahead
    place = f"{parts.scheme}://{parts.netloc}{path}"
    return f"{place}?{urlencode({**query, 'db': str(number)}, safe='/')}"


@contextmanager
def emptied(url: str, *, refuse_full: bool) -> Iterator[None]:
    """Empty a database before and after the body.

    Args:
        url: of a server and its database.
        refuse_full: refuse a database that has keys, since they are not left over from an earlier test.

    Raises:
        Misconfigured: it has keys.
        BrokerUnavailable, BrokerRefused: the server cannot be reached, or has no such database.
    """
    connection = Connection(Endpoint.at(url))
    try:
        keys = _ask(connection, "DBSIZE")
        if keys and refuse_full:
            raise Misconfigured(
                f"{redacted(url)} has {counted(keys, 'key')}, and tests delete everything there: name a "
                "database that is empty, such as …/15"
            )
        _ask(connection, "FLUSHDB")
        connection.close()  # the server may not be the same after the test
        yield
        _ask(connection, "FLUSHDB")
    finally:
        connection.close()


def _ask(connection: Connection, *words: str) -> Any:
    (reply,) = connection.exchange([PlainCommand(words, "")])
    if isinstance(reply, Exception):
        raise reply
    return reply
