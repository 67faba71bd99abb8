"""Writes tables and plots of docs/benchmarks.rst: ``python docs/tools/benchmarks_table.py``.

The figures are those of benchmarks.json. The plots are SVG files beside the page, which includes them as they
are: so their text has the colour of the page's text, on a light and on a dark background.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "benchmarks.rst"
FIGURES = PAGE.with_suffix(".json")
BEGIN, END = ".. table begin\n", ".. table end\n"

#: Of a plot, in its own units: as wide as a phone, so that text can be read there; labels stand above bars.
WIDTH, VALUES, LABEL, LINE, THICK = 360, 60, 16, 38, 14
#: On a wide page it grows by a third, and no more.
WIDEST = 480
#: Readable on white and on black.
REACHED, MISSED, PLAIN = "#3b82c4", "#d1773a", "#8a8a8a"


def row(*cells: str) -> str:
    """One row of a list table."""
    first, *others = cells
    return f"   * - {first}\n" + "".join(f"     - {cell}\n" for cell in others)


def times(bar: str) -> str:
    """A bar with a real multiplication sign."""
    return bar.replace(" x", " \N{MULTIPLICATION SIGN}")


def spread(found: Mapping[str, Any]) -> str:
    """The ratio, from the worst to the best round."""
    if found["ratio"] is None:
        return ""
    return f"{ratio(found['ratio'])} ({ratio(found['low'])}-{ratio(found['high'])})"


def ratio(number: float) -> str:
    """Two digits at least, of small ones too."""
    return f"{number:.2f}" if number >= 0.1 else f"{number:.2g}"


def figures(found: Mapping[str, Any]) -> str:
    """A scenario's row."""
    title = f"``{found['title']}``" if '"' in found["title"] else found["title"]
    if "failed" in found:
        return row(title, "did not run here", "", "", "")
    met = {None: "", True: "yes", False: "no"}[found["met"]]
    return row(title, found["shown"], spread(found), times(found["bar"]), met)


def head(about: Mapping[str, Any]) -> str:
    """The machine, and how much was run."""
    text = "; ".join(
        about[key] for key in ("machine", "load", "python", "server", "packages", "peers") if key in about
    )
    commit = f", at commit {about['commit']}" if about["commit"] else ""
    return f"{text}; {about['events']:,} events, {about['rounds']} rounds{commit}.\n"


def section(group: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The table of a group, and its plot if it has ratios to show."""
    text = f"\n{group['title']}\n{'-' * len(group['title'])}\n{group['about']}\n"
    if "measured" in group:  # by itself, at another time than the rest
        about = group["measured"]
        text += f"\nMeasured with {about['load']}, {head(about).rpartition('; ')[2]}"
    if drawn(rows):
        text += f"\n.. raw:: html\n   :file: {plot(group).name}\n"
    text += "\n.. list-table::\n   :header-rows: 1\n   :widths: 42 20 20 10 8\n\n"
    text += row("what", "median", "ratio (spread)", "bar", "met")
    return text + "".join(map(figures, rows))


def plot(group: Mapping[str, Any]) -> Path:
    """Where a group's plot is."""
    return PAGE.with_name(f"benchmarks_{group['name'].replace('-', '_')}.svg")


def drawn(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows that a plot shows: those with a ratio."""
    return [found for found in rows if found.get("ratio") is not None]


def chart(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Horizontal bars of ratios, with their spread as a line, and a mark where the bar is."""
    shown = drawn(rows)
    height = LINE * len(shown) + 8
    scale = (WIDTH - VALUES) / max(reach(found) for found in shown)
    lines = [line for place, found in enumerate(shown) for line in bar(found, 4 + LINE * place, scale)]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%" role="img"',
            f'  style="max-width: {WIDEST}px"',
            f'  aria-label="{escape(title)}: ratios" font-family="sans-serif" font-size="12"',
            '  fill="currentColor">',
            *lines,
            "</svg>",
            "",
        ]
    )


def reach(found: Mapping[str, Any]) -> float:
    """How far to the right a row goes."""
    return max(float(found["high"]), limit(found), 1e-9)


def limit(found: Mapping[str, Any]) -> float:
    """Where the bar of a ratio is; 0 where there is none."""
    return float(found["bar"].split()[1]) if found["bar"].endswith(" x") else 0.0


def colour(found: Mapping[str, Any]) -> str:
    """Whether the bar is met; without one, whether it is ours, where others are beside it."""
    if found["met"] is None:
        return REACHED if found["title"].startswith("runnel-trio") else PLAIN
    return REACHED if found["met"] else MISSED


def bar(found: Mapping[str, Any], top: float, scale: float) -> Iterator[str]:
    """One row of a chart."""
    middle = top + LABEL + THICK / 2
    low, high, mark = (scale * number for number in (found["low"], found["high"], limit(found)))
    yield f'  <text x="0" y="{top + LABEL - 4:.1f}">{escape(found["title"])}</text>'
    yield (
        f'  <rect x="0" y="{middle - THICK / 2:.1f}" width="{scale * found["ratio"]:.1f}" '
        f'height="{THICK}" fill="{colour(found)}"/>'
    )
    yield f'  <path d="M{low:.1f} {middle:.1f}H{high:.1f}" stroke="currentColor" stroke-width="1.5"/>'
    if limit(found):
        yield (
            f'  <path d="M{mark:.1f} {middle - THICK / 2 - 1:.1f}v{THICK + 4}" stroke="currentColor" '
            f'stroke-width="2" stroke-dasharray="3 2"><title>{escape(times(found["bar"]))}</title></path>'
        )
    end = max(high, mark) + 6
    yield f'  <text x="{end:.1f}" y="{middle + 4:.1f}">{ratio(found["ratio"])} \N{MULTIPLICATION SIGN}</text>'


def grouped(found: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    """Each group with its rows."""
    for group in found["groups"]:
        yield group, [each for each in found["rows"] if each["group"] == group["name"]]


def written(page: str) -> str:
    """The page with its tables replaced by the present ones."""
    found = json.loads(FIGURES.read_text())
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    tables = "".join(section(group, rows) for group, rows in grouped(found))
    return f"{before}{BEGIN}\n{head(found['about'])}{tables}\n{END}{after}"


def plots() -> dict[Path, str]:
    """What each plot's file has in it."""
    found = json.loads(FIGURES.read_text())
    return {plot(group): chart(group["title"], rows) for group, rows in grouped(found) if drawn(rows)}


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
    for path, text in plots().items():
        path.write_text(text)
