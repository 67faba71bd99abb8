"""The forms of a ``redis_url``, and which servers it names.

A URL names one server; or a group, by its Sentinels and its name; or a cluster, by some of its nodes.
redis-py parses the first kind by itself, and has no URL for the others.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

import attrs

__all__ = ["FORMS", "ServerURL", "Unusable", "database", "server_url"]

#: Ports where a URL names none.
_PORTS = {"sentinel": 26379, "cluster": 6379}
#: Schemes of one server, then of several.
FORMS = frozenset({"redis", "rediss", "unix", "embedded", "memory"}) | {
    f"{scheme}+{form}" for scheme in ("redis", "rediss") for form in _PORTS
}


#: A database, as nothing but digits; no server has as many as ten of them can say.
_NUMBER = re.compile(r"[0-9]{1,9}")
#: Behind the host.
_PATH = re.compile(rf"(?:/(?:({_NUMBER.pattern})/?)?)?")


class Unusable(ValueError):
    """A value that cannot be used, with words that say why."""


@attrs.frozen
class ServerURL:
    """A URL in its parts.

    Attributes:
        form: ``server``, ``sentinel`` or ``cluster``.
        hosts: host and port of each server that is named; none where redis-py is to read the URL.
        service: the name of the group that Sentinels watch over.
        single: the URL of one server with the same user, password, database and options, as redis-py
            reads it.
    """

    form: str
    hosts: tuple[tuple[str, int], ...]
    service: str
    single: str = attrs.field(repr=False)


def server_url(url: str) -> ServerURL:
    """A URL's parts.

    Raises:
        Unusable: it is none; the text says what is wrong, without the URL.

    Example:
        >>> found = server_url("rediss+sentinel://:secret@a,b:26380/main/2?sentinel_password=x")
        >>> found.form, found.hosts, found.service, found.single
        ('sentinel', (('a', 26379), ('b', 26380)), 'main', 'rediss://:secret@a:26379/2?sentinel_password=x')
        >>> server_url("redis+cluster://a:7000,[::1]:7001").hosts
        (('a', 7000), ('::1', 7001))
        >>> server_url("redis+sentinel://a").service
        Traceback (most recent call last):
        ...
        runnel_trio...Unusable: it lacks the name of the group behind the hosts, as in …/mymaster
    """
    parts = urlsplit(url)
    scheme, _, form = parts.scheme.partition("+")
    number = _number(parts, "" if scheme == "unix" else _behind_group(parts.path, form))
    if not form:
        return ServerURL("server", (), "", url)
    login, at, named = parts.netloc.rpartition("@")
    hosts = tuple(_host(text, _PORTS[form]) for text in named.split(","))
    service = _group(parts.path) if form == "sentinel" else ""
    if form == "cluster" and number:
        raise Unusable("a cluster has no databases but 0: leave the number out")
    single = _single(parts, scheme, f"{login}{at}", hosts[0])
    return ServerURL(form, hosts, service, single)


def database(url: str) -> int:
    """The number of the database in the URL of one server.

    Raises:
        Unusable: there is none, or there are two.

    Example:
        >>> database("redis://h/2"), database("redis://h?db=3"), database("unix:///run/s"), database("redis://h/")
        (2, 3, 0, 0)
        >>> database("redis://h/1x")
        Traceback (most recent call last):
        ...
        runnel_trio...Unusable: what stands behind the host is no number of a database, as in …/1
    """
    parts = urlsplit(url)
    return _number(parts, "" if parts.scheme == "unix" else parts.path)


def _number(parts: SplitResult, path: str) -> int:
    """That of the path or of ``?db=``: a path that redis-py cannot read is database 0 to it."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise Unusable("what stands behind the host is no number of a database, as in …/1")
    options = [text for name, text in parse_qsl(parts.query, keep_blank_values=True) if name == "db"]
    if not all(_NUMBER.fullmatch(text) for text in options):
        raise Unusable("what stands behind db= is no number of a database, as in ?db=1")
    numbers = options + ([found[1]] if found[1] else [])
    if len(numbers) > 1:
        raise Unusable("it names a database twice: leave one of the numbers out")
    return int(numbers[0]) if numbers else 0


def _behind_group(path: str, form: str) -> str:
    """The path without the name of the group, where there is one."""
    _, slash, rest = path.removeprefix("/").partition("/")
    return slash + rest if form == "sentinel" else path


def _group(path: str) -> str:
    """The name that Sentinels know their servers by."""
    name = path.removeprefix("/").partition("/")[0]
    if not name:
        raise Unusable("it lacks the name of the group behind the hosts, as in …/mymaster")
    return name


def _single(parts: SplitResult, scheme: str, login: str, host: tuple[str, int]) -> str:
    name = f"[{host[0]}]" if ":" in host[0] else host[0]
    number = _behind_group(parts.path, parts.scheme.partition("+")[2]).strip("/")
    database = f"/{number}" if number else ""
    query = f"?{parts.query}" if parts.query else ""
    return f"{scheme}://{login}{name}:{host[1]}{database}{query}"


def _host(text: str, port: int) -> tuple[str, int]:
    try:
        split = urlsplit(f"//{text}")
        name, given = split.hostname, split.port
    except ValueError:
        raise Unusable("a port is no number from 0 to 65535") from None
    if not name or split.path:
        raise Unusable("a host is missing between its commas")
    return name, port if given is None else given
