"""The pytest plugin of runnel-trio: fixtures for tests of your apps, with pytest-trio.

``runnel_server``        a server for the whole session: embedded, or the one of ``--runnel-redis-url``
``runnel_app_settings``  settings for an app of this test, with a database of its own, empty before and after
``runnel_worker``        runs workers of an app beside the test, several at once
``drained``              `runnel_trio.testing.drained`
``advance_to``           `runnel_trio.testing.advance_to`

The plugin is outside of the package, and only the fixtures that are used import it: a session without them
pays nothing.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import trio

    from runnel_trio import App, Worker

__all__ = ["RunWorker"]

#: How many databases a server has by default.
_DATABASES = 16
_URL_OPTION = "--runnel-redis-url"
_turns = count()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option of the plugin; called by pytest."""
    group = parser.getgroup("runnel-trio")
    group.addoption(
        _URL_OPTION,
        metavar="URL",
        help="Redis or Valkey for tests with runnel_server, instead of an embedded one. The database must be "
        "empty: tests delete everything in it. Under pytest-xdist each worker takes one more.",
    )


@pytest.fixture(scope="session")
def runnel_server(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server for tests: a Valkey of the session's own, or the one of ``--runnel-redis-url``."""
    from runnel_trio._embedded._server import start

    given: str | None = request.config.getoption(_URL_OPTION)
    if given is not None:
        yield given
        return
    server = start("embedded://")
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def runnel_app_settings(runnel_server: str, request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Settings for the app under test: ``App("shop", **runnel_app_settings)``.

    Its database is empty, and is emptied after the test.
    """
    from runnel_trio.testing._databases import emptied, with_database

    given = request.config.getoption(_URL_OPTION) is not None
    # Our own server's databases are used in turn, so the next test does not meet what this one left running.
    url = with_database(runnel_server, _of_xdist_worker() if given else next(_turns) % _DATABASES)
    with emptied(url, refuse_full=given):
        yield {"redis_url": url}


def _of_xdist_worker() -> int:
    """0 for the first worker process, or without any."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


class RunWorker:
    """Runs workers of apps beside a test, on the test's server. The value of the fixture ``runnel_worker``.

    An app that a module declares with its own settings uses the test's server until the test is over.
    """

    def __init__(self, url: str, nursery: trio.Nursery) -> None:
        self._url = url
        self._nursery = nursery
        self._workers: list[Any] = []
        self._before = ExitStack()

    def use(self, app: App) -> None:
        """Let an app use the test's server without starting a worker, for its sends.

        Raises:
            Misconfigured: it is already connected in this run of Trio.
        """
        if app.settings.redis_url == self._url:
            return
        self._before.enter_context(app.use_server(self._url))

    async def __call__(self, app: App, processors: Collection[str] | None = None) -> Worker:
        """Start a worker, and wait until it has joined and owns its partitions.

        Args:
            app: the worker's app.
            processors: names of those to run; all by default.

        Raises:
            As `App.run`. What a processor raises later under HALT ends the test.
        """
        import math

        import trio
        from trio.testing import MockClock

        from runnel_trio import Misconfigured

        clock = trio.lowlevel.current_clock()
        if isinstance(clock, MockClock) and clock.autojump_threshold < math.inf:
            raise Misconfigured(
                "a worker on a real server needs real time: under an autojump clock seconds pass before the "
                "server has answered. Leave autojump_clock out, or use redis_url='memory://'"
            )
        self.use(app)
        worker: Worker = await self._nursery.start(_run_of(app, processors))
        self._workers.append(worker)
        return worker

    async def aclose(self) -> None:
        """Stop the workers, and let the apps use their own servers again."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            await worker.ended.wait()
        self._before.close()


def _run_of(app: App, processors: Collection[str] | None) -> Callable[..., Awaitable[None]]:
    async def run(*, task_status: trio.TaskStatus[Worker]) -> None:
        await app.run(processors=processors, task_status=task_status)

    return run


@pytest.fixture
async def runnel_worker(
    runnel_app_settings: dict[str, Any], nursery: trio.Nursery
) -> AsyncIterator[RunWorker]:
    """Workers beside the test, stopped when it is over.

    Example::

        async def test_totals(runnel_worker, drained):
            await runnel_worker(app)
            await orders.send(Order(customer="Ada", amount=7))
            await drained(app)
    """
    run = RunWorker(runnel_app_settings["redis_url"], nursery)
    try:
        yield run
    finally:
        await run.aclose()


@pytest.fixture
def drained() -> Callable[..., Awaitable[None]]:
    """Waits until every processor has handled everything: see `runnel_trio.testing.drained`."""
    from runnel_trio.testing import drained

    return drained


@pytest.fixture
def advance_to() -> Callable[..., Awaitable[Any]]:
    """Lets virtual time pass until a crontab has run: see `runnel_trio.testing.advance_to`."""
    from runnel_trio.testing import advance_to

    return advance_to
