"""Imports users' modules, which declares what they contain and must not run it.

A module that ends with ``trio.run(app.run)`` is a program. A command that imports it to find the app would
run that program, and never do what it was asked to do. So while a command imports, running an app is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from runnel_trio._report._redaction import legible
from runnel_trio.exceptions import Misconfigured

__all__ = ["import_all", "importing", "refuse_while_importing"]

#: What was refused while a command imports. A context variable: Trio runs and threads of Trio that the import
#: waits for inherit it. A thread that a module starts for itself does not; it holds up no import.
_refused: ContextVar[list[Misconfigured] | None] = ContextVar("runnel_trio_refused", default=None)


@contextmanager
def importing() -> Iterator[list[Misconfigured]]:
    """While the block imports modules, no app may be run; gives what was refused, should a module hide it."""
    refused: list[Misconfigured] = []
    token = _refused.set(refused)
    try:
        yield refused
    finally:
        _refused.reset(token)


def refuse_while_importing(app: str) -> None:
    """Refuse to run an app of this name in the middle of an import.

    Raises:
        Misconfigured: a command imports the module that asks for it.
    """
    refused = _refused.get()
    if refused is not None:
        refused.append(
            Misconfigured(
                f"app {app!r} is run while its module is imported, before the command that imports it can do "
                'its work: put the line that runs it under `if __name__ == "__main__":`'
            )
        )
        raise refused[-1]


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
