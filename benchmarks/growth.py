"""Where a cost grows faster than what it is for."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

#: A measurement: how many there were, and what was found.
Point = tuple[float, Mapping[str, float]]

#: A cost of one event that rises by more than this in one step is told.
FLAT = 1.25
#: So is one more unit that costs this much more than one more did in the step before.
LINEAR = 1.5
#: A step that changes the total by less than this share of it says nothing.
NOISE = 0.1


@dataclasses.dataclass(frozen=True)
class Cost:
    """A column of a table.

    Attributes:
        name: of the figure.
        title: of the column.
        form: how it is formatted.
        kind: "total" should grow by the same for each unit, "each" should stay the same, "rate"
            too but the other way round; anything else is only shown.
    """

    name: str
    title: str
    form: str = ",.0f"
    kind: str = ""

    def steps(self, unit: str, points: Sequence[Point]) -> Iterator[str]:
        """A sentence for each step in which it grows faster than it should."""
        found = [(n, values[self.name]) for n, values in points]
        if self.kind == "total":
            yield from self._totals(unit, found)
        elif self.kind in {"each", "rate"}:
            yield from self._each(unit, found)

    def _each(self, unit: str, found: Sequence[tuple[float, float]]) -> Iterator[str]:
        costs = [(n, 1 / value if self.kind == "rate" else value) for n, value in found if value]
        for (few, before), (many, after) in pairwise(costs):
            if after > FLAT * before:
                yield (
                    f"{self.title}: an event costs {after / before:.1f} times as much "
                    f"at {many:,.0f} {unit} as at {few:,.0f}"
                )

    def _totals(self, unit: str, found: Sequence[tuple[float, float]]) -> Iterator[str]:
        last: float | None = None
        for (few, before), (many, after) in pairwise(found):
            if after - before <= NOISE * after:
                continue
            one_more = (after - before) / (many - few)
            if last is not None and one_more > LINEAR * last:
                yield (
                    f"{self.title}: from {few:,.0f} to {many:,.0f} {unit}, one more costs "
                    f"{one_more / last:.1f} times as much as in the step before"
                )
            last = one_more


def table(unit: str, columns: Sequence[Cost], points: Sequence[Point]) -> Iterator[str]:
    """The measurements, and under them where a cost grows faster than it should."""
    yield f"{unit:>14}" + "".join(f"{column.title:>17}" for column in columns)
    for n, values in points:
        cells = (f"{values[column.name]:>17{column.form}}" for column in columns)
        yield f"{n:>14,.0f}" + "".join(cells)
    told = [line for column in columns for line in column.steps(unit, points)]
    yield from told or ["no cost grows faster than it should"]
