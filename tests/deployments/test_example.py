"""The flights, by the command that the book has for each deployment: the same histories come of them."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from examples.flights.make_sample import expected
from fault_server import Server, free_port
from rig_cluster import Cluster
from rig_group import Group
from rig_tls import Certificates, Front

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "src" / "runnel_trio" / "_demo" / "sample.jsonl.gz"
PAGE = (ROOT / "docs" / "howto" / "deployments.rst").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first of the week, with the histories that are to come of them."""
    directory = tmp_path_factory.mktemp("flights")
    lines = gzip.decompress(SAMPLE.read_bytes()).decode().splitlines()[:1000]
    (directory / "few.jsonl").write_text("\n".join(lines))
    (directory / "few.expected.json").write_text(json.dumps(expected(lines)))
    return directory / "few.jsonl"


def commands() -> list[str]:
    """Those of the page, each with the example."""
    return re.findall(r"^ +(python -m examples\.flights .*)$", PAGE, re.MULTILINE)


def flown(scheme: str, url: str, file: Path) -> subprocess.CompletedProcess[str]:
    """What the page's command with this scheme does, to another server and with a file of ours."""
    (command,) = [line for line in commands() if f"--redis-url '{scheme}://" in line]
    _, *arguments = re.sub("'.*'", "URL", command).split()
    return subprocess.run(
        [sys.executable, *(url if word == "URL" else word for word in arguments), str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def check(scheme: str, url: str, file: Path, clients: Any) -> None:
    """All is right, and nothing is left."""
    done = flown(scheme, url, file)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "histories equal few.expected.json" in done.stdout
    assert [key for client in clients for key in client.scan_iter()] == []


@pytest.fixture
def front(server: Server, certificates: Certificates, tmp_path: Path) -> Iterator[str]:
    """The URL of the server behind TLS."""
    front, port = Front(tmp_path), free_port()
    front.start([{"certificate": certificates.server, "port": port, "target": server.port}])
    yield f"rediss://localhost:{port}?{certificates.query()}"
    front.end()


async def test_one_server(server: Server, flights: Path) -> None:
    check("redis", server.url, flights, server.clients)
    server.client.set("{flights}:planes", "somebody's")
    refused = flown("redis", server.url, flights)
    assert (refused.returncode, refused.stdout.count("\n")) == (78, 1)
    assert "the server has an app `flights` already" in refused.stderr
    assert server.client.keys() == [b"{flights}:planes"]


async def test_one_server_behind_tls(server: Server, front: str, flights: Path) -> None:
    check("rediss", front, flights, server.clients)


def test_a_group(group: Group, flights: Path) -> None:
    check("redis+sentinel", group.url, flights, group.clients)


def test_a_cluster(cluster: Cluster, flights: Path) -> None:
    check("redis+cluster", cluster.url, flights, cluster.clients)


def test_the_page_has_a_command_for_each() -> None:
    found = [re.findall(r"'([^:]*)://", line)[0] for line in commands()]
    assert found == ["redis", "rediss", "redis+sentinel", "redis+cluster"]
