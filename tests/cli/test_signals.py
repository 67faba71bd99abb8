"""Signals at any moment of a command, also where it is the first process of a container, to which the kernel is no help.

Each of these runs twice: as process 1 of a namespace, where this machine allows it, and in a process that merely
takes itself for that one, everywhere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest

DEADLINE = 30.0
#: As the console script begins, in a process that takes itself for the first one.
AS_IF = """
import os, sys
os.getpid = lambda: 1
sys.argv[0] = "runnel-trio"
from runnel_trio._cli import main
main()
"""
INIT = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--kill-child"]
#: A module that never ends to be imported.
SLOW = "import time\nprint('importing', flush=True)\nwhile True:\n    time.sleep(0.01)\n"


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """Commands inherit what ignores signals: `nohup`, or a shell that runs the tests in the background."""
    ignored = [
        n for n in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT) if signal.getsignal(n) is signal.SIG_IGN
    ]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@cache
def has_namespaces() -> bool:
    try:
        return (
            subprocess.run([*INIT, "true"], capture_output=True, check=False, timeout=DEADLINE).returncode
            == 0
        )
    except OSError:
        return False


@attrs.define
class First:
    """A command that is process 1, or takes itself for it; its pid is that which we know it by."""

    process: subprocess.Popen[str]
    real: bool

    @property
    def pid(self) -> int:
        if not self.real:
            return self.process.pid
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(found[0])

    def says(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip() == text:
                return
        raise AssertionError(self.process.communicate()[1])

    def logs(self, text: str) -> None:
        assert self.process.stderr is not None
        said = ""
        for line in self.process.stderr:
            if text in line:
                return
            said += line
        raise AssertionError(said)

    def hears(self, number: int) -> None:
        os.kill(self.pid, number)

    def ends(self) -> tuple[int, str]:
        """The exit code, and the rest of what is told."""
        _, told = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, told

    def hears_until_it_ends(self, number: int) -> tuple[int, str]:
        for _ in range(200):
            with suppress(OSError, IndexError):
                self.hears(number)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.2)
                break
        return self.ends()


Start = Callable[..., First]


@pytest.fixture(params=["process 1", "as if"])
def first(request: pytest.FixtureRequest, shop: Path) -> Iterator[Start]:
    """Start a command as the first process."""
    real = request.param == "process 1"
    if real and not has_namespaces():
        pytest.skip("no namespaces for processes here; the other variant runs")
    processes: list[subprocess.Popen[str]] = []
    watchdogs: list[threading.Timer] = []

    def start(*arguments: str, **changes: str) -> First:
        begin = [*INIT, sys.executable, "-m", "runnel_trio"] if real else [sys.executable, "-c", AS_IF]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RUNNEL_", "PYTHONPATH"))}
        process = subprocess.Popen(
            [*begin, *arguments], cwd=shop, env={**kept, **changes}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        processes.append(process)
        watchdogs.append(threading.Timer(DEADLINE, process.kill))
        watchdogs[-1].start()
        return First(process, real)

    yield start
    for watchdog in watchdogs:
        watchdog.cancel()
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGINT])
def test_a_signal_while_the_users_modules_are_imported_ends_the_command(
    number: signal.Signals, first: Start, shop: Path
) -> None:
    (shop / "slow.py").write_text(SLOW)
    run = first("run", "slow:app")
    run.says("importing")
    run.hears(number)
    code, told = run.ends()
    assert (code, told.strip()) == (128 + number, "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "slow:orders", "{}"],
        ["sendmany", "slow:orders", "-"],
        ["status", "slow:app", "--watch"],
        ["inspect", "slow:orders", "--follow"],
    ],
    ids=lambda x: x[0],
)
def test_whichever_command_it_is(arguments: list[str], first: Start, shop: Path) -> None:
    (shop / "slow.py").write_text(SLOW)
    run = first(*arguments)
    run.says("importing")
    run.hears(signal.SIGTERM)
    assert run.ends() == (143, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_library_itself_is_imported_ends_the_command(
    number: signal.Signals, first: Start, shop: Path
) -> None:
    (shop / "stubs").mkdir()
    (shop / "stubs" / "trio.py").write_text(SLOW)
    run = first("--version", PYTHONPATH=str(shop / "stubs"))
    run.says("importing")
    run.hears(number)
    code, told = run.ends()
    assert (code, told) == (128 + number, "")


def test_the_supervisor_of_workers_that_are_being_imported_ends_them(first: Start, shop: Path) -> None:
    (shop / "slow.py").write_text(SLOW)
    run = first("run", "slow:app", "--workers=2")
    run.says("importing")
    run.hears(signal.SIGTERM)
    code, told = run.ends()
    assert (code, "supervisor-stopped" in told) == (0, True)


def test_the_third_signal_ends_a_worker_that_is_blocked(first: Start, command: Any) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "blocked", "n": 1}')
    run = first("run", "shop:app", "--embedded=data")
    run.says("begin 1")
    assert run.hears_until_it_ends(signal.SIGTERM)[0] == 143


def test_the_third_signal_ends_a_supervisor_with_its_blocked_workers(first: Start, command: Any) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "blocked", "n": 1}')
    run = first("run", "shop:app", "--embedded=data", "--workers=1")
    run.says("begin 1")
    for then in ("gracefully", "at once", "killing the workers"):
        run.hears(signal.SIGTERM)
        run.logs(then)
    assert run.ends()[0] == 143


def test_a_signal_at_work_is_a_graceful_end(first: Start) -> None:
    run = first("run", "shop:app", RUNNEL_REDIS_URL="memory://")
    run.logs("running")
    run.hears(signal.SIGTERM)
    code, told = run.ends()
    assert (code, "stopped member=" in told) == (0, True)


def test_a_command_that_has_no_handlers_of_its_own_ends_at_once(first: Start, command: Any) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "a", "n": 1}')
    run = first("inspect", "shop:orders", "--follow", "--json", "--embedded=data", PYTHONUNBUFFERED="1")
    assert run.process.stdout is not None
    assert '"n": 1' in run.process.stdout.readline()
    run.hears(signal.SIGTERM)
    assert run.ends() == (143, "")


def test_any_other_process_is_ended_by_the_kernel_also_when_python_never_looks(
    started: Any, shop: Path
) -> None:
    """What runs in C for long sees no handler of Python's."""
    (shop / "slow.py").write_text(
        "import signal\nassert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n" + SLOW
    )
    run = started("run", "slow:app")
    assert run.stdout.readline() == "importing\n"
    run.terminate()
    run.communicate(timeout=DEADLINE)
    assert run.returncode == -signal.SIGTERM


def test_a_program_that_is_not_the_command_keeps_its_signals(shop: Path) -> None:
    text = (
        "import os, signal\nos.getpid = lambda: 1\nimport runnel_trio\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    (shop / "program.py").write_text(text)
    for way in (["program.py"], ["-m", "program", "runnel_trio"]):
        subprocess.run([sys.executable, *way], cwd=shop, check=True, timeout=DEADLINE)


def test_a_closed_terminal_ends_a_worker_gracefully_however_often_it_is_told(
    reads: Any, started: Any, command: Any
) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "slow", "n": 1}')
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        run = started("run", "shop:app", "--embedded=data")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert run.stdout.readline() == "begin 1\n"
    run.send_signal(signal.SIGHUP)
    reads(run, "SIGHUP: stopping gracefully")
    run.send_signal(signal.SIGHUP)
    out, told = run.communicate(timeout=DEADLINE)
    assert (run.returncode, out) == (0, "end 1\n")
    assert "at once" not in told


def test_under_nohup_a_closed_terminal_is_nothing_to_a_worker(reads: Any, started: Any) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = started("run", "shop:app", RUNNEL_REDIS_URL="memory://")
    finally:
        signal.signal(signal.SIGHUP, before)
    reads(run, "running")
    run.send_signal(signal.SIGHUP)
    run.terminate()
    _, told = run.communicate(timeout=DEADLINE)
    assert run.returncode == 0
    assert "SIGHUP" not in told
    assert "SIGTERM: stopping gracefully" in told
