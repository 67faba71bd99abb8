"""What a ``redis_url`` may look like, and which servers it names.

A URL names one server; a group that Sentinels watch over, by its Sentinels and the group's name; or a
cluster, by some of its nodes. redis-py reads the first kind by itself, and has no text for the others.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

import attrs

__all__ = ["FORMS", "ServerURL", "Unusable", "server_url"]

#: Ports where a URL names none.
_PORTS = {"sentinel": 26379, "cluster": 6379}
#: Schemes of one server, then of several.
FORMS = frozenset({"redis", "rediss", "unix", "embedded", "memory"}) | {
    f"{scheme}+{form}" for scheme in ("redis", "rediss") for form in _PORTS
}


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
        runnel_trio._urls.Unusable: it lacks the name of the group behind the hosts, as in …/mymaster
    """
    parts = urlsplit(url)
    scheme, _, form = parts.scheme.partition("+")
    if not form:
        return ServerURL("server", (), "", url)
    login, at, named = parts.netloc.rpartition("@")
    hosts = tuple(_host(text, _PORTS[form]) for text in named.split(","))
    path = [part for part in parts.path.split("/") if part]
    service = _service(path) if form == "sentinel" else ""
    if len(path) > 1:
        raise Unusable("behind the hosts there is more than a database")
    if path and not path[0].isdecimal():
        raise Unusable(f"behind the hosts, {path[0]!r} is no number of a database")
    if form == "cluster" and path not in ([], ["0"]):
        raise Unusable("a cluster has no databases but 0: leave the number out")
    single = _single(parts, scheme, f"{login}{at}", hosts[0], path)
    return ServerURL(form, hosts, service, single)


def _service(path: list[str]) -> str:
    """Taken off the path."""
    if not path:
        raise Unusable("it lacks the name of the group behind the hosts, as in …/mymaster")
    return path.pop(0)


def _single(parts: SplitResult, scheme: str, login: str, host: tuple[str, int], path: list[str]) -> str:
    name = f"[{host[0]}]" if ":" in host[0] else host[0]
    database = f"/{path[0]}" if path else ""
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
