"""The command line as processes, in a directory of their own."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import attrs
import pytest
from warm import Warm

SHOP = """
import os, sys, time
import trio
from runnel_trio import App, ExceptionPolicy, Record

app = App("shop", default_partition_count=4)

class Order(Record):
    key: str
    n: int

orders = app.stream("orders", Order, partition_by="key")

def say(text):
    print(text, flush=True)

@app.processor(orders, grace_period=5)
async def printer(events):
    async for order in events.records():
        if order.key == "fail":
            raise LookupError("no such customer")
        say(f"begin {order.n}")
        if order.key == "slow":
            await trio.sleep(0.5)
        if order.key == "stuck":
            await trio.sleep_forever()
        while order.key == "blocked":
            time.sleep(0.01)
        say(f"end {order.n}")

@app.processor(orders)
async def quiet(events):
    async for order in events.records():
        pass
"""

#: Seconds that a command may take.
DEADLINE = 120.0

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The current directory of the commands, with a module ``shop``."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def environment(**changes: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("RUNNEL_", "PYTHONPATH"))
    }
    return {**kept, **changes}


@pytest.fixture
def command(shop: Path, warm: Warm) -> Command:
    """Run a command to its end."""

    def run(
        *arguments: str, stdin: str | bytes = "", cwd: Path = shop, **changes: str
    ) -> subprocess.CompletedProcess[str]:
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        if "PYTHONPATH" not in changes:
            return warm.run(arguments, given, cwd, environment(**changes), 60)
        done = subprocess.run(
            [sys.executable, "-m", "runnel_trio", *arguments],
            cwd=cwd,
            input=given,
            capture_output=True,
            timeout=60,
            check=False,
            env=environment(**changes),
        )
        texts = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, *texts)

    return run


@pytest.fixture
def started(shop: Path) -> Iterator[Started]:
    """Start a command; its standard output can be read line by line."""
    processes: list[subprocess.Popen[str]] = []
    watchdogs: list[threading.Timer] = []

    def start(
        *arguments: str, stdin: int = subprocess.DEVNULL, cwd: Path = shop, **changes: str
    ) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "runnel_trio", *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=stdin,
            text=True,
            env=environment(**changes),
        )
        processes.append(process)
        watchdogs.append(threading.Timer(DEADLINE, process.kill))
        watchdogs[-1].start()
        return process

    yield start
    for watchdog in watchdogs:
        watchdog.cancel()
    for process in processes:
        process.kill()
        process.communicate()


def read_to(process: subprocess.Popen[str], pattern: str, *, most: int = 400) -> re.Match[str]:
    """Read its log up to a line that has this."""
    assert process.stderr is not None
    read = []
    for _ in range(most):
        line = process.stderr.readline()
        assert line, "".join(read)
        read.append(line)
        if found := re.search(pattern, line):
            return found
    raise AssertionError("".join(read))


@pytest.fixture
def reads() -> Callable[..., re.Match[str]]:
    """Read the log of a command that was started."""
    return read_to


#: As in a shell, where Ctrl-C reaches the command: the terminal becomes that of its session. The tests may run
#: under nohup, the command does not.
AT_A_TERMINAL = """
import fcntl, signal, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from runnel_trio.__main__ import main
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
main()
"""


@attrs.define
class Terminal:
    """A command at a terminal."""

    process: subprocess.Popen[bytes]
    descriptor: int
    shown: str = ""

    def shows(self, pattern: str) -> str:
        """Wait until something is shown that was not waited for before; all that was shown up to it."""
        deadline = time.monotonic() + DEADLINE
        while not (found := re.search(pattern, self.shown)):
            assert time.monotonic() < deadline, self.shown
            self.reads(0.1)
        before, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return before

    def reads(self, patience: float) -> None:
        """What is shown, waited for so many seconds."""
        if select.select([self.descriptor], [], [], patience)[0]:
            self.shown += self._read()

    def types(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def types_until_it_ends(self, text: str) -> None:
        """As somebody does who has lost patience: twice a second."""
        deadline = time.monotonic() + DEADLINE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.types(text)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.5)

    def ends(self) -> tuple[int, str]:
        """Wait for the end; the exit code, and the rest that was shown."""
        code = self.process.wait(DEADLINE)
        while more := self._read():
            self.shown += more
        return code, self.shown

    def _read(self) -> str:
        try:
            return os.read(self.descriptor, 65536).decode()
        except OSError:  # Linux's word for the end of a terminal
            return ""


@pytest.fixture
def terminal(shop: Path) -> Iterator[Callable[..., Terminal]]:
    """Start a command at a terminal of its own, 80 columns wide."""
    terminals: list[Terminal] = []

    def start(*arguments: str, **changes: str) -> Terminal:
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        process = subprocess.Popen(
            [sys.executable, "-c", AT_A_TERMINAL, *arguments],
            cwd=shop,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env=environment(**changes),
        )
        os.close(theirs)
        terminals.append(Terminal(process, ours))
        return terminals[-1]

    yield start
    for x in terminals:
        x.process.kill()
        x.process.wait()
        os.close(x.descriptor)
