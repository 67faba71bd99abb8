"""``runnel-trio run --metrics-port``: what it serves, what it refuses, and what it bounds."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from prometheus_client import REGISTRY, CollectorRegistry

from runnel_trio import App
from runnel_trio._cli._errors import Exit, ended
from runnel_trio._http import _server
from runnel_trio._http._probes import BindAddress, serving
from runnel_trio._http._server import Answer, Pages, listen
from runnel_trio.exceptions import Misconfigured
from runnel_trio.metrics import Metrics, PrometheusMetrics


@asynccontextmanager
async def serving_pages(pages: Pages) -> AsyncIterator[int]:
    listeners = await listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pages.serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def answer_to(port: int, request: bytes) -> bytes:
    """All that comes back until the other side closes."""
    with trio.fail_after(60):
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(request)
            return b"".join([part async for part in stream])


async def hello() -> Answer:
    return Answer(200, b"hello\n")


async def broken() -> Answer:
    raise LookupError("a collector of the user's")


PAGES = {"/hello": hello, "/broken": broken}


@pytest.mark.parametrize(
    ("request_line", "status", "body"),
    [
        (b"GET /hello HTTP/1.1", b"200", b"hello\n"),
        (b"GET /hello?a=b HTTP/1.1", b"200", b"hello\n"),
        (b"GET /hello HTTP/1.0", b"200", b"hello\n"),
        (b"HEAD /hello HTTP/1.1", b"200", b""),
        (b"POST /hello HTTP/1.1", b"405", b"GET it\n"),
        (b"GET /else HTTP/1.1", b"404", b"there are /hello, /broken\n"),
        (b"nonsense", b"400", b"no request\n"),
    ],
)
async def test_answers_are_those_of_http(request_line: bytes, status: bytes, body: bytes) -> None:
    async with serving_pages(Pages(PAGES)) as port:
        found = await answer_to(port, request_line + b"\r\nHost: here\r\n\r\n")
    head, _, rest = found.partition(b"\r\n\r\n")
    assert head.split()[1] == status
    assert rest == body
    assert b"connection: close" in head.lower()


async def test_a_request_that_is_too_large_is_refused() -> None:
    async with serving_pages(Pages(PAGES)) as port:
        found = await answer_to(port, b"GET /hello HTTP/1.1\r\nHost: here\r\nX: " + b"x" * 9000)
    assert found.split()[1] == b"431"


async def test_one_who_says_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "_LONGEST", 0.1)
    async with serving_pages(Pages(PAGES)) as port:
        assert await answer_to(port, b"GET /hel") == b""


@asynccontextmanager
async def crowd(port: int, request: bytes, count: int = 200) -> AsyncIterator[list[trio.SocketStream]]:
    """Connections of one who says so much and then neither writes nor reads."""
    streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(count)]
    try:
        for stream in streams:
            with suppress(trio.BrokenResourceError):  # it was cut off already
                await stream.send_all(request)
        yield streams
    finally:
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def large() -> Answer:
    return Answer(200, b"x" * 10_000_000)


#: What 200 who want nothing good say: a part of a request; one whose answer they do not read; one that takes long.
SLOW = [
    b"",
    b"GET /hel",
    b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n",
    b"GET /long HTTP/1.1\r\nHost: here\r\n\r\n",
]


@pytest.mark.parametrize("said", SLOW, ids=["nothing", "a part", "no reading", "a long page"])
async def test_a_probe_is_answered_while_hundreds_of_slow_connections_are_open(
    said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_server, "_LONGEST", 3600)
    pages = Pages({"/hello": hello, "/large": large, "/long": trio.sleep_forever})
    async with serving_pages(pages) as port, crowd(port, said):
        for _ in range(20):
            assert b"hello" in await answer_to(port, b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n")
        assert len(pages._open) <= _server._MOST


async def test_who_waits_for_a_page_is_not_cut_off_for_those_who_say_nothing() -> None:
    asked, go = trio.Event(), trio.Event()

    async def long() -> Answer:
        asked.set()
        await go.wait()
        return Answer(200, b"at last")

    found = b""

    async def ask(port: int) -> None:
        nonlocal found
        found = await answer_to(port, b"GET /long HTTP/1.1\r\nHost: here\r\n\r\n")

    async with serving_pages(Pages({"/hello": hello, "/long": long})) as port, trio.open_nursery() as nursery:
        nursery.start_soon(ask, port)
        await asked.wait()
        async with crowd(port, b"GET /hel"):
            assert b"hello" in await answer_to(port, b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n")
        go.set()
    assert b"at last" in found


async def test_scrapes_take_no_threads_from_the_users_functions(caplog: pytest.LogCaptureFixture) -> None:
    registry, release, begun = CollectorRegistry(), threading.Event(), threading.Semaphore(0)

    class Slow:
        def collect(self) -> list[Any]:
            begun.release()
            assert release.wait(60)
            return []

        def describe(self) -> list[Any]:
            return []

    registry.register(Slow())  # type: ignore[arg-type]  # prometheus_client asks for no more than this
    app = App("shop", metrics=PrometheusMetrics(registry))
    caplog.set_level("INFO", "runnel_trio")
    try:
        async with serving(app, BindAddress("127.0.0.1", 0), lambda: None):
            (facts,) = [x.facts for x in caplog.records if getattr(x, "fact", "") == "serving-metrics"]
            async with crowd(facts["port"], b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"):
                with trio.fail_after(60):
                    await trio.to_thread.run_sync(begun.acquire, limiter=trio.CapacityLimiter(1))
                assert b"alive" in await answer_to(facts["port"], b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
                release.set()
    finally:
        release.set()


async def test_a_page_that_raises_is_logged_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with serving_pages(Pages(PAGES)) as port:
        assert await answer_to(port, b"GET /broken HTTP/1.1\r\nHost: here\r\n\r\n") == b""
        assert b"hello" in await answer_to(port, b"GET /hello HTTP/1.1\r\nHost: here\r\n\r\n")
    assert "page-failed" in caplog.text


async def test_a_port_in_use_is_an_error_at_the_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            Misconfigured, match=rf"no metrics at 127\.0\.0\.1:{port}: .*in use.*--metrics-port"
        ) as info:
            await listen("127.0.0.1", port)
    assert ended(info.value).code == Exit.CONFIG


def test_the_command_says_so_and_starts_nothing(command: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = command("run", "shop:app", "--embedded", f"--metrics-port={port}")
    assert done.returncode == Exit.CONFIG
    assert f"Error: no metrics at 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert "started" not in done.stderr


@pytest.mark.parametrize("package", ["h11", "prometheus_client"])
async def test_without_the_extra_it_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    app = App("shop", metrics=Metrics() if package == "h11" else None)
    with pytest.raises(Exception, match=r"pip install runnel-trio\[prometheus\]"):
        async with serving(app, BindAddress("127.0.0.1", 0), lambda: None):
            pass


async def page_of(app: App, caplog: pytest.LogCaptureFixture) -> bytes:
    caplog.set_level("INFO", "runnel_trio")
    async with serving(app, BindAddress("127.0.0.1", 0), lambda: None):
        (facts,) = [x.facts for x in caplog.records if getattr(x, "fact", "") == "serving-metrics"]
        return await answer_to(facts["port"], b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")


async def test_an_app_without_metrics_is_given_some(caplog: pytest.LogCaptureFixture) -> None:
    app = App("shop")
    try:
        assert b"runnel_server_away 0.0" in await page_of(app, caplog)
    finally:
        if isinstance(app.metrics, PrometheusMetrics):
            REGISTRY.unregister(app.metrics)


async def test_the_registry_of_an_app_is_the_one_that_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    app = App("shop", metrics=PrometheusMetrics(CollectorRegistry()))
    found = await page_of(app, caplog)
    assert b"runnel_server_away 0.0" in found
    assert b"process_" not in found


async def test_an_app_keeps_metrics_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    own = Metrics()
    app = App("shop", metrics=own)
    assert b"runnel_" not in await page_of(app, caplog)
    assert app.metrics is own


def test_a_worker_that_serves_metrics_stops_as_any_other(started: Any, command: Any) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "a", "n": 7}')
    worker = started("run", "shop:app", "--embedded=data", "--metrics-port=0")
    assert worker.stdout.readline() == "begin 7\n"
    worker.send_signal(signal.SIGINT)
    _, log = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert "serving-metrics host=127.0.0.1" in log
    assert "Traceback" not in log
