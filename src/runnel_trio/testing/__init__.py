"""Tests of your processors: without a server (`Processor.test`), or with workers (fixtures, `drained`).

docs/testing shows how to use each. The fixtures are in a pytest plugin, which pytest finds by itself.
"""

from __future__ import annotations

from runnel_trio._trial import Outcome as Outcome
from runnel_trio._trial import Result as Result
from runnel_trio._trial import Trial as Trial
from runnel_trio.testing._waits import NotDrained as NotDrained
from runnel_trio.testing._waits import advance_to as advance_to
from runnel_trio.testing._waits import drained as drained

__all__ = ["NotDrained", "Outcome", "Result", "Trial", "advance_to", "drained"]

for _thing in (NotDrained, Outcome, Result, Trial, advance_to, drained):
    _thing.__module__ = __name__  # where they are public, for tracebacks and docs
