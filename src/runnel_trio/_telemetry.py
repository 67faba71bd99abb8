"""Facts that matter, one log line each for whoever listens to the logger ``runnel_trio``, and counts.

A library configures no handlers: the command line does, or the program that embeds us.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

__all__ = ["Tally", "logger", "report"]

#: By processor and fact (``ignored``, ``set-aside``, ``quarantined``, ``events-lost``): how many events.
Tally = Counter[tuple[str, str]]

logger = logging.getLogger("runnel_trio")
logger.addHandler(logging.NullHandler())


def report(level: int, fact: str, **values: Any) -> None:
    """Log one fact: a kebab-case word with its values, which stay apart in ``record.facts``.

    Never called once per event: the hot path is silent.
    """
    if logger.isEnabledFor(level):
        told = " ".join(f"{name}={value}" for name, value in values.items())
        logger.log(level, "%s", f"{fact} {told}".rstrip(), extra={"fact": fact, "facts": values})
