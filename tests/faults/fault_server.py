"""A server with a port of its own: killed, frozen, emptied, cut short on its disk, or another's replica."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import redis
import trio
from redis.backoff import NoBackoff
from redis.retry import Retry

from runnel_trio._broker._redis._server import _binary


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process; each write is on its disk before it is answered, if it keeps anything."""

    def __init__(self, directory: Path, **options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.client: Any = redis.Redis(port=self.port, protocol=2, retry=Retry(NoBackoff(), 0))
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self, *, ready: bool = True, **more: str) -> None:
        """Until it answers, with what is in its directory; on the same port each time."""
        self.directory.mkdir(exist_ok=True)
        options = {
            "port": str(self.port), "bind": "127.0.0.1", "dir": str(self.directory), "save": "",
            "appendonly": "yes", "appendfsync": "always", "auto-aof-rewrite-percentage": "0",
            "repl-diskless-sync-delay": "0", "logfile": str(self.directory / "log"), **self._options, **more,
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([_binary(), *arguments], stdin=subprocess.DEVNULL)
        with trio.fail_after(20):
            while ready and not await trio.to_thread.run_sync(self._answers):
                await trio.sleep(0.01)

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (redis.ConnectionError, redis.exceptions.BusyLoadingError):
            return False

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

    def logs(self) -> dict[int, str]:
        """The keys of all partitions of ``orders`` that have a log."""
        keys = [key.decode() for key in self.client.keys("*:orders:log")]
        return {int(key.partition("}")[0].rpartition(":")[2]): key for key in sorted(keys)}

    def stored(self) -> dict[int, list[tuple[bytes, dict[bytes, bytes]]]]:
        """What is in them."""
        return {number: self.client.xrange(key) for number, key in self.logs().items()}

    def groups(self) -> dict[int, list[dict[str, Any]]]:
        """What XINFO GROUPS says of each."""
        return {number: self.client.xinfo_groups(key) for number, key in self.logs().items()}

    def lag(self) -> int | None:
        """What is not acknowledged; None where it cannot be said."""
        lags = [group["lag"] for groups in self.groups().values() for group in groups]
        return None if None in lags or not lags else sum(lags)

    def owners(self) -> dict[int, tuple[str, int]]:
        """Who owns which partition, and with which epoch."""
        found = {}
        for number, key in self.logs().items():
            held = self.client.hgetall(f"{key.removesuffix('log')}lease:note")
            if held:
                found[number] = (held[b"owner"].decode(), int(held[b"epoch"]))
        return found

    def guests(self) -> list[str]:
        """Connections that are not this object's own, nor a replica's."""
        mine = self.client.client_id()
        there = self.client.client_list(_type="normal")
        return [client["addr"] for client in there if int(client["id"]) != mine]
