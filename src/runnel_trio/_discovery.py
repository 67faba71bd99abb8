"""Modules that are found by a pattern: importing them declares what they hold."""

from __future__ import annotations

import importlib
from pathlib import Path

from runnel_trio.exceptions import Misconfigured

__all__ = ["import_all"]


def import_all(pattern: str) -> None:
    """Import what a glob pattern names, below the current directory.

    Raises:
        Misconfigured: it names nothing.
    """
    found = sorted(path for path in Path().glob(pattern) if path.suffix == ".py")
    if not found:
        raise Misconfigured(f"autodiscover={pattern!r} matches no module below {Path.cwd()}")
    for path in found:
        parts = path.with_suffix("").parts
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
