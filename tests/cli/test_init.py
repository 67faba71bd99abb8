"""``runnel-trio init``: a project that works as it was written."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from runnel_trio._cli._init import _unreleased
from runnel_trio.settings import describe

FILES = {".gitignore", "README.md", "compose.yaml", "my_shop.py", "pyproject.toml", "tests/test_my_shop.py"}


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def project(command: Any, shop: Path) -> Path:
    assert command("init", "my-shop").returncode == 0
    return shop / "my-shop"


def test_the_project_has_these_files_and_nothing_that_was_not_filled_in(project: Path) -> None:
    assert names(project) == FILES
    for name in FILES:
        text = (project / name).read_text()
        assert text.endswith("\n")
        assert "$module" not in text
        assert "$project" not in text
        assert max(map(len, text.splitlines())) <= 130


def test_its_own_tests_pass(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "pytest", "-q", "-W", "error"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_an_event_goes_through_it(project: Path, started: Any, command: Any) -> None:
    worker = started("run", "my_shop:app", "--embedded=data", cwd=project)
    sent = command(
        *("send", "my_shop:orders", "--embedded=data", '{"order_id": 7, "customer": "Ada", "amount": 2500}'),
        cwd=project,
    )
    assert (sent.returncode, sent.stderr) == (0, "Sent 1 event to orders.\n")
    for line in iter(worker.stderr.readline, ""):
        if "order 7 of Ada: 2500" in line:
            break
    worker.send_signal(signal.SIGTERM)
    worker.communicate()
    assert worker.returncode == 0


def test_what_to_type_next_is_told_and_is_in_the_readme(command: Any, shop: Path) -> None:
    done = command("init", "my-shop")
    typed = [line.strip() for line in done.stdout.splitlines() if line.startswith("    ")]
    assert typed[0] == "cd my-shop"
    readme = (shop / "my-shop" / "README.md").read_text()
    unreleased = [line for line in typed if re.match(r"pip install (-e )?['\"]?(/|\w+\+|http)", line)]
    for line in typed[1:]:
        assert line.startswith("#") or line in readme or line in unreleased
    assert max(len(line) for line in done.stdout.splitlines() if line.strip() not in unreleased) <= 80


@pytest.mark.parametrize(
    ("noted", "command"),
    [
        (None, []),
        (
            {"url": "file:///home/a%20b/runnel-trio", "dir_info": {"editable": True}},
            ["pip install -e '/home/a b/runnel-trio'"],
        ),
        ({"url": "file:///tmp/x.whl", "archive_info": {}}, ["pip install /tmp/x.whl"]),
        (
            {"url": "https://h.example/r.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["pip install git+https://h.example/r.git@abc"],
        ),
    ],
)
def test_what_is_of_no_release_is_installed_again_as_it_was(noted: Any, command: list[str]) -> None:
    assert _unreleased(noted and json.dumps(noted)) == command


def test_the_settings_that_it_names_exist_and_have_these_defaults(project: Path, command: Any) -> None:
    text = (project / "pyproject.toml").read_text()
    before, table = text.split("[tool.runnel]\n")
    assert tomllib.loads(text)["tool"]["runnel"] == {}
    lines = [line.removeprefix("# ") for line in table.splitlines()]
    defaults = {x.name: x.default for x in describe()}
    given = tomllib.loads("\n".join(lines))
    assert given
    for name, value in given.items():
        assert str(value) == defaults[name]
    (project / "pyproject.toml").write_text(f"{before}[tool.runnel]\n" + "\n".join(lines))
    shown = command("settings", "my_shop:app", cwd=project).stdout
    assert shown.count("pyproject.toml [tool.runnel]") == len(given)


def test_an_empty_directory_and_the_current_one_will_do(command: Any, shop: Path) -> None:
    empty = shop / "My.Shop"
    (empty / ".git").mkdir(parents=True)
    done = command("init", ".", cwd=empty)
    assert done.returncode == 0
    assert "cd " not in done.stdout
    assert names(empty) == FILES


def test_a_directory_with_files_is_refused_and_they_are_named(command: Any, shop: Path) -> None:
    full = shop / "full"
    full.mkdir()
    for n in range(7):
        (full / f"file{n}").touch()
    done = command("init", "full")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: full is not empty, nothing was written: it has file0, file1, file2, file3, file4 and 2 more\n"
    )
    assert len(names(full)) == 7


@pytest.mark.parametrize(
    ("directory", "why"),
    [
        ("1shop", "'1shop' is to give the module its name, and cannot be made one"),
        ("class", "cannot be made one"),
        ("größe", "cannot be made one"),
        ("./---", "cannot be made one"),
        ("json", "is one that Python or pytest imports something by"),
        ("tests", "is one that Python or pytest imports something by"),
        ("some/Redis", "'Redis' is to give the module its name, and is one of the package redis"),
        ("runnel-trio", "is one of the package runnel-trio"),
    ],
)
def test_a_name_that_can_be_no_modules_is_refused(directory: str, why: str, command: Any, shop: Path) -> None:
    done = command("init", directory)
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stderr.endswith("by letters, digits and hyphens, as in my-shop\n")
    assert not (shop / directory).exists()


def test_a_directory_that_cannot_be_made_is_told(command: Any, shop: Path) -> None:
    done = command("init", "shop.py/mine")
    assert done.returncode == 74
    assert "shop.py/mine: Not a directory" in done.stderr
