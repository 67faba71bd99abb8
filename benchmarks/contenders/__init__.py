"""Who takes part: loops by hand and runnel-trio. Each file has a table of its contenders by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from benchmarks.workload import Contender

SIDES: Mapping[str, list[str]] = {
    "by-hand": ["by_hand", "by_hand_server", "by_hand_lanes"],
    "ours": ["sending", "consuming", "latency", "lanes", "owning", "workers", "server", "deployed"],
}


def named(name: str) -> Contender:
    """The contender of a name such as "ours/consume"; a side that is not here is a peer."""
    side, own = name.split("/")
    places = [f"benchmarks.contenders.{file}" for file in SIDES.get(side, [])]
    for place in places or [f"benchmarks.peers.{side}"]:
        table: Mapping[str, Contender] = importlib.import_module(place).CONTENDERS
        if own in table:
            return table[own]
    raise LookupError(f"there is no contender {name}")
