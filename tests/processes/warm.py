"""Commands in processes that need not import anything first: forks of one process that has.

What tests of the command line spend is mostly the half second in which each command imports its modules. Here a
process imports them once, and each command is a fork of it: with arguments, environment, directory, pipes and end
of its own, as ``python -m runnel_trio`` has them. Where the start of the interpreter is a part of the test, there
is `subprocess`.

Run as a program, this is the process that forks; its standard input ends with the tests.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

__all__ = ["Forked", "Warm"]

#: What a command may need, besides the package itself, in case it is installed.
EXTRAS = ["hiredis", "lz4.frame", "msgspec", "orjson", "redis"]
#: What each command is to import itself: an app takes its settings when it is made, and `runpy` runs the other.
NEW = ["runnel_trio._demo", "runnel_trio.__main__"]
_INT = struct.Struct("i")


class Forked:
    """A command that runs, with as much of `subprocess.Popen` as tests need.

    Attributes:
        pid: its number.
        returncode: None until its end was seen.
    """

    def __init__(self, keeper: socket.socket) -> None:
        self._keeper = keeper
        (self.pid,) = _INT.unpack(keeper.recv(_INT.size))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._keeper], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._keeper.settimeout(timeout)
            (self.returncode,) = _INT.unpack(self._keeper.recv(_INT.size))
            self._keeper.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Warm:
    """Runs commands in forks of a process that is made by the first of them.

    Args:
        directory: for its socket.
    """

    def __init__(self, directory: Path) -> None:
        self.address = str(directory / "warm")
        self._process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()

    def start(
        self, arguments: Sequence[str], files: Sequence[int], cwd: Path, env: Mapping[str, str]
    ) -> Forked:
        """As `subprocess.Popen`, of ``python -m runnel_trio``, with these as its standard files."""
        if self._process is None:
            command = [sys.executable, __file__, self.address]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"warm\n"
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        keeper.connect(self.address)
        what = {"arguments": arguments, "cwd": str(cwd), "env": dict(env)}
        socket.send_fds(keeper, [json.dumps(what).encode()], files)
        return Forked(keeper)

    def run(
        self, arguments: Sequence[str], given: bytes, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """As `subprocess.run`; what it does not write in time is an error."""
        pipes = [os.pipe() for _ in range(3)]
        (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err) = pipes
        theirs = [theirs_in, theirs_out, theirs_err]
        command = self.start(arguments, theirs, cwd, env)
        for descriptor in theirs:
            os.close(descriptor)
        with ThreadPoolExecutor(3) as pool:
            pool.submit(_write, ours_in, given)
            texts = [pool.submit(_read, descriptor) for descriptor in (ours_out, ours_err)]
            try:
                code = command.wait(timeout)
            except TimeoutError:
                command.kill()
                raise
            out, err = (text.result() for text in texts)
        return subprocess.CompletedProcess([*arguments], code, out, err)


def _write(descriptor: int, given: bytes) -> None:
    with contextlib.suppress(BrokenPipeError), open(descriptor, "wb") as pipe:
        pipe.write(given)


def _read(descriptor: int) -> str:
    with open(descriptor, "rb") as pipe:
        return pipe.read().decode()


def main(address: str) -> None:
    """Fork for whoever asks; in the fork, be the command."""
    for name in [*_modules(), *EXTRAS]:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address)
        listener.listen(100)
        os.write(1, b"warm\n")
        asked = _asked(listener)
    if asked is not None:
        _become(*asked)


def _modules() -> Iterator[str]:
    package = importlib.import_module("runnel_trio")
    for found in pkgutil.walk_packages(package.__path__, "runnel_trio."):
        if found.name not in NEW and not found.name.startswith(f"{NEW[0]}."):
            yield found.name


def _asked(listener: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """In a fork, what it is to be; in the first process None, when the tests have ended."""
    while listener in select.select([listener, 0], [], [])[0]:
        connection, _ = listener.accept()
        with connection:
            if os.fork():
                continue
            message, descriptors, *_ = socket.recv_fds(connection, 1 << 20, 3)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            pid = os.fork()
            if not pid:
                return json.loads(message), descriptors
            for descriptor in descriptors:  # they end with the command
                os.close(descriptor)
            connection.send(_INT.pack(pid))
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            with contextlib.suppress(BrokenPipeError):
                connection.send(_INT.pack(code))
            os._exit(0)
    return None


def _become(what: dict[str, Any], descriptors: list[int]) -> None:
    """The command, as if it had been started."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(what["cwd"])
    os.environ.clear()
    os.environ.update(what["env"])
    sys.path[:1] = [what["cwd"], *filter(None, what["env"].get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv[1:] = what["arguments"]
    runpy.run_module("runnel_trio", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1])
