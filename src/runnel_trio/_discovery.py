"""Modules that are found by a pattern: importing them declares what they hold."""

from __future__ import annotations

import importlib
from pathlib import Path

from runnel_trio._kinds import legible
from runnel_trio.exceptions import Misconfigured

__all__ = ["import_all"]


def import_all(pattern: str) -> None:
    """Import what a glob pattern names, below the current directory.

    Raises:
        Misconfigured: it names nothing, or cannot be a pattern.
    """
    try:
        found = sorted(path for path in Path().glob(pattern) if path.suffix == ".py")
    except (
        OSError,
        ValueError,
    ) as error:  # too long for the name of a file, or of no form that a pattern has
        reason = getattr(error, "strerror", None) or error
        raise Misconfigured(
            f"autodiscover={legible(pattern, 200)!r} cannot be looked for: {reason}"
        ) from error
    if not found:
        raise Misconfigured(f"autodiscover={pattern!r} matches no module below {Path.cwd()}")
    for path in found:
        parts = path.with_suffix("").parts
        importlib.import_module(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
