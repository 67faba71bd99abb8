"""The bench on which each row of the fault matrix is run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import fault_app
import pytest
import trio
from fault_bench import Bench
from fault_history import Diary
from fault_proxy import Proxy
from fault_server import Server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server that keeps everything."""
    server = Server(tmp_path / "server")
    try:
        await server.start()
        yield server
    finally:
        server.end()


@pytest.fixture
async def bench(
    server: Server, tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bench]:
    """Server, proxy and diary; what is left of the processes ends with it."""
    diary = Diary(tmp_path / "diary")
    fault_app.watch_commits(diary, monkeypatch.setattr)
    proxy = Proxy(server.port)
    await nursery.start(proxy.serve)
    bench = Bench(server, proxy, diary, tmp_path, nursery)
    try:
        yield bench
    finally:
        for child in bench.children:
            child.kill()


@pytest.fixture
def mutate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leave guards out of the scripts that this process calls."""
    return lambda *mutants: fault_app.mutate(mutants, monkeypatch.setattr)
