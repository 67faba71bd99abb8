"""Settings: where they come from, what is refused, and in which words."""

from __future__ import annotations

import enum
import importlib
import inspect
import math
import sys
import warnings
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, get_type_hints
from zoneinfo import ZoneInfo

import attrs
import pytest

from runnel_trio import App, ExceptionPolicy, Misconfigured, Overflow, Record
from runnel_trio._codec import JSONSerializer
from runnel_trio.interfaces import Serializer
from runnel_trio.settings import GivenSettings, Settings, describe

DOCS = Path(__file__).parent.parent / "docs"

#: The settings of the API reference, with its defaults and units where DESIGN keeps them, and the new ones.
DEFAULTS: dict[str, object] = {
    "redis_url": "redis://127.0.0.1:6379",
    "redis_options": None,
    "redis_factory": None,
    "log_format": "console",
    "log_level": "info",
    "autodiscover": None,
    "timezone": UTC,
    "leadership_poll_interval": 4000,
    "testing": False,
    "default_partition_count": 16,
    "default_serializer": None,
    "default_hasher": None,
    "default_exception_policy": ExceptionPolicy.HALT,
    "default_lock_expiry": 10,
    "default_read_timeout": 2000,
    "default_prefetch_count": 1000,
    "default_prefetch_bytes": 4 * 1024 * 1024,
    "default_assignment_attempts": 32,
    "default_assignment_sleep": 2,
    "default_grace_period": 8,
    "default_pool_size": 16,
    "default_join_delay": 0,
    "default_partition_size": 50_000,
    "default_max_unacked": 1000,
    "default_concurrency": 1,
    "default_timeout": 0,
    "default_max_ahead": 10_000,
    "default_max_parked": 10_000,
    "default_overflow": Overflow.BLOCK,
    "default_max_attempts": 3,
    "default_commit_replicas": 0,
    "default_max_event_bytes": 64 * 1024 * 1024,
    "stall_limit": 300,
    "table_cache_bytes": 16 * 1024 * 1024,
}


class Shouting(Serializer):
    """A serializer that a name can point to."""

    def dumps(self, value: Any) -> bytes:
        return repr(value).upper().encode()

    def loads(self, value: bytes) -> Any:
        return value.decode()


class Broken(Shouting):
    def __init__(self) -> None:
        raise OSError("no disk")


def length(key: Any) -> int:
    return len(key)


instance = Shouting()
word = "a text"


@pytest.fixture(autouse=True)
def importable_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "named_here", sys.modules[__name__])


def make_app() -> None:
    """As deep in the call stack as an App makes its settings."""
    Settings()


def refusal(**given: object) -> str:
    with pytest.raises(Misconfigured) as caught:
        Settings(**given)
    return str(caught.value)


def refusal_of_variable(monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> str:
    monkeypatch.setenv(variable, text)
    return refusal()


def test_defaults() -> None:
    assert attrs.asdict(Settings()) == DEFAULTS


def test_keyword_wins_over_variable_wins_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNEL_DEFAULT_LOCK_EXPIRY", "30")
    monkeypatch.setenv("RUNNEL_LOG_LEVEL", "debug")
    settings = Settings(default_lock_expiry=20)
    assert (settings.default_lock_expiry, settings.log_level, settings.stall_limit) == (20, "debug", 300)


def test_type_checkers_know_every_setting_and_what_it_may_be_given() -> None:
    given, used = get_type_hints(GivenSettings), get_type_hints(Settings)
    assert list(given) == [field.name for field in attrs.fields(Settings)]
    assert not GivenSettings.__required_keys__
    for name, allowed in given.items():
        kind = used[name]
        by_name = isinstance(kind, type) and issubclass(kind, enum.Enum | tzinfo)
        assert allowed == (kind | str | None if by_name else kind | None), name


def test_only_none_means_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNEL_DEFAULT_JOIN_DELAY", "2")
    monkeypatch.setenv("RUNNEL_TESTING", "true")
    assert Settings(default_join_delay=None).default_join_delay == 2
    assert Settings(default_join_delay=0).default_join_delay == 0
    assert Settings(testing=False).testing is False


def test_settings_are_frozen_values() -> None:
    settings = Settings(log_level="debug")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        settings.log_level = "info"  # type: ignore[misc]  # that it is refused is the test
    assert settings == Settings(log_level="debug")
    assert settings != Settings()


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("RUNNEL_REDIS_URL", "localhost", "redis://localhost"),
        ("RUNNEL_LOG_FORMAT", "JSON", "json"),
        ("RUNNEL_AUTODISCOVER", "shop/**/streams.py", "shop/**/streams.py"),
        ("RUNNEL_TIMEZONE", "Europe/Berlin", ZoneInfo("Europe/Berlin")),
        ("RUNNEL_TIMEZONE", "utc", UTC),
        ("RUNNEL_LEADERSHIP_POLL_INTERVAL", "500", 500),
        ("RUNNEL_TESTING", "1", True),
        ("RUNNEL_TESTING", "Off", False),
        ("RUNNEL_STALL_LIMIT", "0.5", 0.5),
        ("RUNNEL_DEFAULT_PARTITION_COUNT", "65536", 65536),
        ("RUNNEL_DEFAULT_PARTITION_SIZE", " 7 ", 7),
        ("RUNNEL_DEFAULT_OVERFLOW", "trim", Overflow.TRIM),
        ("RUNNEL_DEFAULT_EXCEPTION_POLICY", "QUARANTINE", ExceptionPolicy.QUARANTINE),
        ("RUNNEL_DEFAULT_SERIALIZER", "named_here:instance", "named_here:instance"),
        ("RUNNEL_DEFAULT_HASHER", "named_here.length", "named_here.length"),
    ],
)
def test_every_kind_can_be_read_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, value: object
) -> None:
    monkeypatch.setenv(variable, text)
    assert getattr(Settings(), variable.removeprefix("RUNNEL_").lower()) == value


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ("[::1]:6379/2", "redis://[::1]:6379/2"),
        ("user:pw@db", "redis://user:pw@db"),
        *[
            (url, url)
            for url in (
                "redis://",
                "rediss://db:1/0?ssl_cert_reqs=none",
                "unix:///run/redis.sock?db=1",
                "embedded://",
                "embedded:///var/lib/it",
                "embedded://data",
                "memory://",
            )
        ],
    ],
)
def test_urls(given: str, used: str) -> None:
    assert Settings(redis_url=given).redis_url == used


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("redis_url", "http://db", "HOST:PORT, redis://"),
        ("redis_url", "127.0.0.1:many", "HOST:PORT"),
        ("redis_url", "", "HOST:PORT"),
        ("redis_url", "/run/redis.sock", "unix://PATH"),
        ("redis_url", "unix://", "unix://PATH"),
        ("redis_url", "redis://[::1", "HOST:PORT"),
        ("redis_url", 6379, "HOST:PORT"),
        (
            "redis_url",
            "redis//localhost",
            "cannot be used: the colon is missing, write redis://localhost: expected",
        ),
        ("redis_url", "unix:/run/redis.sock", "the second slash is missing, write unix://run/redis.sock"),
        ("log_format", "xml", "one of console, json"),
        ("log_level", 10, "one of debug, info"),
        ("autodiscover", "", "a pattern"),
        ("autodiscover", "/srv/**/streams.py", "relative to the current directory"),
        ("timezone", "Mars/Olympus", "name of a time zone"),
        ("timezone", 1, "a tzinfo object"),
        ("timezone", "x" * 300, "name of a time zone"),
        ("leadership_poll_interval", 0, "milliseconds, 1 or more"),
        ("leadership_poll_interval", 0.5, "a whole number"),
        ("testing", 1, "True or False"),
        ("stall_limit", 0, "above 0"),
        ("stall_limit", math.inf, "a number of seconds above 0"),
        ("default_partition_count", 0, "from 1 to 65536"),
        ("default_partition_count", 65537, "from 1 to 65536"),
        ("default_partition_count", True, "from 1 to 65536"),
        ("default_partition_size", math.nan, "1 or more"),
        ("default_partition_size", math.inf, "1 or more"),
        ("default_serializer", JSONSerializer, "an instance of a Serializer"),
        ("default_serializer", "no name!", "package.module:name"),
        ("default_serializer", "module", "package.module:name"),
        ("default_hasher", 1, "a callable"),
        ("default_exception_policy", "explode", "one of halt, quarantine, park, ignore"),
        ("default_overflow", 1, "one of block, error, trim"),
        ("default_max_attempts", 0, "1 or more"),
        ("default_lock_expiry", 0, "a number of seconds above 0"),
        ("default_lock_expiry", "10", "a number of seconds above 0"),
        ("default_lock_expiry", True, "a number of seconds above 0"),
        ("default_lock_expiry", 10**400, "a number of seconds above 0"),
        ("default_read_timeout", 0, "1 or more"),
        ("default_prefetch_count", 0, "1 or more"),
        ("default_prefetch_bytes", 0, "1 or more"),
        ("default_max_unacked", 0, "1 or more"),
        ("default_max_event_bytes", 0, "1 or more"),
        ("default_assignment_sleep", -1, "0 or more"),
        ("default_grace_period", -0.1, "0 or more"),
        ("default_pool_size", 1.5, "a whole number"),
        ("default_join_delay", math.nan, "0 or more"),
    ],
)
def test_wrong_value_is_told_with_keyword_value_and_expectation(
    name: str, value: object, expected: str
) -> None:
    text = refusal(**{name: value})
    assert text.startswith(f"{name}=")
    assert str(value) in text or repr(value) in text
    assert expected in text


def test_a_number_of_so_many_digits_that_python_does_not_write_it_is_refused() -> None:
    text = refusal(default_partition_count=2**50_000)
    assert text.startswith("default_partition_count=a very large int cannot be used: expected a whole number")


def test_wrong_variable_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    text = refusal_of_variable(monkeypatch, "RUNNEL_DEFAULT_LOCK_EXPIRY", "soon")
    assert text == "RUNNEL_DEFAULT_LOCK_EXPIRY='soon' cannot be used: expected a number of seconds above 0"


@pytest.mark.parametrize("setting", describe(), ids=lambda setting: setting.name)
def test_empty_variable_is_refused(monkeypatch: pytest.MonkeyPatch, setting: Any) -> None:
    assert refusal_of_variable(monkeypatch, setting.variable, "").startswith(f"{setting.variable}=''")


def test_unknown_keyword_is_refused_with_the_one_meant() -> None:
    assert "did you mean log_level?" in refusal(loglevel="info")
    assert "did you mean default_lock_expiry?" in refusal(lock_expiry=1)
    assert "did you mean metrics?" in refusal(metric=None)
    assert "there are redis_url, " in refusal(colour="red")


def test_unknown_keyword_of_a_stream_or_processor_is_refused_with_the_one_meant() -> None:
    app = App("shop")
    with pytest.raises(
        Misconfigured, match=r"stream\(\) takes no argument partiton_by: did you mean partition_by\?"
    ):
        app.stream("orders", Record, partiton_by="key")  # type: ignore[call-arg]
    with pytest.raises(
        Misconfigured, match=r"processor\(\) .* exeption_policy: did you mean exception_policy\?"
    ):
        app.processor(None, exeption_policy="halt")  # type: ignore[call-arg]
    with pytest.raises(
        Misconfigured, match=r"processor\(\) takes no argument colour: there are stream, name, "
    ):
        app.processor(None, colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("RUNNEL_LOCK_EXPIRY", "RUNNEL_DEFAULT_LOCK_EXPIRY"),
        ("RUNNEL_REDISURL", "RUNNEL_REDIS_URL"),
        ("runnel_log_level", "RUNNEL_LOG_LEVEL"),
    ],
)
def test_misspelt_variable_gives_a_warning(
    monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.warns(UserWarning, match=f"{variable} is not a setting: did you mean {meant}?") as caught:
        make_app()
    assert caught[0].filename == __file__


def test_other_variables_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNNEL_EMBEDDED_BINARY", "redis-server")
    monkeypatch.setenv("RUNNEL_OF_MY_OWN", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Settings()


def test_passwords_are_not_shown() -> None:
    assert "redis://me:***@db:1" in repr(Settings(redis_url="redis://me:secret:@b@db:1"))
    assert "secret" not in repr(Settings(redis_url="unix:///s?password=secret&db=1"))
    assert "secret" not in refusal(redis_url="http://me:secret@db")
    assert "secret" not in refusal(redis_url="me:secret@db:port")
    assert "secret" not in refusal(redis_url="redis//me:secret@db")


def test_a_timezone_may_be_any_tzinfo() -> None:
    class Oddly(tzinfo):
        def utcoffset(self, dt: datetime | None) -> timedelta:
            return timedelta(minutes=7)

        def dst(self, dt: datetime | None) -> None:
            return None

        def tzname(self, dt: datetime | None) -> str:
            return "odd"

    for zone in (Oddly(), timezone(timedelta(hours=1)), ZoneInfo("Asia/Tokyo")):
        assert Settings(timezone=zone).timezone is zone


def test_zones_come_from_dateutil_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(key: str) -> None:
        raise LookupError(key)

    monkeypatch.setattr("runnel_trio._settings._kinds.ZoneInfo", missing)
    zone = Settings(timezone="Asia/Tokyo").timezone
    assert datetime(2026, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=9)


# resolve: what streams and processors use


def test_resolve_takes_what_was_given_or_the_default() -> None:
    settings = Settings(default_join_delay=5, default_overflow="error")
    assert settings.resolve("join_delay", 0) == 0
    assert settings.resolve("join_delay") == 5
    assert settings.resolve("overflow") is Overflow.ERROR
    assert settings.resolve("overflow", "block") is Overflow.BLOCK
    assert settings.resolve("serializer") is None


def test_resolve_refuses_by_the_keyword_of_the_call() -> None:
    with pytest.raises(Misconfigured, match=r"^partition_count=0 cannot be used: expected a whole number"):
        Settings().resolve("partition_count", 0)


@pytest.mark.parametrize("name", ["named_here.instance", "named_here:instance", "named_here:Shouting"])
def test_a_serializer_can_be_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("RUNNEL_DEFAULT_SERIALIZER", name)
    assert isinstance(Settings().resolve("serializer"), Shouting)


def test_a_hasher_can_be_named() -> None:
    assert Settings().resolve("hasher", "named_here:length") is length


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nowhere_at_all:x", "No module named 'nowhere_at_all'"),
        ("named_here:missing", "no attribute 'missing'"),
        ("named_here:Broken", "OSError: no disk"),
        ("named_here:length", "expected an instance of a Serializer"),
        ("named_here:word", "expected an instance of a Serializer"),
    ],
)
def test_a_name_that_leads_nowhere_is_told(name: str, reason: str) -> None:
    settings = Settings(default_serializer=name)
    with pytest.raises(Misconfigured) as caught:
        settings.resolve("serializer")
    text = str(caught.value)
    assert text.startswith(f"default_serializer='{name}'")
    assert reason in text


# What is documented


def test_every_setting_is_described() -> None:
    assert {x.name for x in describe()} == set(DEFAULTS)
    for x in describe():
        assert f"\n    {x.name}: " in (inspect.getdoc(Settings) or "")
        assert x.doc.endswith(".")


def test_the_page_of_settings_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS / "tools")
    table = importlib.import_module("settings_table")
    page = table.PAGE.read_text()
    assert page == table.written(page), "run: python docs/tools/settings_table.py"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("redis_url", "redis://h:1/2", "redis://h:1/2"),
        ("redis_url", "h:1", "redis://h:1"),
        ("redis_options", '{"db": 1}', {"db": 1}),
        ("redis_factory", "shop:client", "shop:client"),
        ("log_level", "debug", "debug"),
        ("autodiscover", "shop/*.py", "shop/*.py"),
        ("timezone", "utc", UTC),
        ("testing", "yes", True),
        ("default_overflow", "trim", Overflow.TRIM),
        ("default_pool_size", "3", 3),
        ("default_lock_expiry", "3", 3.0),
        ("default_hasher", "shop:hashed", "shop:hashed"),
    ],
)
def test_blanks_around_a_text_mean_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, text: str, value: object
) -> None:
    monkeypatch.setenv(f"RUNNEL_{name.upper()}", f" {text}\r\n")
    assert getattr(Settings(), name) == value
    monkeypatch.delenv(f"RUNNEL_{name.upper()}")
    (tmp_path / "runnel.toml").write_text(f"{name} = '  {text} '")
    monkeypatch.chdir(tmp_path)
    assert getattr(Settings(), name) == value


@pytest.mark.parametrize(
    "url", [" redis://h", "redis:// h", "redis://h ", "redis://h\n", "h :1", "redis://h\udce9"]
)
def test_a_url_has_no_blank_and_nothing_that_is_no_character(url: str) -> None:
    with pytest.raises(Misconfigured, match="must not stand in it") as caught:
        Settings(redis_url=url)
    str(caught.value).encode()


def test_the_path_of_a_socket_may_have_a_blank() -> None:
    assert Settings(redis_url="unix:///run/my shop/s").redis_url == "unix:///run/my shop/s"
