"""Arguments, variables and names of files that nobody means: told in a line, never by a traceback."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., "subprocess.CompletedProcess[str]"]

DEEP = "[" * 3000 + "]" * 3000
#: A byte that is no UTF-8, as Python has it in arguments and variables.
BYTE = "\udcff"
#: What Python does with standard output in most places, and what must not matter.
STRICT = {"PYTHONIOENCODING": "utf-8:strict"}


def plain(done: subprocess.CompletedProcess[str], code: int, said: str) -> None:
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert said in done.stderr


@pytest.fixture
def by_function(shop: Path) -> Path:
    text = (shop / "shop.py").read_text()
    (shop / "shop.py").write_text(
        f'{text}\nwide = app.stream("wide", Order, partition_by=lambda x: [x.key])\n'
    )
    return shop


@pytest.mark.parametrize(
    "arguments",
    [
        ["stream", "partition-of", "shop:wide", DEEP],
        ["inspect", "shop:wide", "--embedded", "--key", DEEP],
        ["stream", "partition-of", "shop:wide", '{"a":' * 3000 + "1" + "}" * 3000],
    ],
    ids=["partition-of", "inspect", "objects"],
)
def test_a_key_that_is_nested_too_deeply_is_told(
    command: Command, by_function: Path, arguments: list[str]
) -> None:
    plain(command(*arguments, cwd=by_function), 2, "the key is nested too deeply")


def test_a_key_that_is_a_text_may_have_any_number_of_brackets(command: Command) -> None:
    assert command("stream", "partition-of", "shop:orders", DEEP).stdout.strip().isdecimal()


@pytest.mark.parametrize("text", [DEEP, "9" * 5000, f'{{"a": "{BYTE}"}}x'], ids=["deep", "long", "byte"])
def test_options_that_are_no_json_are_told(command: Command, text: str) -> None:
    plain(command("settings", RUNNEL_REDIS_OPTIONS=text), 78, "RUNNEL_REDIS_OPTIONS=…")


def test_a_refused_value_is_told_in_so_many_characters(command: Command) -> None:
    done = command("settings", RUNNEL_LOG_LEVEL="x" * 50_000)
    plain(done, 78, "RUNNEL_LOG_LEVEL='xxx")
    assert len(done.stderr) < 2000


@pytest.mark.parametrize("pattern", ["x" * 5000, "**x/", f"{BYTE}/*.py"], ids=["long", "stars", "byte"])
def test_a_pattern_that_finds_nothing_is_told(command: Command, pattern: str) -> None:
    plain(command("run", "shop:app", "--embedded", RUNNEL_AUTODISCOVER=pattern), 78, "autodiscover=")


@pytest.mark.parametrize("url", [f"redis://h{BYTE}", f"redis://{BYTE}@h", f"unix:///run/{BYTE}", BYTE])
def test_a_url_with_bytes_that_are_no_text_is_told(command: Command, url: str) -> None:
    plain(
        command("status", "shop:app", "--redis-url", url, PYTHONPATH="", **STRICT), 78, "must not stand in it"
    )


def test_names_that_are_no_text_can_be_shown(command: Command, shop: Path) -> None:
    directory = os.path.join(shop, f"data{BYTE}")
    done = command("settings", "--json", f"--embedded={directory}", PYTHONPATH="", **STRICT)
    plain(done, 0, "")
    assert json.loads(done.stdout)["redis_url"]["value"] == f"embedded://{directory}"
    done = command("run", "shop:app", "--check", f"--embedded={directory}", PYTHONPATH="", **STRICT)
    plain(done, 0, "")
    assert "data\\udcff" in done.stdout
