"""``runnel-trio init``: writes a small working project to start from."""

from __future__ import annotations

import json
import keyword
import os
import re
import shlex
import sys
from importlib.metadata import distribution, packages_distributions
from importlib.resources import files
from pathlib import Path
from string import Template
from urllib.parse import urlsplit
from urllib.request import url2pathname

import click

from runnel_trio._cli._errors import Ended, Exit, conclude, print_out, tell

__all__ = ["init"]

#: The files that are written, by template. ``$module`` is named after the directory.
FILES = {
    "app.py": "{module}.py",
    "test_app.py": "tests/test_{module}.py",
    "pyproject.toml": "pyproject.toml",
    "compose.yaml": "compose.yaml",
    "README.md": "README.md",
    "gitignore": ".gitignore",
}
#: Names that would hide modules which pytest or Python import.
TAKEN = sys.stdlib_module_names | {"conftest", "test", "tests"}
#: The most names that an error shows of a directory that is not empty.
TOLD = 5


@click.command()
@click.argument("directory", metavar="DIR")
def init(directory: str) -> int:
    """Write a small working project.

    An app, its test, a server for it and a README. DIR gives it its name; it is made if there is none, and
    must be empty.
    """

    def command() -> int:
        path = Path(directory)
        module = _module(path)
        names = _write(path, module)
        tell(f"Wrote {directory}: {', '.join(names)}")
        steps = "\n".join(f"    {line}" for line in _next(directory, module))
        print_out(f"\nNext:\n\n{steps}\n\n{path / 'README.md'} says what these do.")
        return Exit.OK

    return conclude(command, show_all=False)


def _module(path: Path) -> str:
    """The name of the module, made from that of the directory.

    Raises:
        Ended: no module can have such a name.
    """
    given = os.path.basename(os.path.abspath(path))
    name = re.sub(r"[-. ]+", "_", given).strip("_").lower()
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise _unusable(given, "cannot be made one")
    owners = packages_distributions().get(name)
    if owners or name in TAKEN:
        whose = f"of the package {owners[0]}" if owners else "that Python or pytest imports something by"
        raise _unusable(given, f"is one {whose}")
    return name


def _unusable(given: str, why: str) -> Ended:
    return Ended(
        Exit.USAGE,
        f"{given!r} is to give the module its name, and {why}: name the directory otherwise, by letters, "
        "digits and hyphens, as in my-shop",
    )


def _write(path: Path, module: str) -> list[str]:
    """Write all files, and return their names.

    Raises:
        Ended: some of the files exist already, or cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        there = sorted(name for name in os.listdir(path) if name != ".git")
        if there:
            raise Ended(Exit.USAGE, f"{path} is not empty, nothing was written: it has {_listed(there)}")
        names = []
        for template, pattern in FILES.items():
            names.append(pattern.format(module=module))
            target = path / names[-1]
            target.parent.mkdir(exist_ok=True)
            target.write_text(_filled(template, module), encoding="utf-8")
    except OSError as error:
        raise Ended(Exit.IO, f"{error.filename or path}: {error.strerror}") from error
    return names


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - TOLD:,} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more


def _filled(template: str, module: str) -> str:
    text = files("runnel_trio._cli").joinpath("templates", f"{template}.template").read_text(encoding="utf-8")
    return Template(text).substitute(module=module, project=module.replace("_", "-"))


def _unreleased(direct_url: str | None) -> list[str]:
    """How to install this very runnel-trio if it is not a release, by what pip has recorded (PEP 610)."""
    found = json.loads(direct_url or "{}")
    url = found.get("url", "")
    if "vcs_info" in found:
        url = f"{found['vcs_info']['vcs']}+{url}@{found['vcs_info']['commit_id']}"
    elif url.startswith("file:"):
        url = url2pathname(urlsplit(url).path)
    editable = "-e " if found.get("dir_info", {}).get("editable") else ""
    return [f"pip install {editable}{shlex.quote(url)}"] if url else []


def _next(directory: str, module: str) -> list[str]:
    """The commands to type next, which the README has too."""
    here = [] if os.path.abspath(directory) == os.getcwd() else [f"cd {shlex.quote(directory)}"]
    return [
        *here,
        "python3 -m venv .venv && . .venv/bin/activate",
        *_unreleased(distribution("runnel-trio").read_text("direct_url.json")),
        "pip install -e '.[test]'",
        "pytest",
        f"runnel-trio run {module}:app --embedded=data",
        "# and in another terminal, where .venv is active too:",
        f"runnel-trio send {module}:orders --embedded=data \\",
        """    '{"order_id": 1, "customer": "Ada", "amount": 2500}'""",
    ]
