"""What a scenario is: a contender, one of its figures, what it is compared with, and the bar."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Figure:
    """One of the numbers that a contender finds out.

    Attributes:
        name: its name in the contender's result.
        unit: what is written behind it.
        scale: the number is multiplied by this before it is shown.
        form: how it is formatted.
        more_is_better: which way is up.
    """

    name: str
    unit: str
    scale: float = 1.0
    form: str = ",.0f"
    more_is_better: bool = False

    def shown(self, value: float) -> str:
        """As text, with its unit."""
        space = "" if self.unit.startswith(("/", "%")) else " "
        return f"{value * self.scale:{self.form}}{space}{self.unit}"


RATE = Figure("rate", "/s", more_is_better=True)
STEADY = Figure("steady", "/s", more_is_better=True)
SECONDS = Figure("seconds", "s", form=".2f")
P50 = Figure("p50", "ms", scale=1e3, form=".2f")
P99 = Figure("p99", "ms", scale=1e3, form=".2f")
CORE = Figure("core", "% of a core", scale=100, form=".2f")
MEMORY = Figure("rss", "MiB", form=".0f")
PER_PARTITION = Figure("per_partition", "KiB", form=".1f")
HANDLED = Figure("handled", "% handled", scale=100, form=".0f", more_is_better=True)
SERVER_TIME = Figure("server_time", "µs", scale=1e6, form=".2f")
BYTES = Figure("bytes", "B", form=".1f")
ALL_BYTES = Figure("all_bytes", "B", form=".1f")


@dataclasses.dataclass(frozen=True)
class Bar:
    """What is to be reached: of the ratio when its unit is x, else of the figure as it is shown."""

    sense: str
    limit: float
    unit: str

    @classmethod
    def of(cls, text: str) -> Bar:
        """From text such as "≥ 1.8 x" or "< 0.3 %"."""
        found = re.fullmatch(r"(≥|≤|<) ([0-9.]+) (\S+)", text)
        if found is None:
            raise ValueError(f"{text!r} is no bar")
        return cls(found[1], float(found[2]), found[3])

    def met(self, shown: float, ratio: float | None) -> bool:
        """Whether a figure, in the unit in which it is shown, and its ratio reach it."""
        number = ratio if self.unit == "x" else shown
        if number is None:
            raise ValueError(f"a bar in {self.unit} needs a ratio")
        if self.sense == "≥":
            return number >= self.limit
        return number < self.limit if self.sense == "<" else number <= self.limit


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One row of the table.

    Attributes:
        title: what it is, in the table.
        contender: "side/name"; the side says where the code is (see `benchmarks.child`).
        figure: which figure of its is shown.
        against: the contender by whose same figure it is divided; none gives no ratio.
        bar: "≥ 1.8 x" and the like; empty where none is set.
        beyond: taken off the figure before the ratio is made: "1.5 times that, and 0.3 s".
        peer: the framework whose environment it needs; empty for ours and by hand.
    """

    title: str
    contender: str
    figure: Figure
    against: str = ""
    bar: str = ""
    beyond: float = 0.0
    peer: str = ""

    def __post_init__(self) -> None:
        if self.bar:
            Bar.of(self.bar)  # a bar that cannot be read is an error at import


@dataclasses.dataclass(frozen=True)
class Group:
    """Scenarios that belong together: they share a server's state, and a table in the documentation.

    Attributes:
        name: what it is called on the command line.
        title: the heading of its table.
        about: what its rows have in common.
        scenarios: its rows.
        backlog: the orders are stored before, for consumers to read.
        fresh: the server is emptied before each contender.
    """

    name: str
    title: str
    about: str
    scenarios: Sequence[Scenario]
    backlog: bool = False
    fresh: bool = False

    def contenders(self) -> list[str]:
        """Everybody who must run, once each."""
        both = [name for row in self.scenarios for name in (row.against, row.contender) if name]
        return list(dict.fromkeys(both))

    def peer_of(self, contender: str) -> str:
        """The peer whose environment a contender needs, or nothing."""
        return next((row.peer for row in self.scenarios if row.contender == contender), "")
