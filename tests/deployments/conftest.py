"""Deployments to test against: each is started once by a process of tests, when one of them first needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import fault_app
import pytest
import trio
from fault_bench import Bench
from fault_history import Diary
from fault_server import Server
from rig_cluster import Cluster
from rig_group import Group
from rig_tls import Certificates


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        trio.run(cluster.start)
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def cluster(_cluster: Cluster) -> Cluster:
    """Three masters and what replicas they have, all in order, with nothing in them."""
    _cluster.ready()
    return _cluster


@pytest.fixture(scope="session")
def _group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    group = Group(tmp_path_factory.mktemp("group"))
    try:
        trio.run(group.start)
        yield group
    finally:
        group.end()


@pytest.fixture
def group(_group: Group) -> Group:
    """A master, two replicas and three Sentinels, all in order, with nothing in them."""
    _group.ready()
    return _group


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """For TLS."""
    return Certificates.made_in(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A server alone."""
    server = Server(tmp_path / "server")
    try:
        await server.start()
        yield server
    finally:
        server.end()


@pytest.fixture
async def bench(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[Any], Bench]]:
    """Makes the bench of the fault matrix before a deployment; what is left of the processes ends with it."""
    diary = Diary(tmp_path / "diary")
    fault_app.watch_commits(diary, monkeypatch.setattr)
    made: list[Bench] = []

    def make(store: Any) -> Bench:
        made.append(Bench(store, None, diary, tmp_path, nursery))
        return made[-1]

    yield make
    for child in [child for bench in made for child in bench.children]:
        child.kill()
