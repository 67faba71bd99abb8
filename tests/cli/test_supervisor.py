"""``runnel-trio run --workers``: what happens to workers, by signals, ends of their own, and their supervisor's."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from runnel_trio._cli._child import Backoff


def alive(pid: int) -> bool:
    """Whether a process runs, and is not only waiting to be reaped."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:1] not in {"", "Z"}


def ends(*pids: int) -> None:
    deadline = time.monotonic() + 60
    while any(map(alive, pids)):
        assert time.monotonic() < deadline


def children(pid: int) -> list[int]:
    """The workers of a supervisor."""
    found = subprocess.run(
        ["ps", "-A", "-w", "-w", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = [line.split(None, 2) for line in found]
    return [int(x[0]) for x in rows if int(x[1]) == pid and "--leash" in x[2]]


def test_ctrl_c_reaches_each_worker_once(terminal: Any, command: Any) -> None:
    run = terminal("run", "shop:app", "--embedded=data", "--workers=2", "--processors=printer")
    shown = run.shows("running app=shop") + run.shows("running app=shop")
    command("send", "shop:orders", "--embedded=data", '{"key": "slow", "n": 1}')
    run.shows("begin 1")
    run.types("\x03")
    shown += run.shows("stopping 2 workers gracefully; once more to stop at once")
    shown += run.shows("supervisor-stopped code=0")
    assert "end 1" in shown
    code, rest = run.ends()
    assert code == 0
    assert shown.count("SIGINT") == 1
    assert "SIG" not in rest
    marks = {line.partition(" ")[0] for line in re.split(r"\r?\n", shown) if "acquired" in line}
    assert marks == {"[1]", "[2]"}
    assert not re.search(r"\[\d\] \[\d\]", shown)


def test_ctrl_c_twice_does_not_wait_for_the_events_in_hand(terminal: Any, command: Any) -> None:
    run = terminal("run", "shop:app", "--embedded=data", "--workers=2", "--processors=printer")
    run.shows("running app=shop")
    run.shows("running app=shop")
    command("send", "shop:orders", "--embedded=data", '{"key": "stuck", "n": 1}')
    run.shows("begin 1")
    run.types("\x03")
    run.shows("once more to stop at once")
    run.types("\x03")
    run.shows("once more to kill")
    assert run.ends()[0] == 130


def test_the_third_ctrl_c_kills_workers_that_block_trio(terminal: Any, command: Any) -> None:
    run = terminal("run", "shop:app", "--embedded=data", "--workers=2", "--processors=printer")
    run.shows("running app=shop")
    run.shows("running app=shop")
    command("send", "shop:orders", "--embedded=data", '{"key": "blocked", "n": 1}')
    run.shows("begin 1")
    workers = children(run.process.pid)
    assert len(workers) == 2
    for answer in ("once more to stop at once", "once more to kill them", "killing the workers"):
        run.types("\x03")
        run.shows(answer)
    assert run.ends()[0] == 130
    ends(*workers)


def test_a_terminal_that_is_closed_ends_them(terminal: Any) -> None:
    run = terminal("run", "shop:app", "--embedded=data", "--workers=2", "--processors=printer")
    run.shows("running app=shop")
    run.shows("running app=shop")
    workers = children(run.process.pid)
    os.close(run.descriptor)
    run.descriptor = os.open(os.devnull, os.O_RDONLY)
    ends(run.process.pid, *workers)


@pytest.mark.parametrize("key", ["a", "blocked"])
def test_a_supervisor_that_is_killed_takes_its_workers_with_it(
    reads: Any, key: str, started: Any, command: Any
) -> None:
    run = started(
        *("run", "shop:app", "--embedded=data", "--workers=2", "--processors=printer"),
        RUNNEL_DEFAULT_GRACE_PERIOD="0.1",
    )
    reads(run, "running app=shop")
    reads(run, "running app=shop")
    command("send", "shop:orders", "--embedded=data", json.dumps({"key": key, "n": 1}))
    assert run.stdout.readline() == "begin 1\n"
    workers = children(run.pid)
    assert len(workers) == 2
    run.kill()
    reads(run, "supervisor-gone then=stopping gracefully")
    ends(*workers)


def test_sigterm_to_all_processes_at_once_is_one_signal(reads: Any, started: Any, command: Any) -> None:
    run = started("run", "shop:app", "--embedded=data", "--workers=2", "--processors=printer")
    reads(run, "running app=shop")
    reads(run, "running app=shop")
    command("send", "shop:orders", "--embedded=data", '{"key": "slow", "n": 1}')
    assert run.stdout.readline() == "begin 1\n"
    for pid in [*children(run.pid), run.pid]:  # as systemd does
        os.kill(pid, signal.SIGTERM)
    out = run.stdout.read()  # not `communicate`: it leaves out what `readline` has read ahead
    _, log = run.communicate(timeout=60)
    assert run.returncode == 0, log
    assert out == "end 1\n"
    assert "at once" not in log.replace("once more to stop at once", "")


def test_workers_that_end_again_and_again_are_started_more_and_more_slowly(
    reads: Any, started: Any, command: Any
) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "fail", "n": 1}')
    run = started("run", "shop:app", "--embedded=data", "--workers=1", "--processors=printer")
    began = time.monotonic()
    pauses = [
        float(reads(run, r"worker-ended worker=1 .*how=exit code 1 .*again_in=(\S+)")[1]) for _ in range(3)
    ]
    assert pauses == [0.5, 1.0, 2.0]
    assert time.monotonic() - began > 1.5
    run.send_signal(signal.SIGTERM)
    _, log = run.communicate(timeout=60)
    assert run.returncode == 0, "it did not wait to the end of the pause"
    assert "LookupError" not in log


def test_a_worker_that_has_lived_well_begins_anew_with_its_pauses() -> None:
    backoff = Backoff(first=1, most=8, good=10)
    assert [backoff.after(1) for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    assert [backoff.after(11), backoff.after(1)] == [1, 2]


def test_what_is_wrong_with_the_app_is_said_once_and_ends_the_supervisor(command: Any, shop: Path) -> None:
    (shop / "bad.py").write_text("import shop\n1 / 0\n")
    done = command("run", "bad:app", "--workers=4")
    assert done.returncode == 2
    assert done.stderr.count("ZeroDivisionError: division by zero\n") == 2, "the traceback, and the line"
    assert "then=none can work: the supervisor ends" in done.stderr
    wrong = command("run", "shop:app", "--workers=4", RUNNEL_DEFAULT_LOCK_EXPIRY="soon")
    assert wrong.returncode == 78
    memory = command("run", "shop:app", "--workers=4", "--redis-url=memory://")
    assert memory.returncode == 78
    assert "inside of one process; name a server, or use --embedded" in memory.stderr
    assert "Traceback" not in memory.stderr


def test_a_server_that_is_not_there_yet_is_waited_for(reads: Any, started: Any) -> None:
    run = started("run", "shop:app", "--workers=2", "--redis-url=redis://127.0.0.1:1")
    for seconds in ("0.5", "1.0"):
        reads(run, rf"worker-ended worker=1 .*how=exit code 3 .*again_in={seconds}")
    run.send_signal(signal.SIGTERM)
    _, log = run.communicate(timeout=60)
    assert run.returncode == 0
    assert "worker=2" not in log


def test_the_new_code_does_not_run_and_the_old_workers_go_on(
    reads: Any, started: Any, command: Any, shop: Path
) -> None:
    run = started("run", "shop:app", "--embedded=data", "--workers=2", "--processors=printer")
    reads(run, "running app=shop")
    reads(run, "running app=shop")
    good = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text("def f(:\n")
    run.send_signal(signal.SIGHUP)
    reads(run, "roll-given-up worker=1 how=exit code 2 then=the old workers go on; SIGHUP tries again")
    (shop / "shop.py").write_text(good.replace('say(f"begin', 'say(f"now begin'))
    command("send", "shop:orders", "--embedded=data", '{"key": "a", "n": 1}')
    assert run.stdout.readline() == "begin 1\n"
    run.send_signal(signal.SIGHUP)
    reads(run, "rolled seconds=")
    command("send", "shop:orders", "--embedded=data", '{"key": "a", "n": 2}')
    assert [run.stdout.readline() for _ in range(2)] == ["end 1\n", "now begin 2\n"]
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 0


WHERE = """
import trio
from runnel_trio import App
app = App("where")
@app.task
async def where():
    print(app.server_url, flush=True)
    await trio.sleep_forever()
"""


def test_one_embedded_server_without_a_directory_is_for_all_and_outlives_each(
    started: Any, shop: Path
) -> None:
    (shop / "where.py").write_text(WHERE)
    run = started("run", "where:app", "--embedded", "--workers=2")
    first = {run.stdout.readline() for _ in range(2)}
    assert len(first) == 1
    for pid in children(run.pid):
        os.kill(pid, signal.SIGKILL)
    assert {run.stdout.readline() for _ in range(2)} == first
    run.send_signal(signal.SIGTERM)
    assert run.wait(60) == 0
    directory = re.search(r"unix://(.*)/", first.pop())
    assert directory
    assert not Path(directory[1]).exists(), "the server has gone with the last of them"


@pytest.mark.parametrize("server", ["--embedded", "--embedded=data"])
def test_a_supervisor_that_is_killed_leaves_no_directory(
    server: str, reads: Any, started: Any, tmp_path: Path
) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    run = started("run", "shop:app", server, "--workers=2", TMPDIR=str(temporary))
    reads(run, "running app=shop")
    reads(run, "running app=shop")
    workers = children(run.pid)
    assert list(temporary.glob("runnel-*"))
    run.kill()
    ends(*workers)
    deadline = time.monotonic() + 60
    while list(temporary.iterdir()):  # the guard ends after the last of them
        assert time.monotonic() < deadline


def test_the_log_of_all_of_them_is_for_machines_when_that_is_wanted(reads: Any, started: Any) -> None:
    run = started("run", "shop:app", "--embedded=data", "--workers=2", "--log-format=json")
    reads(run, '"running"')
    reads(run, '"running"')
    run.send_signal(signal.SIGTERM)
    _, log = run.communicate(timeout=60)
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[-1] == "supervisor-stopped"
    assert events.count("stopped") == 2


def test_a_leash_is_not_for_people(command: Any) -> None:
    done = command("run", "shop:app", "--leash=0")
    assert done.returncode == 2
    assert "give that instead" in done.stderr
