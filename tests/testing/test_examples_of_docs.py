"""The suite that docs/testing shows passes as it is shown."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = DOCS / "examples" / "testing"


def test_its_tests_pass(tmp_path: Path) -> None:
    there = shutil.copytree(EXAMPLES, tmp_path / "bank")
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, check=False, cwd=there, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout


def test_it_shows_them_all() -> None:
    page = (DOCS / "testing.rst").read_text(encoding="utf-8")
    shown = set(re.findall(r"literalinclude:: examples/testing/(\S+)", page))
    assert shown == {path.name for path in EXAMPLES.iterdir() if path.is_file()}
