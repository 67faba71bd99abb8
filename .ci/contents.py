"""What is in a source distribution and a wheel: ``python .ci/contents.py DIRECTORY`` with one of each in it.

The source distribution has every file of the repository that is of use without it, the wheel every file below
``src/``. Whatever else is in them, but for what the build adds, is a mistake too.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

#: What is only for the place of the repository.
LEFT_OUT = re.compile(r"\.github/|\.gitignore$")
#: What the build adds: metadata.
ADDED = re.compile(r"PKG-INFO$|src/[^/]+\.egg-info/|[^/]+\.dist-info/")


def of_sdist(path: Path) -> set[str]:
    """Files, without the directory that all of them are in."""
    with tarfile.open(path) as archive:
        return {x.name.partition("/")[2] for x in archive.getmembers() if x.isfile()}


def of_wheel(path: Path) -> set[str]:
    """Files."""
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())


def differences(found: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """A line for each file that is missing, or should not be there."""
    wanted, found = set(wanted), {name for name in found if not ADDED.match(name)}
    missing = [f"{name} is missing" for name in sorted(wanted - found)]
    return missing + [f"{name} should not be there" for name in sorted(found - wanted)]


def tracked() -> list[str]:
    """The files of the repository."""
    done = subprocess.run(["git", "ls-files", "-z"], check=True, stdout=subprocess.PIPE, text=True)
    return [name for name in done.stdout.split("\0") if name]


def main(directory: Path) -> int:
    """Print what is wrong."""
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    files = [name for name in tracked() if not LEFT_OUT.match(name)]
    inside = [name.removeprefix("src/") for name in files if name.startswith("src/")]
    wrong = [f"{sdist.name}: {line}" for line in differences(of_sdist(sdist), files)]
    wrong += [f"{wheel.name}: {line}" for line in differences(of_wheel(wheel), inside)]
    print("\n".join(wrong) or f"{sdist.name}: {len(files)} files; {wheel.name}: {len(inside)}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
