"""What CI runs, with stand-ins for the tools: what it says, how it ends, and what is in the files that are released."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
CLOSING = "== 1 passed in 0.01s =="
#: `python3 -m venv DIRECTORY` makes one in which pip, nox and python do as the environment says.
PYTHON3 = """#!/bin/sh
[ "$1 $2" = "-m venv" ] || exit 9
mkdir -p "$3/bin"
for name in pip nox python; do
    printf '#!/bin/sh\\necho "%s $@"\\ncat >>read-from-stdin\\n%s\\n' "$name" "eval \\"\\$DO_$name\\"" >"$3/bin/$name"
    chmod +x "$3/bin/$name"
done
"""
README = "Tests:\n\npython3 -m venv .venv-test && .venv-test/bin/pip install x && .venv-test/bin/python -m pytest\n"

Ran = subprocess.CompletedProcess[str]


@pytest.fixture
def ci(tmp_path: Path) -> Callable[..., Ran]:
    """Run the script from another directory, on a repository with stand-ins for all tools."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "python3").write_text(PYTHON3)
    (tmp_path / "tools" / "python3").chmod(0o755)

    def run(**does: str) -> Ran:
        environment = os.environ | {
            "PATH": f"{tmp_path / 'tools'}:{os.environ['PATH']}",
            "DO_python": f"echo '{CLOSING}'",
        }
        environment |= {f"DO_{name}": code for name, code in does.items()}
        command = [tmp_path / ".ci" / "run"]
        streams = {"input": "for nobody", "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(
            command, **streams, cwd="/", env=environment, text=True, timeout=60, check=False
        )

    return run


def test_sessions_come_first_and_then_the_tests_whose_line_is_the_last(ci: Callable[..., Ran]) -> None:
    done = ci()
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "pip install -q -e .[dev]",
        "nox --no-venv --no-install -s lint types docs",
        "pip install x",
        "python -m pytest",
        CLOSING,
    ]


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ({"nox": "exit 3"}, 1),
        ({"python": f"echo '{CLOSING}'; exit 5"}, 5),
        ({"nox": "exit 3", "python": f"echo '{CLOSING}'; exit 5"}, 5),
    ],
    ids=str,
)
def test_it_ends_as_pytest_or_with_1_if_only_a_check_failed(
    ci: Callable[..., Ran], does: dict[str, str], code: int
) -> None:
    done = ci(**does)
    assert done.returncode == code
    assert done.stdout.splitlines()[-1] == CLOSING


def test_tools_that_cannot_be_had_are_said_and_the_tests_run(ci: Callable[..., Ran]) -> None:
    done = ci(pip='case "$*" in *dev*) exit 1;; esac')
    assert done.returncode == 0
    assert "left out: their tools cannot be installed here" in done.stdout
    assert "nox" not in done.stdout
    assert done.stdout.splitlines()[-1] == CLOSING


def test_nothing_reads_what_is_typed(ci: Callable[..., Ran], tmp_path: Path) -> None:
    assert ci().returncode == 0
    assert (tmp_path / "read-from-stdin").read_text() == ""


def test_each_run_begins_with_new_environments(ci: Callable[..., Ran], tmp_path: Path) -> None:
    for name in (".venv-ci", ".venv-test"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "of-before").touch()
    assert ci().returncode == 0
    assert [path.name for name in (".venv-ci", ".venv-test") for path in (tmp_path / name).iterdir()] == [
        "bin",
        "bin",
    ]


def test_a_readme_without_the_command_is_a_failure(ci: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("Tests: see elsewhere.\n")
    done = ci()
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "README.md does not tell how to run the tests"


def test_people_call_the_sessions_that_ci_calls() -> None:
    sessions = set(
        re.findall(r"^@nox\.session.*\n(?:@.*\n)*def (\w+)", (ROOT / "noxfile.py").read_text(), re.MULTILINE)
    )
    (called,) = re.findall(r"nox .*-s ([\w ]+) <", (ROOT / ".ci" / "run").read_text())
    assert set(called.split()) <= sessions
    listed = re.findall(r"^\| `nox -s (\w+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(sessions)
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert set(called.split()) < set(re.findall(r"nox -s (\w+)", workflow)) <= sessions


# pyright without Node.js


@pytest.fixture
def types(tmp_path: Path) -> Callable[[str], Ran]:
    """Run the session `types` with stand-ins for its tools: what pyright does when it is asked for its version."""
    pytest.importorskip("nox", reason="nox is a tool of those who develop")
    shutil.copy(ROOT / "noxfile.py", tmp_path)

    def run(asked: str) -> Ran:
        for name, does in (("mypy", ""), ("pyright", f'[ "$1" != --version ] || {{ {asked}; }}')):
            (tmp_path / name).write_text(f'#!/bin/sh\necho "ran {name} $*" >>{tmp_path}/ran\n{does}\n')
            (tmp_path / name).chmod(0o755)
        command = [sys.executable, "-m", "nox", "--no-venv", "--no-install", "-s", "types"]
        environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(
            command, **streams, cwd=tmp_path, env=environment, text=True, timeout=60, check=False
        )

    return run


def test_without_node_pyright_is_left_out_and_the_session_says_what_is_missing(
    types: Callable[[str], Ran], tmp_path: Path
) -> None:
    done = types("echo Traceback; echo 'RuntimeError: nodeenv failed' >&2; exit 1")
    assert done.returncode == 0, done.stdout
    assert "pyright is left out, because it does not start: RuntimeError: nodeenv failed" in done.stdout
    assert "It needs Node.js: apt install nodejs, or pip install 'pyright[nodejs]'" in done.stdout
    assert (tmp_path / "ran").read_text().splitlines() == ["ran mypy ", "ran pyright --version"]


@pytest.mark.parametrize("first", ["", "echo 'WARNING: there is a new pyright version available';"])
def test_pyright_checks_where_it_starts_whatever_it_says_before_its_version(
    types: Callable[[str], Ran], tmp_path: Path, first: str
) -> None:
    done = types(f"{first} echo pyright 1.1.400")
    assert done.returncode == 0, done.stdout
    assert "left out" not in done.stdout
    assert (tmp_path / "ran").read_text().splitlines()[2:] == [
        "ran pyright src tests/typing",
        "ran pyright --verifytypes runnel_trio --ignoreexternal",
    ]


# What is released


@pytest.fixture
def contents(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script that looks into the files, on a repository of five files."""
    spec = importlib.util.spec_from_file_location("contents", ROOT / ".ci" / "contents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    files = [
        "README.md",
        ".gitignore",
        ".github/workflows/ci.yml",
        "src/pack/__init__.py",
        "src/pack/send.lua",
    ]
    monkeypatch.setattr(module, "tracked", lambda: files)
    return module


def made(directory: Path, sdist: list[str], wheel: list[str]) -> Path:
    """Both files, with what a build adds."""
    with tarfile.open(directory / "pack-1.tar.gz", "w:gz") as archive:
        for name in [*sdist, "PKG-INFO", "src/pack.egg-info/SOURCES.txt"]:
            archive.addfile(tarfile.TarInfo(f"pack-1/{name}"), io.BytesIO())
    with zipfile.ZipFile(directory / "pack-1-py3-none-any.whl", "w") as archive:
        for name in [*wheel, "pack-1.dist-info/METADATA"]:
            archive.writestr(name, "")
    return directory


SDIST, WHEEL = (
    ["README.md", "src/pack/__init__.py", "src/pack/send.lua"],
    ["pack/__init__.py", "pack/send.lua"],
)


@pytest.mark.parametrize(
    ("sdist", "wheel", "told"),
    [
        (SDIST, WHEEL, "pack-1.tar.gz: 3 files; pack-1-py3-none-any.whl: 2"),
        (SDIST[1:], WHEEL, "pack-1.tar.gz: README.md is missing"),
        (SDIST, WHEEL[:1], "pack-1-py3-none-any.whl: pack/send.lua is missing"),
        ([*SDIST, "src/pack/old.py"], WHEEL, "pack-1.tar.gz: src/pack/old.py should not be there"),
        (SDIST, [*WHEEL, "tests/test_x.py"], "pack-1-py3-none-any.whl: tests/test_x.py should not be there"),
    ],
)
def test_a_release_has_every_file_that_belongs_to_it_and_no_other(
    contents: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    sdist: list[str],
    wheel: list[str],
    told: str,
) -> None:
    assert contents.main(made(tmp_path, sdist, wheel)) == ("missing" in told or "not be" in told)
    assert capsys.readouterr().out == f"{told}\n"
