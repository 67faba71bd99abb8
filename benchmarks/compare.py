"""``python -m benchmarks compare OLD.json NEW.json``: what has become faster or slower between two runs.

Ratios are compared, which say the same on a slower day; where a row has none, its figure. A change counts
when each of the two medians lies outside the other's spread. It is a regression when the new median is worse
than the worst round of the old run by more than the tolerance.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import Row

TOLERANCE = 10.0


@dataclasses.dataclass(frozen=True)
class Change:
    """One row, before and now."""

    old: Row
    new: Row

    def number(self, row: Row) -> float:
        """What is compared."""
        return float(row["ratio"] if row["ratio"] is not None else row["value"])

    @property
    def relative(self) -> float:
        """0.1 is a tenth more."""
        before = self.number(self.old)
        return self.number(self.new) / before - 1 if before else 0.0

    @property
    def counts(self) -> bool:
        """Whether it is beyond what rounds differ by anyway."""
        return _outside(self.number(self.new), self.old) and _outside(self.number(self.old), self.new)

    @property
    def improves(self) -> bool:
        better: bool = self.new["more_is_better"]
        return better == (self.relative > 0)

    def regresses(self, tolerance: float) -> bool:
        """Whether it is worse than the worst old round by more than so many per cent."""
        if not self.counts or self.improves:
            return False
        low, high = float(self.old["low"]), float(self.old["high"])
        if self.new["more_is_better"]:
            return self.number(self.new) < low * (1 - tolerance / 100)
        return self.number(self.new) > high * (1 + tolerance / 100)


def _outside(number: float, row: Row) -> bool:
    return not row["low"] <= number <= row["high"]


def changes(old: Sequence[Row], new: Sequence[Row]) -> list[Change]:
    """Rows that both have."""
    before = {(row["group"], row["title"]): row for row in old if "failed" not in row}
    rows = [row for row in new if "failed" not in row]
    return [Change(before[key], row) for row in rows if (key := (row["group"], row["title"])) in before]


def lines(found: Sequence[Change], tolerance: float) -> Iterator[str]:
    yield f"{'':<60}{'old':>10}{'new':>10}{'change':>9}"
    for change in found:
        old, new = (_short(change, row) for row in (change.old, change.new))
        title = f"{change.new['group']}: {change.new['title']}"
        yield f"{title:<60}{old:>10}{new:>10}{change.relative:>+9.1%}  {_mark(change, tolerance)}".rstrip()


def _short(change: Change, row: Row) -> str:
    return f"{change.number(row):.2f}" if row["ratio"] is not None else str(row["shown"]).split(" ")[0]


def _mark(change: Change, tolerance: float) -> str:
    if not change.counts:
        return ""
    if change.improves:
        return "better"
    return "REGRESSED" if change.regresses(tolerance) else "worse"


def main(arguments: Sequence[str]) -> int:
    """1 when something regressed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="per cent (default: %(default)s)")
    options = parser.parse_args(arguments)
    old, new = (json.loads(path.read_text()) for path in (options.old, options.new))
    for key in ("machine", "python", "events"):
        _warn(key, old["about"], new["about"])
    found = changes(old["rows"], new["rows"])
    print("\n".join(lines(found, options.tolerance)))
    return int(any(change.regresses(options.tolerance) for change in found))


def _warn(key: str, old: dict[str, Any], new: dict[str, Any]) -> None:
    if old[key] != new[key]:
        print(f"not the same {key}: {old[key]} and {new[key]}")
