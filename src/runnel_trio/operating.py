"""The values that `App.operator` returns about an app, and `troubles`, which finds what is wrong in them.

All of them are frozen values, taken at about one moment.
"""

from __future__ import annotations

from runnel_trio._broker._seen import Ending, Misfit, Standing, Surveyed
from runnel_trio._broker._values import Layouts, ProcessorSpec, Quarantine, StreamSpec
from runnel_trio._operate._health import Limits, Trouble, Typed, Weight, state, troubles
from runnel_trio._operate._overview import MemberView, Overview, PartitionView, ProcessorView, StreamView
from runnel_trio._operate._positions import Position
from runnel_trio._operate._repartition import Progress, Repartition, Waiting

__all__ = [
    "Ending",
    "Layouts",
    "Limits",
    "MemberView",
    "Misfit",
    "Overview",
    "PartitionView",
    "Position",
    "ProcessorSpec",
    "ProcessorView",
    "Progress",
    "Quarantine",
    "Repartition",
    "Standing",
    "StreamSpec",
    "StreamView",
    "Surveyed",
    "Trouble",
    "Typed",
    "Waiting",
    "Weight",
    "state",
    "troubles",
]

for _name in __all__:
    globals()[_name].__module__ = __name__  # where they are public, for tracebacks and docs
