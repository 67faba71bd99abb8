"""The brokers that every promise is shown on: in memory, the embedded Valkey, and Redis where it is installed."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from runnel_trio._broker import open_broker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import ServerConfig
from runnel_trio._embedded._server import BINARY_VARIABLE

#: Redis is the oldest server that is promised (7.0); its package is ``redis-server`` in Debian.
INSTALLED = ["redis-server"] if shutil.which("redis-server") else []


@pytest.fixture(params=["memory://", "embedded://", *INSTALLED])
async def broker(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[Broker]:
    """A broker with nothing in it."""
    url = request.param
    if url in INSTALLED:
        monkeypatch.setenv(BINARY_VARIABLE, url)
        url = f"embedded://{tmp_path}"
    async with open_broker(ServerConfig(url)) as broker:
        yield broker
