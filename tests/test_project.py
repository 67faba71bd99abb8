"""What is said in several files says the same; what the package needs beside its modules is shipped."""

from __future__ import annotations

import re
import sys
from configparser import ConfigParser
from importlib import metadata
from importlib.resources import files
from pathlib import Path, PurePath
from pkgutil import resolve_name

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from runnel_trio._cli import main

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "runnel_trio"

SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


#: How packages are called whose modules have other names.
CALLED = {
    "dateutil": "python-dateutil",
    "opentelemetry": "opentelemetry-api",
    "prometheus_client": "prometheus-client",
}
#: Extras for users: what each brings, beside what it names of the others.
FOR_USERS = {"fast", "embedded", "top", "reload", "prometheus", "otel"}


def listed(lines: str) -> set[str]:
    """The names of what is required, that of the extras of ours too."""
    found: set[str] = set()
    for requirement in map(Requirement, lines.strip().splitlines()):
        if requirement.name == "runnel-trio":
            found |= {name for extra in requirement.extras for name in requirements(extra)}
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def requirements(extra: str) -> set[str]:
    """The names that an extra requires."""
    return listed(SETUP["options.extras_require"][extra])


def imported(source: str) -> set[str]:
    """The packages that a file imports, by `import` or by their names."""
    found = set(re.findall(r"^\s*(?:import|from) (\w+)", source, re.MULTILINE))
    return found | set(re.findall(r"""imported\("(\w+)["\.]""", source))


def test_what_is_imported_is_required() -> None:
    """Also what another package brings along: it may cease to."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")]
    modules = {name for source in sources for name in imported(source)}
    names = {CALLED.get(name, name) for name in modules - sys.stdlib_module_names - {"runnel_trio"}}
    core, extras = listed(SETUP["options"]["install_requires"]), requirements("all")
    # pytest imports our plugin, and is there then.
    assert {canonicalize_name(name) for name in names & _distributions()} - core - extras == {"pytest"}
    assert {"outcome", "croniter", "python-dateutil"} <= core
    assert not core & extras


def _distributions() -> set[str]:
    """Without words of docstrings that look like imports."""
    return {canonicalize_name(x.metadata["Name"]) for x in metadata.distributions()}


def test_all_extras_for_users_are_in_one_and_those_that_were_stay() -> None:
    assert requirements("all") == {name for extra in FOR_USERS for name in requirements(extra)}
    assert requirements("standard") == {
        x for name in ("fast", "top", "prometheus") for x in requirements(name)
    }
    assert requirements("cron") == set()
    assert {*SETUP["options.extras_require"]} == FOR_USERS | {
        "all",
        "standard",
        "cron",
        "test",
        "docs",
        "dev",
    }


DATA = [
    path
    for path in PACKAGE.rglob("*")
    if path.is_file() and path.suffix not in {".py", ".pyc"} and "__pycache__" not in path.parts
]


@pytest.mark.parametrize("path", DATA, ids=lambda path: path.name)
def test_every_file_that_is_no_module_is_shipped(path: Path) -> None:
    packages = [parent for parent in path.parents if (parent / "__init__.py").is_file()]
    package = ".".join(packages[0].relative_to(PACKAGE.parent).parts)
    given = SETUP["options.package_data"]
    patterns = f"{given['*']},{given.get(package, '')}".replace(",", " ").split()
    assert any(PurePath(path.relative_to(packages[0])).match(pattern) for pattern in patterns)
    assert len(path.relative_to(packages[0]).parts) <= 2, "a pattern has one directory at most"
    inside = path.relative_to(PACKAGE)
    assert files("runnel_trio").joinpath(*inside.parts).read_bytes() == path.read_bytes()


def test_there_is_data() -> None:
    assert {path.suffix for path in DATA} == {".gz", ".json", ".lua", ".template", ".typed"}


def test_every_directory_with_modules_is_a_package() -> None:
    assert [
        path.parent for path in PACKAGE.rglob("*.py") if not (path.parent / "__init__.py").is_file()
    ] == []


def test_the_version_stands_in_one_place() -> None:
    number = SETUP["metadata"]["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|a\d+|b\d+|rc\d+)?", number)
    again = [
        path.relative_to(ROOT)
        for path in [*PACKAGE.rglob("*.py"), ROOT / "pyproject.toml", *(ROOT / "docs").rglob("*.py")]
        if number in path.read_text(encoding="utf-8")
    ]
    assert again == []


def test_the_command_is_what_it_is_called() -> None:
    name, _, target = SETUP["options.entry_points"]["console_scripts"].strip().partition(" = ")
    assert name == "runnel-trio"
    assert resolve_name(target) is main


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = [line for line in text("README.md").splitlines() if line.startswith("python3 -m venv")]
    assert len(commands) == 2
    (pattern,) = re.findall(r"grep -m1 '([^']+)' README\.md", text(".ci/run"))
    found = [line for line in commands if re.search(pattern, line)]
    assert found == [commands[1]]
    assert " -m pytest -n auto" in found[0]


def test_extras_that_are_named_exist() -> None:
    named = re.findall(r"(?<=\.|o)\[([\w,]+)\]'?\"?", text("README.md") + text("CONTRIBUTING.md"))
    assert named
    for extras in named:
        assert set(extras.split(",")) <= set(SETUP["options.extras_require"])


def test_the_tests_have_what_the_extras_bring() -> None:
    assert requirements("all") < requirements("test")


def test_the_pythons_are_the_same_everywhere() -> None:
    pythons = re.findall(r"Python :: (3\.\d+)$", SETUP["metadata"]["classifiers"], re.MULTILINE)
    assert SETUP["options"]["python_requires"] == f">={pythons[0]}"
    listed = ", ".join(f'"{python}"' for python in pythons)
    assert f"PYTHONS = [{listed}]" in text("noxfile.py")
    assert f"py{{{','.join(python.replace('.', '') for python in pythons)}}}" in text("tox.ini")
