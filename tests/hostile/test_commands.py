"""Whatever is typed, set, or stands in a file that is sent, a command ends with a line and a code that says why."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import click
import pytest
import trio
from hostile_app import app
from hostile_entries import VALUES, Everything, changed, documents
from hypothesis import assume, given
from hypothesis import strategies as st

from runnel_trio import Settings, _cli
from runnel_trio._broker._redis._transport._endpoint import Endpoint, resolve
from runnel_trio._broker._redis._transport._topology import Topology
from runnel_trio._broker._values import ServerConfig
from runnel_trio._cli._errors import Exit
from runnel_trio._embedded import _server
from runnel_trio.exceptions import BrokerRefused, BrokerUnavailable, Misconfigured
from runnel_trio.settings import describe

Look = Callable[[Any], None]

#: Seconds that a command may take which would go on for ever.
LONG = 0.2
#: Commands whose work is done by processes of their own.
ELSEWHERE = ("Supervisor.run", "_Demo.run")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """No net, no other process, no end that is waited for."""
    run = trio.run

    def bounded(function: Any, *args: Any, **options: Any) -> Any:
        if function.__qualname__ in ELSEWHERE:
            return 0

        async def within() -> Any:
            with trio.move_on_after(LONG):
                return await function(*args)
            return 0

        return run(within, **options)

    def nobody(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    def none(*args: Any) -> Any:
        raise BrokerUnavailable("no server is started here")

    monkeypatch.setattr(trio, "run", bounded)
    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    monkeypatch.setattr(_server, "_prepare", none)
    monkeypatch.setattr(_server, "_spawn", none)
    monkeypatch.chdir(tmp_path)
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        yield


def ended(arguments: list[str]) -> tuple[int, str]:
    """The exit code, and what was told."""
    said = io.StringIO()
    app.use_server("memory://")
    with redirect_stdout(said), redirect_stderr(said):
        code = _cli._status(arguments)
    return code, said.getvalue()


def commands(group: click.Command, *before: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command, with the words that lead to it."""
    yield before, group
    if isinstance(group, click.Group):
        for name, command in group.commands.items():
            yield from commands(command, *before, name)


URLS = st.one_of(
    st.builds(
        "{}{}{}{}{}".format,
        st.sampled_from(["redis://", "rediss://", "unix://", "memory://", "embedded://", "redis:", "http://", ""]),
        st.sampled_from(["", "ada:x@", ":x@", "a:b:c@", "%zz@", "@"]),
        st.sampled_from(["", "localhost", "127.0.0.1", "[::1]", "[::", "a b", "é", "x" * 300]),
        st.sampled_from(["", ":6379", ":0", ":-1", ":99999", ":x", "/3", "/x", "/-1", "/99", "//"]),
        st.sampled_from(["", "?", "?db=x", "?db=-1", "?socket_timeout=x", "?ssl_ca_certs=nowhere", "?ssl_cert_reqs=x",
                         "?health_check_interval=x", "?protocol=9", "?retry=1", "?host=1", "?a=b&a=c", "#x"]),
    ),
    st.text(max_size=20),
)  # fmt: skip
TARGETS = st.sampled_from(
    ["hostile_app:app", "hostile_app:orders", "hostile_app:handle"] * 3
    + ["hostile_app:no", "orders", "hostile"]
)
WORDS = st.one_of(
    TARGETS,
    TARGETS,
    URLS,
    st.text(max_size=10),
    st.sampled_from(
        [
            "0",
            "1",
            "-1",
            "1-1",
            "99999999999999999999-1",
            "$",
            "2026-01-01",
            "bash",
            "json",
            "-",
            "--",
            "10ms",
        ]
    ),
    changed(Everything).map(lambda x: x.decode(errors="replace")),
    VALUES,
)
COMMANDS = list(commands(_cli.cli))


@st.composite
def typed(draw: st.DrawFn) -> list[str]:
    """A command with some of its options, mostly with as many words as it takes; sometimes with anything else."""
    before, command = draw(st.sampled_from(COMMANDS))
    line = []
    # What is hidden is between processes of ours: --leash would close a descriptor of this one.
    typed_by_people = [x for x in command.params if not getattr(x, "hidden", False)]
    for parameter in draw(st.permutations(typed_by_people)):
        if isinstance(parameter, click.Argument):
            word = st.one_of(*[TARGETS] * 4, WORDS) if ":" in (parameter.metavar or "") else WORDS
            line += draw(st.lists(word, max_size=3) if parameter.nargs < 0 else st.tuples(word))
        elif isinstance(parameter, click.Option) and draw(st.integers(0, 5)) == 0:
            line.append(draw(st.sampled_from(parameter.opts)))
            if not parameter.is_flag:
                line[-1] += "=" + draw(_values(parameter.type))
    if draw(st.integers(0, 9)) == 0:
        line.insert(draw(st.integers(0, len(line))), draw(WORDS))
    return [*before, *line]


def _values(kind: click.ParamType) -> st.SearchStrategy[str]:
    if isinstance(kind, click.Choice):
        return st.sampled_from([*map(str, kind.choices), "other"])
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return st.integers(-1, 70000).map(str) | st.sampled_from(
            ["0.1", "inf", "nan", "x", "1e400", "9" * 30]
        )
    return WORDS


def test_whatever_is_typed_ends_with_a_code_that_says_why(look: Look) -> None:
    @given(arguments=typed())
    def test(arguments: list[str]) -> None:
        assume("\0" not in "".join(arguments))  # which no shell passes on
        # Nor does it write anywhere else than here.
        assume(arguments[:1] != ["init"] or not any(os.path.isabs(x) or ".." in x for x in arguments))
        code, said = ended(arguments)
        assert code in set(Exit) - {Exit.FAILED, Exit.SOFTWARE}, (code, said)
        assert "Traceback" not in said or "--traceback" in arguments

    look(test)


LINES = st.one_of(
    documents(Everything),
    changed(Everything),
    st.binary(max_size=100),
    st.just(b""),
)


@pytest.mark.parametrize("skip", ["skip", "stop"])
def test_whatever_stands_in_a_file_that_is_sent_is_sent_or_named(skip: str, look: Look) -> None:
    @given(lines=st.lists(LINES, max_size=5), zipped=st.booleans())
    def test(lines: list[bytes], zipped: bool) -> None:
        raw = b"\n".join(lines)
        Path("events.jsonl").write_bytes(b"\x1f\x8b" + raw if zipped else raw)
        code, said = ended(["sendmany", "hostile_app:orders", "events.jsonl", "--on-error", skip])
        assert code in {Exit.OK, Exit.DATA, Exit.IO}, said
        assert "Traceback" not in said
        assert all(line.isprintable() for line in said.splitlines())

    look(test)


def refused() -> str:
    """Why the settings cannot be used, if they cannot."""
    try:
        assert Settings().origins
    except Misconfigured as error:
        return str(error)
    return ""


def test_whatever_stands_in_a_file_of_settings_they_are_read_or_it_is_told_why_not(look: Look) -> None:
    names = st.sampled_from([x.name for x in describe()]) | st.text(max_size=5)
    value = st.one_of(
        VALUES, URLS.map(json.dumps), st.sampled_from(["2026-01-01", "[1]", "{a=1}", "inf", "-0.0", "1e400"])
    )
    line = st.builds("{} = {}".format, names, value)
    table = st.sampled_from(["", "[tool.runnel]\n", "[tool]\nrunnel=1\n", "[[a]]\n"])
    text = st.builds(lambda head, lines: head + "\n".join(lines), table, st.lists(line, max_size=3))
    raw = text.map(lambda x: x.encode(errors="surrogatepass")) | st.binary(max_size=100)

    @given(raw=raw, name=st.sampled_from(["runnel.toml", "pyproject.toml"]))
    def test(raw: bytes, name: str) -> None:
        Path(name).write_bytes(raw)
        said = refused()
        Path(name).unlink()
        assert not said or name in said

    look(test)


def test_whatever_a_variable_holds_it_is_read_or_named(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    known = [x.variable for x in describe()]
    texts = st.one_of(VALUES, URLS, st.text(max_size=20)).map(
        lambda x: x.replace("\0", "").encode(errors="replace").decode()
    )

    @given(name=st.sampled_from(known), value=texts)
    def test(name: str, value: str) -> None:
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            said = refused()
        assert not said or name in said

    look(test)


def test_whatever_the_url_is_there_is_a_connection_or_an_error_of_ours(look: Look) -> None:
    def made(url: str) -> None:
        leads = resolve(ServerConfig(Settings(redis_url=url).redis_url))
        if isinstance(leads, Endpoint):
            leads.connect()
        else:
            Topology(leads).refresh()

    @given(url=URLS)
    def test(url: str) -> None:
        assume(":///" not in url)
        with pytest.raises((Misconfigured, BrokerUnavailable, BrokerRefused)):
            made(url)
            raise BrokerUnavailable

    look(test)
