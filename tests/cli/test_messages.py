"""What commands say: warnings, hints, the log for machines, and what the user's own functions raise."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runnel_trio._demo._replay import BadFile, _departures
from runnel_trio._embedded._server import embedded_server

GOOD = '{"key": "a", "n": 1}'


@pytest.fixture
async def server() -> AsyncIterator[str]:
    async with embedded_server("embedded://") as url:
        yield url


@pytest.fixture
def moody(shop: Path) -> None:
    """Some keys cannot be had."""
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(
        text.replace('partition_by="key"', "partition_by=lambda order: {1: 'one', 2: 'two'}[order.n]")
    )


@pytest.mark.parametrize("command_line", [("send", "shop:orders", GOOD), ("sendmany", "shop:orders", "-")])
def test_sending_to_a_server_that_ends_with_the_command_is_only_a_trial(
    command_line: tuple[str, ...], command: Any, shop: Path
) -> None:
    done = command(*command_line, "--embedded", stdin=GOOD)
    assert done.returncode == 0
    warning, told = done.stderr.splitlines()
    assert warning.startswith("Only a trial: ")
    assert told.startswith(("Sent 1 event to orders.", "1 event sent to orders, in "))
    kept = command(*command_line, "--embedded=data", stdin=GOOD)
    assert "trial" not in kept.stderr


def test_a_directory_without_an_equals_sign_is_explained(command: Any) -> None:
    done = command("run", "shop:app", "--embedded", "data")
    assert done.returncode == 2
    assert done.stderr.endswith(
        "unexpected extra argument (data). A directory for --embedded goes behind an equals sign: "
        "--embedded=DIR\n"
    )


def test_embedded_may_stand_before_the_target(command: Any) -> None:
    assert command("send", "--embedded", "shop:orders", GOOD).returncode == 0


def test_without_a_command_there_is_help(command: Any) -> None:
    done = command()
    assert done.returncode == 2
    for name in ("run", "send", "sendmany"):
        assert f"\n  {name} " in done.stdout + done.stderr
    assert "..." not in (done.stdout + done.stderr).partition("Commands:")[2]


def test_standard_input_that_is_closed(shop: Path) -> None:
    words = f"exec {sys.executable} -m runnel_trio sendmany shop:orders - <&-"
    done = subprocess.run(["sh", "-c", words], cwd=shop, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (74, b"Error: standard input is closed\n")


async def test_a_line_whose_key_cannot_be_had_is_a_bad_line(
    server: str, command: Any, moody: None, shop: Path
) -> None:
    (shop / "events").write_text("".join(f'{{"key": "a", "n": {n}}}\n' for n in (1, 2, 3, 1)))
    stopped = command("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    assert stopped.returncode == 65
    account, error = stopped.stderr.splitlines()
    assert account.startswith("2 events sent to orders, in ")
    assert account.endswith("Nothing from line 3 on was sent. To continue: --from-line 3")
    assert error == "Error: events, line 3: KeyError: 3"
    skipped = command(
        *("sendmany", "shop:orders", "events", "--on-error=skip", "--from-line=3"), RUNNEL_REDIS_URL=server
    )
    assert skipped.returncode == 0
    told, account = skipped.stderr.splitlines()
    assert told == "skipped line 3: KeyError: 3"
    assert account.startswith("1 event sent to orders, 1 bad line skipped, in ")


async def test_a_record_whose_key_cannot_be_had(server: str, command: Any, moody: None) -> None:
    done = command("send", "shop:orders", '{"key": "a", "n": 3}', RUNNEL_REDIS_URL=server)
    assert done.returncode == 1
    assert "partition_by=lambda" in done.stderr
    assert done.stderr.endswith("\nKeyError: 3\nError: stopped by KeyError: 3\n")


async def test_a_stream_with_another_partition_count_is_refused_before_anything_is_sent(
    server: str, command: Any, shop: Path
) -> None:
    command("send", "shop:orders", GOOD, RUNNEL_REDIS_URL=server)
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(text.replace("partition_count=4", "partition_count=5"))
    done = command("sendmany", "shop:orders", "-", stdin=GOOD, RUNNEL_REDIS_URL=server)
    assert done.returncode == 78
    account, error = done.stderr.splitlines()
    assert account.startswith("0 events sent")
    assert account.endswith("Nothing from line 1 on was sent. To continue: --from-line 1")
    assert "partition" in error


async def test_a_second_signal_to_a_sendmany_that_waits_for_room(
    server: str, started: Any, shop: Path
) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(text.replace('by="key"', 'by="key", partition_size=10'))
    (shop / "events").write_text('{"key": "a", "n": 1}\n' * 15)
    sending = started("sendmany", "shop:orders", "events", RUNNEL_REDIS_URL=server)
    assert "WARNING stream-full" in sending.stderr.readline()
    sending.send_signal(signal.SIGTERM)
    assert "once more to stop at once" in sending.stderr.readline()
    sending.send_signal(signal.SIGTERM)
    _, said = sending.communicate()
    assert sending.returncode == 128 + signal.SIGTERM
    assert "Of lines 1 to 15, any may be stored or not" in said


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def test_the_log_for_machines_has_nothing_else_in_it(server: str, started: Any, command: Any) -> None:
    settings = {"RUNNEL_REDIS_URL": server, "RUNNEL_LOG_FORMAT": "json"}
    worker = started("run", "shop:app", "--processors=printer", **settings)
    lines = iter(worker.stderr.readline, "")
    running = next(fact for fact in map(json.loads, lines) if fact["event"] == "running")
    assert (running["level"], running["app"], running["processors"]) == ("info", "shop", "printer")
    assert "password=***" in running["server"]
    worker.send_signal(signal.SIGTERM)
    _, rest = worker.communicate()
    assert worker.returncode == 0
    assert [fact["event"] for fact in objects(rest)] == [
        "SIGTERM: stopping gracefully; once more to stop at once",
        "stopped",
    ]
    command("send", "shop:orders", '{"key": "fail", "n": 1}', RUNNEL_REDIS_URL=server)
    failed = command("run", "shop:app", **settings)
    assert failed.returncode == 1
    last = objects(failed.stderr)[-1]
    assert (last["level"], last["event"]) == ("critical", "stopped by LookupError: no such customer")
    assert last["exception"].endswith("LookupError: no such customer\n")
    assert "_partition.py" not in last["exception"]


async def test_logging_that_the_users_module_has_configured_stays(
    server: str, started: Any, shop: Path
) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(
        f"import logging\nlogging.basicConfig(level='INFO', format='MINE %(message)s')\n{text}"
    )
    worker = started("run", "shop:app", RUNNEL_REDIS_URL=server)
    assert worker.stderr.readline().startswith("MINE joined ")


async def test_the_log_level_is_that_of_the_settings(server: str, command: Any) -> None:
    command("send", "shop:orders", '{"key": "fail", "n": 1}', RUNNEL_REDIS_URL=server)
    done = command("run", "shop:app", RUNNEL_REDIS_URL=server, RUNNEL_LOG_LEVEL="error")
    first, second, *_ = done.stderr.splitlines()
    assert " ERROR   halted place=" in first
    assert second.startswith("Traceback ")


def test_a_declaration_that_is_refused_names_its_line_once(command: Any, shop: Path) -> None:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(f"{text}\n@app.timer(interval=1)\ndef tick(): ...\n")
    done = command("run", "shop:app")
    assert done.returncode == 78
    assert done.stderr.count("shop.py:") == 1
    assert "tick must be an async function" in done.stderr
    (shop / "shop.py").write_text(f'{text}\napp.stream("a b", Order, partition_by="key")\n')
    assert command("run", "shop:app").stderr.startswith("Error: shop.py:")


def test_a_file_of_flights_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(BadFile) as caught:
        list(_departures(tmp_path))
    assert str(caught.value) == f"{tmp_path} is damaged, or no text: Is a directory"
