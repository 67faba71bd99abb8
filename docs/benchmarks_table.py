"""Writes the table of docs/benchmarks.rst from benchmarks.json: ``python docs/benchmarks_table.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("benchmarks.rst")
FIGURES = PAGE.with_suffix(".json")
BEGIN, END = ".. table begin\n", ".. table end\n"


def row(title: str, value: str, ratio: str) -> str:
    """One row of a list table."""
    return f"   * - {title}\n     - {value}\n     - {ratio}\n"


def table(figures: Any) -> str:
    """The machine, and what was measured on it."""
    about = figures["about"]
    text = (
        f"{about['machine']}, Python {about['python']}, {about['packages']}; "
        f"{about['events']:,} events, {about['rounds']} rounds.\n\n"
        ".. list-table::\n   :header-rows: 1\n   :widths: 60 25 15\n\n"
    )
    text += row("what", "median", "ratio")
    for found in figures["rows"]:
        ratio = "" if found["ratio"] is None else f"{found['ratio']:.2f}"
        text += row(f"{found['phase']}: {found['title']}", found["value"], ratio)
    return text


def written(page: str) -> str:
    """The page with its table replaced by the present one."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(json.loads(FIGURES.read_text()))}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
