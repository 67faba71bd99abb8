"""A server that dies while a command uses it, with or without coming back."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from redis import Redis, exceptions
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from runnel_trio._embedded._server import _binary


@attrs.define
class Server:
    """A server that can be killed and started again, without losing what it has answered."""

    directory: Path
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> Redis:
        return Redis(port=self.port, retry=Retry(ConstantBackoff(0.02), 500))

    def start(self) -> None:
        if not self.port:
            with socket.create_server(("127.0.0.1", 0)) as found:
                self.port = found.getsockname()[1]
        self.process = subprocess.Popen(
            [
                *(_binary(), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)),
                *("--save", "", "--appendonly", "yes", "--appendfsync", "always"),
            ],
            stdout=subprocess.DEVNULL,
        )
        with self.client() as redis:
            for _ in range(3000):
                with suppress(exceptions.ConnectionError):
                    redis.ping()
                    return
                time.sleep(0.02)
        raise AssertionError("the server does not answer")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    directory = tmp_path / "server"
    directory.mkdir()
    server = Server(directory)
    server.start()
    yield server
    server.kill()


def heard(stream: Any, text: str) -> None:
    """Wait for a line with this text."""
    for line in iter(stream.readline, ""):
        if text in line:
            return
    pytest.fail(f"ended without {text!r}")


def document(n: int) -> str:
    return json.dumps({"key": "a", "n": n})


def test_a_worker_goes_on_when_its_server_is_back(server: Server, started: Any, command: Any) -> None:
    command("send", "shop:orders", document(1), RUNNEL_REDIS_URL=server.url)
    worker = started("run", "shop:app", RUNNEL_REDIS_URL=server.url)
    heard(worker.stdout, "end 1")
    server.kill()
    heard(worker.stderr, "WARNING server-away")
    server.start()
    heard(worker.stderr, "WARNING server-back")
    command("send", "shop:orders", document(2), RUNNEL_REDIS_URL=server.url)
    heard(worker.stdout, "end 2")
    worker.send_signal(signal.SIGTERM)
    worker.wait()
    assert worker.returncode == 0
    with server.client() as redis:
        groups: Any = [group for key in redis.scan_iter("*:log") for group in redis.xinfo_groups(key)]
    assert [group["lag"] for group in groups] == [0] * len(groups) != []


def test_a_third_signal_does_not_wait_for_a_server_that_is_away(server: Server, started: Any) -> None:
    worker = started("run", "shop:app", RUNNEL_REDIS_URL=server.url)
    heard(worker.stderr, "running app=shop")
    server.kill()
    heard(worker.stderr, "WARNING server-away")
    worker.send_signal(signal.SIGTERM)
    heard(worker.stderr, "SIGTERM: stopping gracefully; once more to stop at once")
    worker.send_signal(signal.SIGTERM)
    heard(worker.stderr, "SIGTERM: stopping at once; once more to kill it")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() in {-signal.SIGTERM, 128 + signal.SIGTERM}


def test_sendmany_waits_for_a_server_that_comes_back_and_not_for_ever(
    server: Server, started: Any, tmp_path: Path
) -> None:
    # Ten seconds in earnest: the test has less patience.
    (tmp_path / "sitecustomize.py").write_text(
        "from runnel_trio._broker._redis._transport import _sender\n\n_sender.PATIENCE = 3.0\n"
    )
    sending = started(
        *("sendmany", "shop:orders", "-"),
        stdin=subprocess.PIPE,
        RUNNEL_REDIS_URL=server.url,
        PYTHONPATH=str(tmp_path),
    )

    def feed(n: int) -> None:
        sending.stdin.write(document(n) + "\n")
        sending.stdin.flush()

    def stored() -> int:
        with server.client() as redis:
            return sum(redis.xlen(key) for key in redis.scan_iter("*:log"))

    feed(1)
    while not stored():
        assert sending.poll() is None
    server.kill()
    feed(2)
    heard(sending.stderr, "WARNING server-away")
    server.start()
    while stored() < 2:
        assert sending.poll() is None
    server.kill()
    feed(3)
    told = sending.stderr.read().splitlines()
    assert sending.wait() == 3
    assert told[-2].startswith("2 events sent to orders, in ")
    assert told[-2].endswith(
        "Line 3 may be stored or not; nothing after them was sent. "
        "To continue: --from-line 3, which sends twice what is stored of these."
    )
    assert told[-1].startswith(f"Error: no server at {server.url}: ")
    assert "No answer for 3 s" in told[-1]
