"""Where connections go and how they are made, for each way to configure it: a URL, options, or a client.

A URL, options, or a client that somebody has made come down to one of redis-py's connection pools. From it
only the settings of connections are taken: ours have no retries (redis-py repeats a command whose answer was
lost, which stores an XADD twice), speak RESP2, and have a timeout on every socket, so that a server that
stands still holds nobody for ever.

A pool that Sentinels stand behind asks them for the master whenever a connection is made, so to follow a
failover is to connect anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import redis
from redis import exceptions as theirs
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.cluster import ClusterNode, RedisCluster
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from runnel_trio._broker._redis._transport._errors import Demoted, translating
from runnel_trio._broker._redis._transport._tls import fault
from runnel_trio._broker._values import ServerConfig
from runnel_trio._report._redaction import redacted
from runnel_trio._settings._kinds import number, whole
from runnel_trio._settings._urls import ServerURL, Unusable, server_url
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, Misconfigured, RunnelError

__all__ = ["Endpoint", "Seeds", "check_files", "client_of", "is_secure", "resolve"]

#: Seconds that one answer, and one connecting, may take where nothing else is said.
_TIMEOUT = 5.0
#: Seconds of silence after which Sentinels may have named another master: less than they wait for one.
_SILENCE = 0.5
#: What is ours to decide, and what the URL has to say.
_NOT_OPTIONS = frozenset(
    {
        *("protocol", "retry", "retry_on_timeout", "retry_on_error", "health_check_interval"),
        *("decode_responses", "parser_class", "connection_class", "host", "port", "path"),
    }
)
#: What may stand behind the ? of a URL, beside ssl_…: others are ours to choose, or no text.
_OPTIONS = frozenset(
    {
        *("client_name", "db", "health_check_interval", "password", "socket_connect_timeout"),
        *("socket_keepalive", "socket_read_size", "socket_timeout", "username"),
    }
)
#: What some of them are; that of others is redis-py's to say.
_KINDS = {
    "db": whole("the number of a database", least=0, most=10**9),
    "socket_timeout": number("seconds, more than 0", above=True),
    "socket_connect_timeout": number("seconds, more than 0", above=True),
}
#: In front of the options of connections to Sentinels.
_SENTINEL = "sentinel_"


def _own_settings(timeout: float, patience: float = 0.0) -> dict[str, Any]:
    return {
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": timeout + patience,
        "socket_connect_timeout": timeout,
        "health_check_interval": 0,
        "decode_responses": False,
    }


@attrs.define(eq=False, kw_only=True)
class Endpoint:
    """Where a server is, and how long it may be silent.

    Attributes:
        url: for people, and for clients of their own.
        pool: of redis-py; only its settings are used.
        address: host and port instead of those in the settings: of a cluster's node.
        timeout: seconds that one answer, and one connecting, may take.
        moves: how often it was said that the master is another one now: connections that were made before
            lead to the wrong one.
    """

    url: str = attrs.field(repr=redacted)
    pool: Any = attrs.field(repr=False)
    address: Mapping[str, Any] = attrs.field(factory=dict)
    timeout: float = _TIMEOUT
    moves: int = attrs.field(default=0, init=False)

    @classmethod
    def at(cls, url: str, timeout: float = _TIMEOUT) -> Endpoint:
        """That of a server's URL, as redis-py reads it (redis://, rediss://, unix://)."""
        return cls(url=url, pool=_pool(ServerConfig(url), url), timeout=timeout)

    def connect(self, *, patience: float = 0.0) -> Any:
        """A connected redis-py connection, to be disconnected by the caller.

        Args:
            patience: seconds that a blocking command may take beyond `timeout`.

        Raises:
            Misconfigured: an option cannot be used.
            BrokerUnavailable: nobody answers there.
            BrokerRefused: it does not let us in.
        """
        settings = {**self.pool.connection_kwargs, **self.address, **_own_settings(self.timeout, patience)}
        try:
            connection = self.pool.connection_class(**settings)
        except (ValueError, TypeError, theirs.RedisError) as error:  # of an option, or its value
            raise Misconfigured(f"redis_url {redacted(self.url)!r} cannot be read: {error}") from error
        try:
            with translating(self.url):
                connection.connect()
        except BrokerUnavailable as error:
            if isinstance(error.__cause__, MasterNotFoundError):
                raise _without_master(self.url, self.pool) from error.__cause__
            if not is_secure(self.pool):
                raise
            if wrong := fault(settings):
                raise BrokerUnavailable(f"{redacted(self.url)}: {wrong}") from error.__cause__
            raise BrokerUnavailable(f"{error} {_hint(self.pool, error)}") from error.__cause__
        return connection

    def is_doubtful(self, silence: float) -> bool:
        """Whether an answer that came after so many seconds may be that of a master which was replaced.

        One that was frozen, or cut off, answers what it finds waiting before it hears of another master.
        """
        return silence > _SILENCE and hasattr(self.pool, "get_master_address")

    def confirm(self, connection: Any) -> None:
        """Have Sentinels confirm that a connection leads to the master. It blocks.

        Raises:
            Demoted: it does not. What was read from it is worth nothing.
            BrokerUnavailable: they do not know of any.
        """
        with translating(self.url):
            master = self.pool.get_master_address()
        if master != (connection.host, connection.port):
            raise Demoted(f"{redacted(self.url)}: another master has taken over while it was silent")


@attrs.frozen(kw_only=True)
class Seeds:
    """A cluster: nodes to begin with, and how connections to its nodes are made."""

    url: str = attrs.field(repr=redacted)
    pool: Any = attrs.field(repr=False)
    nodes: tuple[tuple[str, int], ...]
    timeout: float = _TIMEOUT


def resolve(config: ServerConfig) -> Endpoint | Seeds:
    """Where a configuration leads; nothing is connected to.

    Raises:
        Misconfigured: it cannot be read.
    """
    if config.factory is not None:
        return _resolve_client(config.factory)
    try:
        url = server_url(config.url)
    except Unusable as error:
        raise Misconfigured(f"redis_url {redacted(config.url)!r} cannot be used: {error}") from error
    pool = _pool(config, url.single)
    timeout = _timeout(pool)
    if url.form == "cluster":
        return Seeds(url=config.url, pool=pool, nodes=url.hosts, timeout=timeout)
    if url.form == "sentinel":
        pool = _sentinel_pool(config, url, pool, timeout)
    return Endpoint(url=config.url, pool=pool, timeout=timeout)


def check_files(target: Endpoint | Seeds) -> None:
    """Refuse files for TLS that cannot be used. It blocks.

    Raises:
        Misconfigured: names the one, and what is wrong with it.
    """
    manager = getattr(target.pool, "sentinel_manager", None)
    sentinels = [x.connection_pool.connection_kwargs for x in manager.sentinels[:1]] if manager else []
    for settings in (target.pool.connection_kwargs, *sentinels):
        if wrong := fault(settings):
            raise Misconfigured(f"{redacted(target.url)}: {wrong}")


def client_of(config: ServerConfig) -> Any:
    """A client of redis-py for a server, with its own ways of repeating and of keeping connections.

    Raises:
        Misconfigured: the configuration cannot be read.
    """
    if config.factory is not None:
        client = config.factory()
        _refuse_client(client)
        return client
    target = resolve(config)
    if isinstance(target, Endpoint):
        return redis.Redis(connection_pool=target.pool)
    node: Any = ClusterNode  # as below: redis-py types them only in part
    nodes = [node(host, port) for host, port in target.nodes]
    options = {name: x for name, x in config.options.items() if not name.startswith(_SENTINEL)}
    clusters: Any = RedisCluster
    return clusters.from_url(server_url(config.url).single, startup_nodes=nodes, **options)


def _pool(config: ServerConfig, url: str) -> Any:
    """redis-py's own reading of a server's URL."""
    own = {name: x for name, x in config.options.items() if not name.startswith(_SENTINEL)}
    if wrong := sorted(_NOT_OPTIONS & own.keys()):
        raise Misconfigured(f"redis_options cannot have {', '.join(wrong)}: the URL says it, or we decide it")
    for name, given in parse_qs(urlsplit(url).query, keep_blank_values=True).items():
        if len(given) > 1:
            raise Misconfigured(f"redis_url {redacted(config.url)!r} cannot be read: it has {name!r} twice")
        if name not in _OPTIONS and not name.startswith(("ssl_", _SENTINEL)):
            raise Misconfigured(
                f"redis_url {redacted(config.url)!r} cannot be read: it has no option {name!r}"
            )
    if url.startswith("redis:") and (names := _tls_options(url, own)):
        raise Misconfigured(
            f"redis_url {redacted(config.url)!r} is without TLS, and {', '.join(names)} is for TLS: write "
            "rediss://, or leave it out"
        )
    if url.startswith("unix:"):
        own = {name: x for name, x in own.items() if not name.startswith("ssl_")}
    try:
        pool: Any = redis.ConnectionPool.from_url(url, **own)
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"redis_url {redacted(config.url)!r} cannot be read: {error}") from error
    _refuse_values(pool.connection_kwargs)
    for name in [x for x in pool.connection_kwargs if x.startswith(_SENTINEL)]:
        del pool.connection_kwargs[name]
    return pool


def _tls_options(url: str, options: Mapping[str, Any]) -> list[str]:
    given = {*parse_qs(urlsplit(url).query), *options}
    return sorted(name for name in given if name.startswith("ssl_"))


def _refuse_values(options: Mapping[str, Any]) -> None:
    """Refuse what redis-py takes, and fails with later, or does something else."""
    for name, kind in _KINDS.items():
        if options.get(name) is not None:
            kind.checked(f"the option {name}", options[name])


def _sentinel_pool(config: ServerConfig, url: ServerURL, pool: Any, timeout: float) -> Any:
    """The pool whose connections lead to the master that Sentinels name.

    They share no password with it (by default they have none), but how TLS is to be done.
    """
    settings = dict(pool.connection_kwargs)
    from_url = redis.ConnectionPool.from_url(url.single).connection_kwargs
    given = {**config.options, **from_url}
    own = {name: x for name, x in settings.items() if name.startswith(("ssl_", "socket_"))}
    own |= {name.removeprefix(_SENTINEL): x for name, x in given.items() if name.startswith(_SENTINEL)}
    secure = is_secure(pool)
    for gone in ("host", "port"):
        settings.pop(gone, None)
    try:
        settings["ssl"] = own["ssl"] = secure
        sentinels: Any = Sentinel  # redis-py types this class, and the next, only in part
        to_sentinels = {**own, **_sentinel_settings(timeout)}
        group = sentinels(list(url.hosts), sentinel_kwargs=to_sentinels, **settings)
        return group.master_for(url.service).connection_pool
    except (ValueError, TypeError) as error:
        raise Misconfigured(f"redis_url {redacted(config.url)!r} cannot be used: {error}") from error


def _without_master(url: str, pool: Any) -> RunnelError:
    """Why Sentinels name no master. It blocks."""
    group, where = pool.service_name, redacted(url)
    refused, groups, answers = "", set[str](), 0
    for sentinel in pool.sentinel_manager.sentinels:
        settings = sentinel.connection_pool.connection_kwargs
        address = f"{settings['host']}:{settings['port']}"
        try:
            groups.update(sentinel.sentinel_masters())
            answers += 1
        except (theirs.AuthenticationError, theirs.NoPermissionError) as error:
            refused = f"{where}: the Sentinel {address} refuses: {error}. Give sentinel_password behind a ?."
        except theirs.RedisError:
            pass
    if group in groups:
        return BrokerUnavailable(f"{where}: no master of {group} is up")
    if refused:
        return BrokerRefused(refused)
    if not answers:
        return BrokerUnavailable(f"{where}: no Sentinel answers")
    known = ", ".join(sorted(groups)) or "none"
    lost = pool.master_address is not None  # we have known it: then it passes
    kind = BrokerUnavailable if lost else Misconfigured
    return kind(f"{where}: the Sentinels know of no group {group}; they know {known}")


def _hint(pool: Any, error: Exception) -> str:
    """TLS 1.3 refuses a client only after it let it in, by hanging up."""
    if isinstance(error.__cause__, theirs.TimeoutError):
        return "(does it speak TLS there?)"
    return "" if pool.connection_kwargs.get("ssl_certfile") else "(does it want a certificate: ssl_certfile?)"


def is_secure(pool: Any) -> bool:
    """Whether its connections are by TLS."""
    return issubclass(pool.connection_class, redis.SSLConnection)


def _sentinel_settings(timeout: float) -> dict[str, Any]:
    """A dead one must not hold us for long: there are others."""
    return _own_settings(min(timeout, 1.0))


def _is_cluster(client: object) -> bool:  # no type guard: redis-py types its methods only in part
    return isinstance(client, RedisCluster)


def _resolve_client(factory: Callable[[], Any]) -> Endpoint | Seeds:
    """Where a client leads that somebody has made."""
    client: Any = factory()
    _refuse_client(client)
    if _is_cluster(client):
        pool = client.get_redis_connection(client.get_default_node()).connection_pool
        nodes = tuple((node.host, int(node.port)) for node in client.get_nodes())
        url = f"redis+cluster://{','.join(f'{host}:{port}' for host, port in nodes)}"
        client.disconnect_connection_pools()  # to close it is not enough
        return Seeds(url=url, pool=pool, nodes=nodes, timeout=_timeout(pool))
    pool = client.connection_pool
    return Endpoint(url=_url_of(pool), pool=pool, timeout=_timeout(pool))


def _refuse_client(client: Any) -> None:
    """Refuse what is no client, or one whose connections are made otherwise.

    Raises:
        Misconfigured: it is so.
    """
    if isinstance(client, redis.Redis | RedisCluster) and not isinstance(client, Pipeline):
        return
    what, hint = f"a {type(client).__name__}", ""
    if client is None:
        what, hint = "None", " (is there a `return`?)"
    elif inspect.iscoroutine(client):
        client.close()
        what, hint = "a coroutine", ": write it with `def` in the place of `async def`"
    elif isinstance(client, type):
        what, hint = f"the class {client.__name__}", ": call it"
    elif type(client).__module__.startswith("redis.asyncio"):
        what, hint = f"an asyncio {type(client).__name__}", ": take the class of the same name from `redis`"
    raise Misconfigured(
        f"redis_factory made {what}{hint}. It has to make a client of redis-py, Redis or RedisCluster"
    )


def _url_of(pool: Any) -> str:
    """Where a client leads, for people."""
    settings = pool.connection_kwargs
    if service := getattr(pool, "service_name", None):
        return f"redis+sentinel:///{service}"
    if path := settings.get("path"):
        return f"unix://{path}"
    scheme = "rediss" if is_secure(pool) else "redis"
    return f"{scheme}://{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


def _timeout(pool: Any) -> float:
    return float(pool.connection_kwargs.get("socket_timeout") or _TIMEOUT)
