"""Facts that matter, one log line each, for whoever listens to the logger ``runnel_trio``.

A library configures no handlers: the command line does, or the program that embeds us.
"""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["logger", "report"]

logger = logging.getLogger("runnel_trio")
logger.addHandler(logging.NullHandler())


def report(level: int, fact: str, **values: Any) -> None:
    """Log one fact: a kebab-case word with its values, which stay apart in ``record.facts``.

    Never called once per event: the hot path is silent.
    """
    if logger.isEnabledFor(level):
        told = " ".join(f"{name}={value}" for name, value in values.items())
        logger.log(level, "%s", f"{fact} {told}".rstrip(), extra={"fact": fact, "facts": values})
