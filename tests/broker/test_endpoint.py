"""What redis_url, redis_options and redis_factory come down to: nothing is connected to here."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.cluster
import trio
from redis.sentinel import Sentinel

from runnel_trio import App, Misconfigured, Record
from runnel_trio._broker._redis._transport._endpoint import Endpoint, Seeds, resolve
from runnel_trio._broker._shared import server_config
from runnel_trio._broker._values import ServerConfig
from runnel_trio.settings import Settings


class Order(Record):
    n: int


def of(url: str, **options: Any) -> Any:
    return resolve(ServerConfig(Settings(redis_url=url).redis_url, options))


def test_a_server_is_read_by_redis_py() -> None:
    endpoint = of("rediss://me:s%40cret@h:7000/2?socket_timeout=3")
    assert isinstance(endpoint, Endpoint)
    assert issubclass(endpoint.pool.connection_class, redis.SSLConnection)
    settings = endpoint.pool.connection_kwargs
    assert (settings["host"], settings["port"], settings["db"]) == ("h", 7000, 2)
    assert (settings["username"], settings["password"]) == ("me", "s@cret")
    assert endpoint.timeout == 3


def test_options_stand_beside_the_url_which_wins() -> None:
    settings = of("redis://:inside@h", password="outside", username="me").pool.connection_kwargs
    assert (settings["username"], settings["password"]) == ("me", "inside")


@pytest.mark.parametrize("name", ["protocol", "retry", "decode_responses", "host"])
def test_what_is_ours_to_decide_is_no_option(name: str) -> None:
    with pytest.raises(Misconfigured, match=f"redis_options cannot have {name}"):
        of("redis://h", **{name: 1})


def test_options_of_tls_do_not_concern_a_unix_socket() -> None:
    assert "ssl_ca_certs" not in of("unix:///run/x.sock", ssl_ca_certs="ca.pem").pool.connection_kwargs


def test_an_option_that_there_is_not_is_told() -> None:
    with pytest.raises(Misconfigured, match="'colour'"):
        of("redis://h", colour="red").connect()


def test_a_group_is_reached_by_its_sentinels() -> None:
    endpoint = of("redis+sentinel://me:pw@a,b:26380/main/3?sentinel_password=theirs", socket_timeout=2)
    pool = endpoint.pool
    assert (pool.service_name, pool.is_master) == ("main", True)
    assert pool.connection_kwargs["db"] == 3
    assert (pool.connection_kwargs["username"], pool.connection_kwargs["password"]) == ("me", "pw")
    assert endpoint.timeout == 2
    asked = [x.connection_pool.connection_kwargs for x in pool.sentinel_manager.sentinels]
    assert [(x["host"], x["port"]) for x in asked] == [("a", 26379), ("b", 26380)]
    assert all(x["password"] == "theirs" and x.get("username") is None for x in asked)
    assert all(x["socket_timeout"] == 1 for x in asked)


def test_sentinels_have_no_password_unless_it_is_given() -> None:
    pool = of("redis+sentinel://:pw@a/main").pool
    assert pool.sentinel_manager.sentinels[0].connection_pool.connection_kwargs["password"] is None


def test_a_group_is_reached_over_tls_as_are_its_sentinels() -> None:
    pool = of("rediss+sentinel://a/main", ssl_ca_certs="ca.pem").pool
    (asked,) = pool.sentinel_manager.sentinels
    for x in (pool, asked.connection_pool):
        assert issubclass(x.connection_class, redis.SSLConnection)
        assert x.connection_kwargs["ssl_ca_certs"] == "ca.pem"


def test_a_cluster_is_known_by_some_of_its_nodes() -> None:
    seeds = of("redis+cluster://me:pw@a:7000,[::1]:7001,c")
    assert isinstance(seeds, Seeds)
    assert seeds.nodes == (("a", 7000), ("::1", 7001), ("c", 6379))
    assert seeds.pool.connection_kwargs["password"] == "pw"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis+cluster://a/1", "a cluster has no databases but 0"),
        ("redis+cluster://a,,b", "a host is missing between its commas"),
        ("redis+cluster://", "a host is missing"),
        ("redis+cluster://a:x", "a port is no number"),
        ("redis+sentinel://a:1,b:2", "lacks the name of the group"),
        ("redis+sentinel://a/main/x", "no number of a database"),
        ("redis+sentinel://a/main/1/2", "no number of a database"),
        ("unix+cluster://a", "expected HOST:PORT"),
        ("redis+cluster://:se/cret@a", "a host is missing|a port is no number|write %40"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_without_its_password(url: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why) as caught:
        App("shop", redis_url=url)
    assert "cret" not in str(caught.value).replace("***", "")


def test_a_client_that_somebody_has_made_is_asked_how_it_connects() -> None:
    def made() -> redis.Redis:
        return redis.Redis(host="h", port=7000, password="pw", socket_timeout=9)

    endpoint = resolve(server_config(Settings(redis_factory=made)))
    assert isinstance(endpoint, Endpoint)
    assert endpoint.url == "redis://h:7000"
    assert endpoint.timeout == 9
    assert endpoint.pool.connection_kwargs["password"] == "pw"


def test_so_is_one_of_a_group() -> None:
    def made() -> redis.Redis:
        return Sentinel([("a", 26379)]).master_for("main")

    endpoint = resolve(server_config(Settings(redis_factory=made)))
    assert isinstance(endpoint, Endpoint)
    assert endpoint.url == "redis+sentinel:///main"


def test_a_factory_may_be_named_and_is_imported_when_it_is_needed() -> None:
    place = server_config(Settings(redis_factory="runnel_trio_nowhere:made"))
    with pytest.raises(Misconfigured, match="redis_factory='runnel_trio_nowhere:made' cannot be imported"):
        resolve(place)


def test_what_is_no_client_is_refused() -> None:
    with pytest.raises(Misconfigured, match="redis_factory made a dict. It has to make a client of redis-py"):
        resolve(server_config(Settings(redis_factory=dict)))


async def _coroutine() -> None: ...


@pytest.mark.parametrize(
    ("factory", "why"),
    [
        (redis.asyncio.Redis, "an asyncio Redis: take the class of the same name from `redis`"),
        (lambda: redis.asyncio.cluster.RedisCluster(host="h"), "an asyncio RedisCluster"),
        (redis.asyncio.ConnectionPool, "an asyncio ConnectionPool"),
        (lambda: None, r"made None \(is there a `return`\?\)"),
        (redis.ConnectionPool, "made a ConnectionPool"),
        (lambda: redis.Redis().pipeline(), "made a Pipeline"),
        (lambda: redis.Redis, "made the class Redis: call it"),
        (_coroutine, "a coroutine: write it with `def`"),
    ],
)
def test_what_a_factory_makes_has_to_be_a_client(factory: Any, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        resolve(server_config(Settings(redis_factory=factory)))


def test_what_a_factory_raises_reaches_the_caller_as_it_is() -> None:
    def made() -> redis.Redis:
        raise LookupError("no such secret")

    with pytest.raises(LookupError, match="no such secret"):
        trio.run(App("shop", redis_factory=made).stream("s", Order, "n").send, Order(n=1))


def test_options_of_tls_need_a_url_with_tls() -> None:
    for url, options in (
        ("redis://h?ssl_ca_certs=ca.pem", {}),
        ("redis+cluster://h", {"ssl_certfile": "c.pem"}),
    ):
        with pytest.raises(Misconfigured, match="write rediss://"):
            of(url, **options)


def test_another_server_is_used_without_the_factory() -> None:
    app = App("shop", redis_factory=redis.Redis)
    app.use_server("redis://other")
    assert app.settings.redis_factory is None
    assert app._shared.server == ServerConfig("redis://other")


def test_options_come_from_the_environment_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNEL_REDIS_OPTIONS", '{"ssl_ca_certs": "ca.pem", "password": "cret"}')
    settings = Settings()
    assert settings.redis_options == {"ssl_ca_certs": "ca.pem", "password": "cret"}
    assert "ca.pem" in repr(settings)
    assert "cret" not in repr(settings)


@pytest.mark.parametrize("text", ["[]", "{", "3", '{"password": "cret"'])
def test_options_that_cannot_be_read_are_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("RUNNEL_REDIS_OPTIONS", text)
    with pytest.raises(
        Misconfigured, match="RUNNEL_REDIS_OPTIONS=… cannot be used: expected a mapping"
    ) as caught:
        Settings()
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "number"),
    [
        ("redis://h", 0),
        ("redis://h/", 0),
        ("h:1/4", 4),
        ("redis://h/15", 15),
        ("rediss://h/01/", 1),
        ("redis://h?db=3", 3),
        ("redis://h/?db=3", 3),
        ("unix:///run/3", 0),
        ("unix:///run/3?db=2", 2),
        ("redis+sentinel://a/main", 0),
        ("redis+sentinel://a/main/", 0),
        ("redis+sentinel://a/main/3", 3),
        ("redis+sentinel://a/main?db=3", 3),
        ("redis+cluster://a/0", 0),
        ("redis+cluster://a?db=0", 0),
    ],
)
def test_the_database_is_the_number_that_the_url_names(url: str, number: int) -> None:
    assert (of(url).pool.connection_kwargs.get("db") or 0) == number


@pytest.mark.parametrize(
    "host", ["redis://h", "rediss://h", "h:1", "redis+sentinel://a/main", "redis+cluster://a"]
)
@pytest.mark.parametrize(
    "database",
    ["/shop", "/1x", "/1/2", "//", "/ 1", "/1%20", "/%31", "/1.0", "/1e0", "/\N{ARABIC-INDIC DIGIT ONE}", "/-1",
     "/+1", "/1_0", "/0#1", f"/{'9' * 10}", f"/{'9' * 5000}", "?db=x", "?db=", "?db=-1", "?db= 1", "?db=1%20",
     "/1?db=2", "/1?db=1", "?db=1&db=2"],
)  # fmt: skip
def test_a_database_that_is_no_number_is_never_taken_for_another(host: str, database: str) -> None:
    with pytest.raises(Misconfigured, match="database|blank|cannot be used"):
        Settings(redis_url=host + database)


@pytest.mark.parametrize(
    "url", ["unix:///run/s?db=x", "unix:///run/s?db=", "unix:///run/s?db=-1", "unix:///s#1"]
)
def test_the_database_behind_a_socket_is_a_number_too(url: str) -> None:
    with pytest.raises(Misconfigured, match="cannot be used"):
        Settings(redis_url=url)


@pytest.mark.parametrize("url", ["redis+cluster://a/1", "redis+cluster://a?db=1"])
def test_a_cluster_has_no_other_database(url: str) -> None:
    with pytest.raises(Misconfigured, match="no databases but 0"):
        Settings(redis_url=url)


@pytest.mark.parametrize("number", ["x", "", -1, 1.5, True, 10**10])
def test_a_database_among_the_options_is_a_number_too(number: Any) -> None:
    with pytest.raises(Misconfigured, match="option db="):
        of("redis://h", db=number)


def test_an_option_that_is_given_twice_is_refused() -> None:
    with pytest.raises(Misconfigured, match="'client_name' twice"):
        of("redis://h?client_name=a&client_name=b")


@pytest.mark.parametrize(
    "options", [{"socket_timeout": "secret"}, {"socket_timeout": "nan"}, {"socket_connect_timeout": []}]
)
def test_a_time_among_the_options_is_a_number(options: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="option socket_"):
        of("redis://h", **options)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0", "x"])
def test_a_time_in_a_url_is_one(value: str) -> None:
    with pytest.raises(Misconfigured, match="socket_timeout"):
        of(f"redis://h?socket_timeout={value}")
