"""Real workers as processes, and the server of a directory that all of them share."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
from redis import Redis
from warm import Forked, Warm

from runnel_trio._embedded._server import embedded_server

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "src" / "runnel_trio" / "_demo" / "sample.jsonl.gz"
MONTHS = (
    sorted(Path(os.environ["RUNNEL_FLIGHTS"]).glob("*.jsonl.gz")) if "RUNNEL_FLIGHTS" in os.environ else []
)

Condition = Callable[[], Any]
Until = Callable[[Condition], Awaitable[Any]]
Start = Callable[..., Forked]


@pytest.fixture
def embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a directory's server, to which every process of the test attaches, or starts it."""
    url = f"embedded://{tmp_path / 'data'}"
    monkeypatch.setenv("RUNNEL_REDIS_URL", url)
    return url


@pytest.fixture
async def server(embedded: str) -> AsyncIterator[str]:
    """Where that server is; it outlives the processes."""
    async with embedded_server(embedded) as url:
        yield url


@pytest.fixture
def redis(server: str) -> Iterator[Redis]:
    """A client of the server."""
    with Redis.from_url(server) as client:
        yield client


@pytest.fixture
def start(tmp_path: Path, warm: Warm) -> Iterator[Start]:
    """Start the command line in a process of its own; its log is in the test's directory."""
    processes: list[Forked] = []

    def begin(*arguments: str, **environment: str) -> Forked:
        paths = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
        names = [os.devnull, *[tmp_path / f"process-{len(processes)}.log"] * 2]
        settings = {**os.environ, "PYTHONPATH": paths, **environment}
        with ExitStack() as files:
            opened = [files.enter_context(open(name, "a+b")).fileno() for name in names]
            process = warm.start(arguments, opened, Path.cwd(), settings)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def until() -> Until:
    """Wait for a condition, and return what made it true."""

    async def wait(condition: Condition) -> Any:
        with trio.fail_after(60):
            while not (found := await trio.to_thread.run_sync(condition)):
                await trio.sleep(0.01)
        return found

    return wait


@pytest.fixture
def groups(redis: Redis) -> Callable[[], list[dict[str, Any]]]:
    """What XINFO GROUPS says of every stream on the server."""

    def found() -> list[dict[str, Any]]:
        streams: Any = redis.scan_iter(_type="stream")
        return [group for key in streams for group in redis.xinfo_groups(key)]

    return found


@pytest.fixture(params=MONTHS or [SAMPLE], ids=lambda path: path.name.partition(".")[0])
def flights(request: pytest.FixtureRequest) -> Path:
    """A file of flights, with what is expected of it beside it."""
    return Path(request.param)


@pytest.fixture
def expected(flights: Path) -> dict[str, Any]:
    """What every aircraft's history must be."""
    text = flights.with_name(flights.name.replace(".jsonl.gz", ".expected.json")).read_text()
    return dict(json.loads(text)["by_plane"])


@pytest.fixture
def moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers of `moved_app` write."""
    path = tmp_path / "moved"
    path.touch()
    monkeypatch.setenv("MOVED_LOG", str(path))
    return path


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers write."""
    path = tmp_path / "flown"
    path.touch()
    monkeypatch.setenv("FLOWN_LOG", str(path))
    return path


@pytest.fixture
def feed(embedded: str, flights: Path) -> Callable[[trio.Event], Awaitable[None]]:
    """Send the flights: most of them at once, then ever more slowly, and the last ones not before it is time."""

    async def send(last: trio.Event) -> None:
        import flown_app

        flown_app.app.use_server(embedded)
        with gzip.open(flights, "rt") as file:
            records = [flown_app.flights.structure(json.loads(line)) for line in file]
        most = len(records) * 2 // 3
        async with flown_app.app.session():
            for at in range(0, most, 250):
                await flown_app.flights.send(*records[at : min(at + 250, most)])
            while not last.is_set() and (left := len(records) - most) > 5:
                some = max(1, left // 200)  # however long it takes, there is load all the while
                await flown_app.flights.send(*records[most : most + some])
                most += some
                await trio.sleep(0.1)
            await last.wait()
            await flown_app.flights.send(*records[most:])

    return send


@pytest.fixture
async def total(server: str, flights: Path, expected: dict[str, Any], start: Any, until: Any) -> int:
    """How many events there are; all of them are in the stream."""
    sender = start("sendmany", "flown_app:flights", str(flights))
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0
    return sum(plane["flights"] for plane in expected.values())
