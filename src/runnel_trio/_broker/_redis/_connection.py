"""Connections as this library needs them, and redis-py's errors in our own words.

redis-py repeats a command whose answer was lost, which stores an XADD twice. So every connection is made
without retries: what may be repeated is repeated by the caller, who knows. Every socket has a timeout, so
that a server that stands still holds nobody for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
import redis
from redis import exceptions as theirs
from redis.backoff import NoBackoff
from redis.retry import Retry

from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, Misconfigured, RunnelError

__all__ = ["Endpoint", "mapped", "redacted", "translate"]

#: What a server answers that passes by itself, by the first word.
_PASSING = frozenset(
    {"BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY"}
)
_PASSING_KINDS = (
    theirs.ConnectionError,
    theirs.TimeoutError,
    theirs.ReadOnlyError,
    theirs.OutOfMemoryError,
    theirs.ClusterDownError,
)
_REFUSALS = (theirs.AuthenticationError, theirs.AuthorizationError, theirs.NoPermissionError)


def redacted(url: str) -> str:
    """The URL without its password, fit for logs and errors."""
    parts = urlsplit(url)
    query = "&".join(
        "password=***" if part.startswith("password=") else part for part in parts.query.split("&")
    )
    netloc = parts.netloc
    if parts.password is not None:
        netloc = netloc.replace(f":{parts.password}@", ":***@")
    return f"{parts.scheme}://{netloc}{parts.path}{'?' if query else ''}{query}"


def translate(error: Exception, url: str) -> RunnelError:
    """Our error for one of redis-py's: does waiting heal it, or not?"""
    said = str(error) or type(error).__name__
    if isinstance(error, _REFUSALS):
        return BrokerRefused(f"{redacted(url)} refuses: {said}. Check user, password and permissions.")
    if isinstance(error, _PASSING_KINDS) or said.split(" ", 1)[0] in _PASSING:
        return BrokerUnavailable(f"{redacted(url)}: {said}")
    return BrokerRefused(f"{redacted(url)} refuses: {said}")


@contextmanager
def mapped(url: str) -> Iterator[None]:
    """Let no error of redis-py out."""
    try:
        yield
    except theirs.RedisError as error:
        raise translate(error, url) from error


@attrs.frozen(kw_only=True)
class Endpoint:
    """Where a server is, and how long it may be silent.

    Attributes:
        url: as redis-py reads it (redis://, rediss://, unix://).
        timeout: seconds that one answer, and one connecting, may take.
    """

    url: str
    timeout: float = 5.0

    def connect(self, *, patience: float = 0.0) -> Any:
        """A connected redis-py connection, to be disconnected by the caller.

        Args:
            patience: seconds that a blocking command may take beyond `timeout`.

        Raises:
            Misconfigured: the URL cannot be read.
            BrokerUnavailable: nobody answers there.
            BrokerRefused: it does not let us in.
        """
        try:
            pool: Any = redis.ConnectionPool.from_url(
                self.url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                socket_timeout=self.timeout + patience,
                socket_connect_timeout=self.timeout,
            )
        except ValueError as error:
            raise Misconfigured(f"redis_url {redacted(self.url)!r} cannot be read: {error}") from error
        connection = pool.make_connection()
        with mapped(self.url):
            connection.connect()
        return connection
