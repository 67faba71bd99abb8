"""A server of the test's own, to be killed, frozen and flushed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from runnel_trio import App
from runnel_trio._embedded._server import _binary


class OwnServer:
    """A server process that loses nothing when it is killed: each write is on the disk before its answer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "s"
        self.url = f"unix://{self.socket}"
        self.client: Any = redis.Redis.from_url(self.url, protocol=2)
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Until it answers."""
        options = {
            "port": "0", "unixsocket": str(self.socket), "dir": str(self.directory), "save": "",
            "appendonly": "yes", "appendfsync": "always", "logfile": str(self.directory / "log"),
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([_binary(), *arguments], stdin=subprocess.DEVNULL)
        with trio.fail_after(60):
            while not await trio.to_thread.run_sync(self._answers):
                await trio.sleep(0.02)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def send_signal(self, number: signal.Signals) -> None:
        """To the server's process."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self.client.connection_pool.disconnect()

    def logs(self) -> list[str]:
        """The keys of all partitions that have a log."""
        return sorted(key.decode() for key in self.client.keys("*:log"))

    def groups(self) -> list[dict[str, Any]]:
        """What XINFO GROUPS says of them all."""
        return [group for key in self.logs() for group in self.client.xinfo_groups(key)]

    def lag(self) -> Any:
        """What is not acknowledged; None where the server cannot say."""
        lags = [group["lag"] for group in self.groups()]
        return None if None in lags or not lags else sum(lags)

    async def drained(self) -> None:
        """Until every group's lag is 0."""
        with trio.fail_after(60):
            while await trio.to_thread.run_sync(self.lag) != 0:
                await trio.sleep(0.02)


@pytest.fixture
async def server() -> AsyncIterator[OwnServer]:
    directory = Path(tempfile.mkdtemp(prefix="rt"))  # a socket's path must be short
    own = OwnServer(directory)
    try:
        await own.start()
        yield own
    finally:
        own.kill()
        own.client.close()
        shutil.rmtree(directory)


@pytest.fixture
def on_server(server: OwnServer) -> App:
    """An app on the server, with four partitions."""
    return App("test", redis_url=server.url, default_partition_count=4)
