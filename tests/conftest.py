"""What many tests share: an app on the memory broker, and ways to look at it."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sql_postgres import Postgres, programs
from warm import Warm

from runnel_trio import App, Processor, Record, Stream, settings, testing
from runnel_trio._broker._redis._transport import _blocking_read, _endpoint
from runnel_trio._settings import _sources

# The suite sees the same examples each time; `nox -s examples` looks for new ones, and many more.
hypothesis.settings.register_profile("suite", derandomize=True, database=None, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("suite")


class Order(Record):
    """The record of most tests."""

    key: str
    n: int


Drained = Callable[..., Awaitable[None]]
Facts = Callable[[str], list[dict[str, Any]]]


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores for `-n auto`: many tests wait for processes or for a moment to come."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Files above the directories of tests, and above the current one, have no say in what tests see.

    Processes that tests start find an empty file above their directories; here, where the current directory
    may be anybody's, only files of tests are found.
    """
    base = tmp_path_factory.getbasetemp().resolve()
    (base / "runnel.toml").touch()

    def nearest() -> _sources.SettingsFile | None:
        return _sources.nearest() if Path.cwd().is_relative_to(base) else None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "nearest", nearest)
        yield


@pytest.fixture(autouse=True, scope="session")
def interrupts() -> None:
    """SIGINT is heard, here and in what tests start, also where a shell runs the tests in the background."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """Runs commands without their imports."""
    warm = Warm(tmp_path_factory.mktemp("w"))
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL is not installed: apt install postgresql")
    server = Postgres(found)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def postgres(_postgres: Postgres) -> str:
    """How to connect to an empty database of PostgreSQL; skips the test where that is not installed."""
    return _postgres.database()


@pytest.fixture
def app() -> App:
    """An app on a memory broker of its own."""
    return App("test", redis_url="memory://", default_partition_count=4)


@pytest.fixture
def order() -> type[Order]:
    """The class of `orders`' records."""
    return Order


@pytest.fixture
def orders(app: App) -> Stream[Order]:
    """A stream of four partitions, by key."""
    return app.stream("orders", Order, partition_by="key")


@pytest.fixture(params=[1, 8], ids=["one lane", "eight lanes"])
def lanes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many lanes a partition has, where nothing else is said.

    For files whose tests hold for each key, however many are handled at a time: ``pytestmark =
    pytest.mark.usefixtures("lanes")``. A test that is of one lane has ``parametrize("lanes", [1], indirect=True)``.
    """
    monkeypatch.setenv("RUNNEL_DEFAULT_CONCURRENCY", str(request.param))
    return int(request.param)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent server counts as dead after 0.3 s instead of 5."""
    monkeypatch.setattr(_endpoint, "_TIMEOUT", 0.3)
    monkeypatch.setattr(_blocking_read, "_MARGIN", 0.3)


@pytest.fixture
def lag(app: App) -> Callable[[Processor[Any]], Awaitable[int]]:
    """How many events a processor has not acknowledged."""

    async def count(processor: Processor[Any]) -> int:
        async with app.operator() as op:
            return sum(x.lag for x in await op.positions(processor.name) if x.begun)

    return count


@pytest.fixture
def facts(caplog: pytest.LogCaptureFixture) -> Facts:
    """The values of each report of one fact, in the order in which they were logged."""
    return lambda fact: [vars(x)["facts"] for x in caplog.records if getattr(x, "fact", "") == fact]


@pytest.fixture
def drained() -> Drained:
    """As the plugin's, with more time, for machines that do much else."""
    return partial(testing.drained, within=30)
