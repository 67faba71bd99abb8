"""From what contenders found to rows: medians, ratios, their spread, and whether the bar is met."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.rounds import Rounds
from benchmarks.scenario import Bar, Group, Scenario

#: A row, as it stands in the JSON file.
Row = dict[str, Any]


def rows(rounds: Rounds) -> list[Row]:
    """All of them, in the order of the table; a scenario that did not run says why."""
    return [row(rounds, group, scenario) for group in rounds.groups for scenario in group.scenarios]


def row(rounds: Rounds, group: Group, scenario: Scenario) -> Row:
    about = {"group": group.name, "title": scenario.title, "bar": scenario.bar, "peer": scenario.peer}
    names = [name for name in (scenario.contender, scenario.against) if name]
    for name in names:
        if (group.name, name) in rounds.failed:
            return about | {"failed": f"{name}: {rounds.failed[group.name, name]}"}
    figure = scenario.figure
    values = [found[group.name, scenario.contender][figure.name] for found in rounds.found]
    ratios = ratios_of(rounds, group, scenario)
    value, ratio = statistics.median(values), statistics.median(ratios) if ratios else None
    spread = ratios or values
    return about | {
        "figure": figure.name,
        "unit": figure.unit,
        "more_is_better": figure.more_is_better,
        "value": value,
        "shown": figure.shown(value),
        "ratio": ratio,
        "low": min(spread),
        "high": max(spread),
        "met": Bar.of(scenario.bar).met(value * figure.scale, ratio) if scenario.bar else None,
        "values": values,
        "ratios": ratios,
    }


def ratios_of(rounds: Rounds, group: Group, scenario: Scenario) -> list[float]:
    """Of each round, to what it is compared with; none where that is nothing."""
    if not scenario.against:
        return []
    figure = scenario.figure.name
    pairs = [
        (found[group.name, scenario.contender][figure], found[group.name, scenario.against][figure])
        for found in rounds.found
    ]
    return [(value - scenario.beyond) / against for value, against in pairs]
