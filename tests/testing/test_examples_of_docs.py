"""The suites that docs/testing and docs/guide/state show pass as they are shown."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples" / "testing"
STATE = DOCS / "examples" / "state"


def test_their_tests_pass(tmp_path: Path) -> None:
    there = shutil.copytree(EXAMPLES, tmp_path / "bank")
    shutil.copytree(STATE, there, dirs_exist_ok=True)
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, check=False, cwd=there, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 passed" in done.stdout


@pytest.mark.parametrize(("page", "there"), [("testing.rst", EXAMPLES), ("guide/state.rst", STATE)])
def test_they_show_them_all(page: str, there: Path) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    shown = set(re.findall(rf"literalinclude:: \S*examples/{there.name}/(\S+)", text))
    assert shown == {path.name for path in there.iterdir() if path.is_file()}
