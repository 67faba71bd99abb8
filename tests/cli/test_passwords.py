"""A server's password is shown nowhere: not by commands, not in logs, not in what is raised."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from runnel_trio import Misconfigured, Settings
from runnel_trio._broker._redis._transport._endpoint import Endpoint
from runnel_trio._cli._logging import Console, JSONLines
from runnel_trio._report._redaction import redacted, redacted_text

SECRET = "s3cr3t"
URL = f"redis://me:{SECRET}@127.0.0.1:1/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (URL, "redis://me:***@127.0.0.1:1/0"),
        (f"redis://:{SECRET}@h", "redis://:***@h"),
        (f"me:{SECRET}@h:1", "me:***@h:1"),
        (f"redis://:a@{SECRET}@h", "redis://:***@h"),
        (f"redis://:a/{SECRET}@h", "redis://:***@h"),
        (f"redis://a/b:{SECRET}@h", "redis://a/b:***@h"),
        (f"redis://:a\n{SECRET}@h", "redis://:***@h"),
        (f"redis://h:6379/0?password=a@{SECRET}", "redis://h:6379/0?password=***"),
        (f"redis://h:6379/0?db=1&PASSWORD={SECRET}&x=1", "redis://h:6379/0?db=1&PASSWORD=***&x=***"),
        (f"rediss://h/?ssl_password={SECRET}", "rediss://h/?ssl_password=***"),
        (f"redis://u:{SECRET}@h/0?password={SECRET}@&db=1", "redis://u:***@h/0?password=***&db=1"),
        (f"unix:///run/s?password={SECRET}", "unix:///run/s?password=***"),
        (f"redis://h?pasword={SECRET}", "redis://h?pasword=***"),
        (f"redis://h/0?auth={SECRET}&db=1", "redis://h/0?auth=***&db=1"),
        (f"redis://h?password:{SECRET}", "redis://h?***"),
        (f"redis://h?{SECRET}", "redis://h?***"),
        (f"redis://h?***{SECRET}", "redis://h?***"),
        (f"redis://h?a=***{SECRET}", "redis://h?a=***"),
        (f"redis://h?db=1;password={SECRET}", "redis://h?db=***"),
        (f"redis://h?pasword=a@{SECRET}", "redis://***"),
        (f"redis+sentinel://a/m?sentinel_pasword={SECRET}", "redis+sentinel://a/m?sentinel_pasword=***"),
        (f"redis://{SECRET}@h", "redis://***@h"),
        (f"h:6380,password={SECRET}=,ssl=True", "h:6380,password=***"),
        (
            "rediss://h?ssl_ca_certs=/etc/ca.pem&socket_timeout=3",
            "rediss://h?ssl_ca_certs=/etc/ca.pem&socket_timeout=3",
        ),
        ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
        ("unix:///run/redis.sock?db=1", "unix:///run/redis.sock?db=1"),
        ("embedded://some/dir", "embedded://some/dir"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


def test_a_text_is_shown_without_the_passwords_of_urls_in_it() -> None:
    said = redacted_text(
        f"from {URL} to unix:///s?password={SECRET} and 'redis://:a'{SECRET}@h' by http://x@y"
    )
    assert (
        said
        == "from redis://me:***@127.0.0.1:1/0 to unix:///s?password=*** and 'redis://:***@h' by http://x@y"
    )


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:12#{SECRET}@h:6379",
        f"redis://me:12?{SECRET}@h:6379",
        f"redis://me:12?{SECRET}@h:6379?db=1",
        f"redis://me:12/{SECRET}@h:6379",
        {"password": SECRET},
        ["redis", SECRET],
    ],
    ids=repr,
)
def test_a_password_that_should_have_been_quoted_is_refused_and_not_taken_for_a_port(url: Any) -> None:
    with pytest.raises(Misconfigured) as caught:
        Settings(redis_url=url)
    assert SECRET not in str(caught.value)
    assert "write %40 for @" in str(caught.value)


def test_passwords_that_are_quoted_are_taken() -> None:
    for url in (
        f"redis://:%23{SECRET}%2F@h:1/2",
        f"redis://h:1?password=a@{SECRET}&db=1",
        "redis://h:1?db=1&",
    ):
        assert Settings(redis_url=url).redis_url == url


def test_an_option_of_a_url_that_there_is_not_is_told_without_the_password() -> None:
    with pytest.raises(Misconfigured, match=r"redis://:\*\*\*@h\?colour=\*\*\*' cannot be read: .*'colour'"):
        Endpoint.at(f"redis://:{SECRET}@h?colour=red").connect()


@pytest.mark.parametrize(
    "option", ["retry=1", "protocol=3", "decode_responses=1", "ssl_cert_reqs=x", "db=x", "socket_timeout=x"]
)
def test_an_option_of_a_url_that_cannot_be_is_told(option: str) -> None:
    with pytest.raises(Misconfigured, match=r"redis_url 'rediss://h\?.*' cannot be read: "):
        Endpoint.at(f"rediss://h?{option}").connect()


@pytest.mark.parametrize(
    "command_line",
    [
        ("run", "shop:app"),
        ("run", "shop:app", "--traceback"),
        ("send", "shop:orders", '{"key": "a", "n": 1}', "--traceback"),
        ("sendmany", "shop:orders", "-"),
        ("processor", "reset", "shop:printer"),
        ("dead-letters", "list", "shop:printer"),
        ("parked", "list", "shop:printer"),
        ("settings", "shop:app"),
        ("settings", "--json"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("form", ["console", "json"])
def test_no_command_shows_the_password_of_the_settings(
    command_line: tuple[str, ...], form: str, command: Any
) -> None:
    done = command(*command_line, RUNNEL_REDIS_URL=URL, RUNNEL_LOG_FORMAT=form)
    said = done.stdout + done.stderr
    assert SECRET not in said
    assert said


@pytest.mark.parametrize(
    "command_line",
    [
        ("run", "shop:app", "--redis-url", URL.replace("redis", "http")),
        ("run", "shop:app", "--redis-url", URL),
        ("run", "shop:app", URL),
        ("run", URL),
        ("settings", URL),
        ("run", "shop:app", "--processors", URL),
        (URL,),
        ("settings", "--redis-url", URL),
        ("demo", URL),
    ],
    ids=" ".join,
)
def test_no_command_shows_a_password_of_its_own_line(command_line: tuple[str, ...], command: Any) -> None:
    done = command(*command_line)
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize("more", [(), ("--traceback",)])
def test_a_line_of_source_in_a_traceback_shows_none(more: tuple[str, ...], command: Any, shop: Path) -> None:
    (shop / "bad.py").write_text(
        f"from runnel_trio import App\nApp('x', redis_url='{URL}').no_such_thing()\n"
    )
    done = command("run", "bad:app", *more)
    assert done.returncode == 2
    assert "redis_url='redis://me:***@127.0.0.1:1/0'" in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize("formatter", [Console(), JSONLines()])
def test_lines_of_the_log_have_none_whoever_wrote_them(formatter: logging.Formatter) -> None:
    try:
        raise ValueError(f"cannot use {URL}")
    except ValueError as error:
        trace = (type(error), error, error.__traceback__)
    record = logging.LogRecord("mine", logging.INFO, "", 1, "using %s", (URL,), trace)
    record.facts = {"url": URL, "error": ValueError(URL), "count": 3}
    line = formatter.format(record)
    assert SECRET not in line
    assert "redis://me:***@127.0.0.1:1/0" in line
    if isinstance(formatter, JSONLines):
        assert json.loads(line)["count"] == 3


def test_passwords_in_lines_of_source_are_not_shown() -> None:
    line = (
        f"""app = App("shop", redis_options={{"password": '{SECRET}', "db": 1}}, ssl_password="{SECRET}")"""
    )
    assert SECRET not in redacted_text(line)
    assert '"db": 1' in redacted_text(line)


def test_what_is_shown_once_can_be_shown_again() -> None:
    for url in (
        f"redis://h?pasword={SECRET}",
        f"redis://{SECRET}@h",
        f"redis://h?a=@{SECRET}",
        "redis://h?x",
    ):
        said = f"redis_url={redacted(url)!r} cannot be used: it is wrong"
        assert redacted_text(said) == said


def test_of_options_only_those_are_shown_that_are_known_to_be_harmless() -> None:
    options = {
        "pasword": SECRET,
        "auth": SECRET,
        "Password": SECRET,
        "ssl_ca_certs": "ca.pem",
        "db": 1,
        "x": None,
    }
    settings = Settings(redis_options=options)
    assert SECRET not in repr(settings)
    assert '"ssl_ca_certs": "ca.pem", "db": 1, "x": null' in repr(settings)


@pytest.mark.parametrize("variable", ["RUNNEL_REDIS_FACTORY", "RUNNEL_LOG_LEVEL", "RUNNEL_DEFAULT_POOL_SIZE"])
def test_a_url_in_the_variable_of_another_setting_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, URL)
    with pytest.raises(Misconfigured) as caught:
        Settings()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("query", ["pasword=", "auth=", "password:", "sentinel_pasword="])
def test_the_value_of_an_option_that_there_is_not_is_not_shown(command: Any, query: str) -> None:
    for arguments in (
        ["settings", "shop:app"],
        ["settings", "--json"],
        ["status", "shop:app"],
        ["run", "shop:app"],
    ):
        done = command(*arguments, "--redis-url", f"redis://127.0.0.1:1?{query}{SECRET}")
        assert SECRET not in done.stdout + done.stderr
