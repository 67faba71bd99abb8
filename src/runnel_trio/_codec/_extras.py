"""Packages that only ``runnel-trio[fast]`` installs, imported when they are needed."""

from __future__ import annotations

import functools
import importlib
from types import ModuleType

from runnel_trio.exceptions import Misconfigured

__all__ = ["imported"]


@functools.cache
def imported(module: str, what: str) -> ModuleType:
    """Import a module.

    Raises:
        Misconfigured: it is not installed; the message says which extra brings it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise Misconfigured(
            f"{what} needs the package {package!r}, which is not installed: pip install runnel-trio[fast]"
        ) from error
