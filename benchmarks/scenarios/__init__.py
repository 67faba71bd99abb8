"""The table of bars: one file for each group of rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from benchmarks.scenario import Group, Scenario
from benchmarks.scenarios.consuming import ACKNOWLEDGING, CONSUMING
from benchmarks.scenarios.deployed import DEPLOYED
from benchmarks.scenarios.lanes import LANES
from benchmarks.scenarios.latency import LATENCY
from benchmarks.scenarios.owning import OWNING
from benchmarks.scenarios.sending import SENDING
from benchmarks.scenarios.server import SERVER
from benchmarks.scenarios.workers import WORKERS

#: In the order of the table.
GROUPS: list[Group] = [SENDING, CONSUMING, ACKNOWLEDGING, LANES, LATENCY, OWNING, WORKERS, SERVER, DEPLOYED]


def narrowed(groups: Sequence[Group], words: Sequence[str]) -> list[Group]:
    """Of the groups, what these words name: groups, or else scenarios by a part of their title."""
    if not words:
        return list(groups)
    found = [
        dataclasses.replace(group, scenarios=[row for row in group.scenarios if named(group, row, words)])
        for group in groups
    ]
    return [group for group in found if group.scenarios]


def named(group: Group, scenario: Scenario, words: Sequence[str]) -> bool:
    """Whether one of the words means it; "consuming" means "peers-consuming" too."""
    names = {each.name for each in GROUPS} | {"peers"}
    own = {group.name, *group.name.split("-")}
    return any(word in own or (word not in names and word in scenario.title) for word in words)
