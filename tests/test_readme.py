"""What the README tells people to paste."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The first of the two terminals."""
    (program,) = blocks("python")
    (tmp_path / "shop.py").write_text(program)
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", *commands()[0]],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    yield process
    process.terminate()
    process.communicate(timeout=20)


def commands() -> list[list[str]]:
    """Both terminals' commands, as arguments of ``python -m``."""
    found: list[list[str]] = []
    for line in blocks("sh")[2].splitlines():
        before, quote, document = line.partition(" '")
        words = before.split() + ([document.rstrip("'")] if quote else [])
        assert words[0] == "runnel-trio"
        found.append(["runnel_trio", *words[1:]])
    return found


async def test_the_twenty_lines_work_when_pasted(tmp_path: Path, worker: subprocess.Popen[str]) -> None:
    with trio.fail_after(30):
        sent = await trio.run_process(
            [sys.executable, "-m", *commands()[1]], cwd=tmp_path, capture_stderr=True
        )
        assert b"Sent 1 event to orders." in sent.stderr
        assert worker.stdout is not None
        assert await trio.to_thread.run_sync(worker.stdout.readline) == "Ada has spent 7\n"


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = README.splitlines()[:25]
    assert sum(line.startswith("python3 -m venv .venv") for line in first_screen) == 2
    assert "python3 -m venv .venv-test && .venv-test/bin/pip install -q -e '.[test]'" in README


def test_its_figures_are_those_of_the_benchmarks() -> None:
    rows = json.loads((ROOT / "docs" / "benchmarks.json").read_text(encoding="utf-8"))["rows"]
    measured = {f"{row['ratio']:.2f}" for row in rows if row["ratio"] is not None}
    named = re.findall(r"(\d+\.\d+) times", " ".join(README.split()))
    assert len(named) == 5
    assert set(named) <= measured


def test_files_that_it_names_exist() -> None:
    named = [
        *re.findall(r"\]\((docs/[^)]*)\)", README),
        *re.findall(r"`((?:docs|examples|tests)/[^`]*)`", README),
    ]
    assert [name for name in named if not (ROOT / name).exists()] == []
