"""A server with a port of its own: killed, frozen, emptied, cut short on its disk, or another's replica."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis
import trio
from fault_store import CLIENT_NAME, Store
from redis.backoff import NoBackoff
from redis.retry import Retry

from runnel_trio._embedded._server import _binary

#: Below those that systems give to connections which go out.
_PORTS = range(15_000, 32_000)
#: What keeps each port for this process as long as it lives.
_kept: list[socket.socket] = []


def free_port() -> int:
    """One that nobody listens on, and that nobody else who asks here gets: in no process, as long as this one lives."""
    while True:
        port = random.choice(_PORTS)
        keeper = socket.socket(socket.AF_UNIX if sys.platform == "linux" else socket.AF_INET)
        probe = socket.socket()
        try:
            # A name in no file system: it is free again when this process ends, however it does.
            keeper.bind(f"\0runnel-port-{port}" if sys.platform == "linux" else ("127.0.0.1", 0))
            probe.bind(("127.0.0.1", port))
        except OSError:
            keeper.close()
            continue
        finally:
            probe.close()
        _kept.append(keeper)
        return port


class Server(Store):
    """A server process; each write is on its disk before it is answered, if it keeps anything.

    Attributes:
        environment: what it finds there, beside what we have, when it is started.
    """

    def __init__(self, directory: Path, **options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.client: Any = redis.Redis(
            port=self.port,
            protocol=2,
            # Whoever becomes a replica drops its connections, maybe in the middle of an answer.
            retry=Retry(NoBackoff(), 1),
            client_name=CLIENT_NAME,
            password=options.get("requirepass"),
        )
        self._options = options
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, *, ready: bool = True, **more: str) -> None:
        """Until it answers, with what is in its directory; on the same port each time."""
        self.directory.mkdir(parents=True, exist_ok=True)
        again = [part for name, value in more.items() for part in (f"--{name}", value)]
        # Signals that Python ignores stay ignored: a file that may not grow is an error of a write, and no death.
        self._process = subprocess.Popen(
            [_binary(), *self.arguments, *again], stdin=subprocess.DEVNULL,
            env={**os.environ, **self.environment}, restore_signals=False,
        )  # fmt: skip
        with trio.fail_after(60):
            while ready and not await trio.to_thread.run_sync(self._answers):
                assert self._process.poll() is None, (self.directory / "log").read_text()
                await trio.sleep(0.01)

    @property
    def arguments(self) -> list[str]:
        """Of its command line."""
        options = {
            "port": str(self.port), "bind": "127.0.0.1", "dir": str(self.directory), "save": "",
            "appendonly": "yes", "appendfsync": "always", "auto-aof-rewrite-percentage": "0",
            "repl-diskless-sync-delay": "0", "logfile": str(self.directory / "log"), **self._options,
        }  # fmt: skip
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    async def back(self) -> None:
        """Have it run, whatever was done to it."""
        if self._process is not None:
            self.thaw()
        if self._process is None or self._process.poll() is not None:
            await self.start()

    @property
    def clients(self) -> list[Any]:
        """The one."""
        return [self.client]

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def ended(self) -> bool:
        """Whether it has, by itself."""
        return self._process is not None and self._process.poll() is not None

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
            return False

    def role(self) -> str:
        """``master``, ``replica``, ``syncing``, or nothing if it does not answer."""
        with suppress(redis.ConnectionError, redis.TimeoutError):
            role = self.client.role()
            if role[0] == b"master":
                return "master"
            return "replica" if role[3] == b"connected" else "syncing"
        return ""

    def freeze(self) -> None:
        """It neither answers nor breaks a connection."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
        self.client.connection_pool.disconnect()

    def end(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self.client.close()

    def empty(self) -> None:
        """Lose everything; while it is not running."""
        assert self._process is None
        shutil.rmtree(self.directory)

    @property
    def journals(self) -> list[Path]:
        """The files to which it appended every write, in their order."""
        found = self.directory.joinpath("appendonlydir").glob("*.incr.aof")
        return sorted(found, key=lambda path: int(path.name.split(".")[-3]))
