"""The benchmarks run, and the page shows what they found. How fast it is, no test says."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def page() -> ModuleType:
    """The script that writes the page's table."""
    spec = importlib.util.spec_from_file_location("benchmarks_table", ROOT / "docs" / "benchmarks_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_contender_runs_and_has_its_row(tmp_path: Path, page: ModuleType) -> None:
    figures = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--json", str(figures)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(figures.read_text())
    shown = json.loads(page.FIGURES.read_text())
    assert [row["title"] for row in found["rows"]] == [row["title"] for row in shown["rows"]]
    for row in found["rows"]:
        assert row["title"] in done.stdout
        assert row["value"] in done.stdout


def test_the_page_shows_the_figures_beside_it(page: ModuleType) -> None:
    assert page.written(page.PAGE.read_text()) == page.PAGE.read_text()


def test_the_handover_of_partitions_is_measured() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.handover", "--rounds", "1", "--partitions", "4", "--expiry", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:]]
    assert [row[2] for row in rows] == ["joins", "leaves", "is"]
