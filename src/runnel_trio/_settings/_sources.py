"""Sources of settings besides code: ``RUNNEL_*`` variables, and one file.

The file is the nearest one, from the current directory upwards: ``runnel.toml``, whose keys are settings, or
``pyproject.toml``, if it has a table ``[tool.runnel]``. If both are in one directory, ``runnel.toml`` is
used. Files are never merged, so that all values in effect are in one file.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Collection, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from runnel_trio import _names
from runnel_trio.exceptions import Misconfigured

__all__ = ["Origins", "SettingsFile", "nearest", "unknown", "variable", "warn_of_near_misses"]

PREFIX = "RUNNEL_"
#: Variables that are read elsewhere: the embedded server's binary.
FOREIGN = frozenset({"RUNNEL_EMBEDDED_BINARY"})
#: Files that may have settings, and the tables in which these stand; the first one counts.
FILES: Mapping[str, tuple[str, ...]] = {"runnel.toml": (), "pyproject.toml": ("tool", "runnel")}
#: How tomllib tells the place, at the end of its text.
PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def closest(name: str, names: Collection[str]) -> str | None:
    """The setting that was probably meant."""
    return f"default_{name}" if f"default_{name}" in names else _names.closest(name, names)


def unknown(name: str, names: Collection[str], beside: Collection[str] = ()) -> str:
    """What to tell of a name that is no setting, and that may be meant for one of those ``beside`` them."""
    meant = closest(name, [*names, *(x for x in beside if x != name)])
    hint = f"did you mean {meant}?" if meant else f"there are {', '.join(names)}."
    return f"there is no setting {name}: {hint}"


def warn_of_near_misses(environ: Mapping[str, str], names: Collection[str]) -> None:
    """A misspelt variable would be ignored in silence."""
    known = FOREIGN | {variable(name) for name in names}
    for given in environ:
        if given.upper().startswith(PREFIX) and given not in known:
            meant = closest(given[len(PREFIX) :].lower(), names)
            if meant:
                warnings.warn(
                    f"the variable {given} is not a setting: did you mean {variable(meant)}?",
                    stacklevel=4,  # the line that makes the App
                )


@attrs.frozen
class SettingsFile:
    """A file that has settings.

    Attributes:
        origin: what to call it: its path, and the table.
        values: what stands in it, by name, unchecked.
    """

    origin: str
    values: Mapping[str, Any]


def nearest() -> SettingsFile | None:
    """The file whose settings hold in the current directory, if there is one.

    Raises:
        Misconfigured: it cannot be read, or is no TOML.
    """
    try:
        here = Path.cwd()
    except OSError:  # somebody has removed it
        return None
    for directory in (here, *here.parents):
        for name, tables in FILES.items():
            path = str(directory / name)
            if os.path.isfile(path) and (found := _settings(path, tables)) is not None:
                return found
    return None


def _settings(path: str, tables: tuple[str, ...]) -> SettingsFile | None:
    """What a file has under its tables; None if it has no such table."""
    shown = _shown(path)
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise Misconfigured(
            f"{shown} may have settings and cannot be read: {error.strerror}. "
            "Let this user read it, or move it"
        ) from error
    if not all(
        word.encode() in raw for word in tables
    ):  # most have nothing for us, and are not ours to judge
        return None
    found: Any = _parsed(shown, raw)
    if tables and isinstance(found.get("tool"), dict):
        _warn_of_other_tables(shown, found["tool"])
    for name in tables:
        if not isinstance(found, dict) or name not in found:
            return None
        found = found[name]
    table = f" [{'.'.join(tables)}]" if tables else ""
    if not isinstance(found, dict):
        raise Misconfigured(f"{shown}{table} is no table of settings: write [{'.'.join(tables)}] above them")
    if "tool" in found and not tables:
        raise Misconfigured(f"{shown}: settings stand at the top of this file, without [tool.runnel]")
    return SettingsFile(f"{shown}{table}", found)


def _warn_of_other_tables(shown: str, tool: Mapping[str, Any]) -> None:
    """A table by the package's name would be ignored in silence."""
    for name in ("runnel-trio", "runnel_trio"):
        if name in tool:
            warnings.warn(
                f"{shown}: [tool.{name}] is not read: settings stand in [tool.runnel]",
                stacklevel=7,  # the line that makes the App
            )


def _shown(path: str) -> str:
    """Relative or absolute: what is shorter is easier to read, and to find."""
    return min(os.path.relpath(path), path, key=len)


@lru_cache(maxsize=8)
def _parsed(shown: str, raw: bytes) -> dict[str, Any]:
    """The document; kept, because a test suite makes many apps."""
    import tomllib  # most have no file

    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise Misconfigured(f"{shown}, line {line}: not UTF-8, as TOML must be") from error
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        place = PLACE.search(said)
        line = int(place[1]) if place and place[1] else raw.rstrip().count(b"\n") + 1
        raise Misconfigured(f"{shown}, line {line}: no TOML: {PLACE.sub('', said)}") from error
    except (ValueError, RecursionError) as error:  # a number of too many digits; tables in tables in tables
        raise Misconfigured(f"{shown}: its TOML cannot be read: {error}") from error


class Origins:
    """Where the values of settings come from: no field of theirs, because equal settings may differ in it."""

    _origins: dict[str, str]

    @property
    def origins(self) -> Mapping[str, str]:
        """Where each value comes from, by the setting's name.

        That is ``argument``, the name of a variable as ``RUNNEL_LOG_LEVEL``, a file as
        ``pyproject.toml [tool.runnel]``, ``default``, or what `changed` was told.

        Example:
            >>> from runnel_trio.settings import Settings
            >>> Settings(log_level="debug").origins["log_level"]
            'argument'
        """
        return MappingProxyType(self._origins)
