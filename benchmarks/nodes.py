"""Servers of our own for one contender: one, or three that are a cluster, alike but for that."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import combinations
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from runnel_trio._embedded._server import _binary

SLOTS = 16384
#: Seconds until they have to be ready.
_PATIENCE = 30.0


def free_ports(count: int) -> list[int]:
    """Of this moment."""
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in taken:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in taken]


@contextmanager
def started(port: int, **options: Any) -> Iterator[Any]:
    """A server that keeps nothing on a disk, and a client of it; it is gone afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        settings: dict[str, Any] = {
            "port": port,
            "bind": "127.0.0.1",
            "dir": directory,
            "save": "",
            "appendonly": "no",
        }
        settings |= options
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        process = subprocess.Popen([_binary(), *words], stdout=subprocess.DEVNULL)
        try:
            with Redis(port=port, retry=Retry(NoBackoff(), 0)) as client:
                until(client.ping)
                yield client
        finally:
            process.kill()
            process.wait()


def until(condition: Callable[[], Any]) -> None:
    """Wait for it."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if condition():
                return
        except RedisError:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise TimeoutError(f"no servers after {_PATIENCE:g} s")
        time.sleep(0.02)


@contextmanager
def one_server() -> Iterator[str]:
    """Its URL."""
    (port,) = free_ports(1)
    with started(port):
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def three_masters() -> Iterator[str]:
    """The URL of a cluster that has all slots."""
    ports, buses = free_ports(3), free_ports(3)
    with ExitStack() as stack:
        options = {"cluster-enabled": "yes", "cluster-node-timeout": 5000}
        nodes = [
            stack.enter_context(started(port, **options, **{"cluster-port": bus}))
            for port, bus in zip(ports, buses, strict=True)
        ]
        for number, node in enumerate(nodes):
            first, behind = (SLOTS * n // len(nodes) for n in (number, number + 1))
            node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, behind - 1)
        for one, other in combinations(range(len(nodes)), 2):
            nodes[one].execute_command("CLUSTER", "MEET", "127.0.0.1", ports[other], buses[other])
        for node in nodes:
            until(lambda node=node: sees_all(node))
        yield "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)


def sees_all(node: Any) -> bool:
    """Whether a node knows that all slots are served."""
    told = node.execute_command("CLUSTER", "INFO").decode()
    return "cluster_state:ok" in told and f"cluster_slots_ok:{SLOTS}" in told
