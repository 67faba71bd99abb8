"""The machine of a server: its disk is full, its clock is set."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import trio
from fault_bench import EXPIRY, MAX_UNACKED, PARTITIONS, Bench, pause
from fault_server import Server

pytestmark = pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="not on this system")


def size_of(server: Server) -> int:
    """Of all that it appended."""
    return sum(journal.stat().st_size for journal in server.journals)


def let_grow(server: Server, most: int) -> None:
    """Have no file of the server grow beyond so many bytes, as on a disk that is full."""
    hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (most, hard))


def told(caplog: pytest.LogCaptureFixture, fact: str) -> int:
    """How often this was logged."""
    return sum(getattr(record, "fact", "") == fact for record in caplog.records)


async def test_a_full_disk_stops_all_and_loses_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.server.client.config_set("appendfsync", "everysec")
    async with bench.producer() as producer, bench.app(work=pause(0.002)).worker():
        await producer.send(100)
        await bench.handled(50)
        async with trio.open_nursery() as nursery:
            let_grow(bench.server, size_of(bench.server) + 5_000)
            nursery.start_soon(producer.send, 300)
            await bench.until(lambda: told(caplog, "server-away") == 2)  # for the sender, and for the worker
            count = len(producer.acked)
            await trio.sleep(1.5 * EXPIRY)  # longer than a lease is good for
            assert len(producer.acked) == count < 400, "nothing is stored"
            let_grow(bench.server, resource.RLIM_INFINITY)
        await bench.drained()
    assert "MISCONF" in caplog.text
    # While nothing can be acknowledged, what was handled may be handled again.
    assert await bench.verdict(repeats=PARTITIONS * MAX_UNACKED, journal=False) == []


async def test_a_server_that_ends_over_a_full_disk_has_all_that_it_acknowledged(bench: Bench) -> None:
    async with bench.producer() as producer, bench.app(work=pause(0.002), lock_expiry=4).worker():
        await producer.send(100)
        async with trio.open_nursery() as nursery:
            let_grow(bench.server, size_of(bench.server) + 20_000)
            nursery.start_soon(lambda: producer.send(300, pause=0.01))
            await bench.until(bench.server.ended)
            bench.server.kill()
            await bench.server.start()
        await bench.drained()
    assert await bench.verdict() == []


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """One whose clock can be set, with what a file says."""
    server = Server(tmp_path / "server")
    if found := find_spec("libfaketime"):
        (place,) = found.submodule_search_locations or ()
        (library,) = Path(place).rglob("libfaketime.so.1")
        server.environment = {
            "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "clock"),
            "FAKETIME_NO_CACHE": "1", "DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip
    (tmp_path / "clock").write_text("+0\n")
    try:
        await server.start()
        yield server
    finally:
        server.end()


@pytest.fixture
def set_clock(server: Server, tmp_path: Path) -> Callable[[int], Awaitable[None]]:
    """Have the server's clock be so many seconds ahead."""

    async def ahead(seconds: int) -> None:
        before = server.client.time()[0]
        (tmp_path / "new").write_text(f"{seconds:+d}\n")
        (tmp_path / "new").rename(tmp_path / "clock")
        with trio.fail_after(60):
            while abs(server.client.time()[0] - before - seconds) > 10:
                await trio.sleep(0.01)

    return ahead


@pytest.mark.skipif(find_spec("libfaketime") is None, reason="libfaketime is not there")
@pytest.mark.parametrize("jump", [3600, -3600])
async def test_a_server_whose_clock_is_set(
    jump: int, bench: Bench, set_clock: Callable[[int], Awaitable[None]]
) -> None:
    child = bench.child()
    async with bench.producer() as producer:
        await producer.send(200)
        await bench.handled(50)
        await set_clock(jump)
        await producer.send(200)
        await bench.drained()
        child.kill()
        async with bench.app().worker():
            await producer.send(200)
            await bench.handled(600)
            await bench.drained()
    assert await bench.verdict(repeats=PARTITIONS * MAX_UNACKED) == []


@pytest.mark.skipif(find_spec("libfaketime") is None, reason="libfaketime is not there")
async def test_a_clock_set_back_does_not_keep_a_dead_worker_alive(
    bench: Bench, set_clock: Callable[[int], Awaitable[None]]
) -> None:
    child = bench.child()
    async with bench.producer() as producer:
        await producer.send(40)
        await bench.drained()
        child.kill()
        await set_clock(-3600)
        async with bench.app().worker():
            await producer.send(40)
            await bench.handled(80)
            await bench.drained()
    assert await bench.verdict(repeats=PARTITIONS * MAX_UNACKED) == []
