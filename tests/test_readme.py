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


def typed(block: str) -> list[str]:
    """A terminal of somebody who has this Python in the way the first command leaves it."""
    return ["sh", "-c", block]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with the program, and with an environment that has to be activated."""
    (program,) = blocks("python")
    (tmp_path / "shop.py").write_text(program)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    there = os.path.dirname(sys.executable)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f'PATH="{there}:$PATH"\n')
    return tmp_path


@pytest.fixture
def worker(home: Path) -> Iterator[subprocess.Popen[str]]:
    """The first of the two terminals, in which the first command was typed."""
    first, _, run, _ = blocks("sh")
    assert "&& . .venv/bin/activate &&" in first
    process = subprocess.Popen(
        typed(f". .venv/bin/activate && exec {run}"),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    yield process
    process.terminate()
    process.communicate(timeout=60)


async def test_the_twenty_lines_work_when_pasted(home: Path, worker: subprocess.Popen[str]) -> None:
    without = os.pathsep.join(
        x for x in os.environ["PATH"].split(os.pathsep) if not os.path.exists(os.path.join(x, "runnel-trio"))
    )
    with trio.fail_after(30):
        sent = await trio.run_process(
            typed(blocks("sh")[3]), cwd=home, capture_stderr=True, env={**os.environ, "PATH": without}
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
