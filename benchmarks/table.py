"""The table as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.rows import Row
from benchmarks.scenario import Group

HEAD = ("", "median", "ratio", "spread", "bar", "")
WIDTHS = (-54, 16, 8, 16, 11, 9)


def lines(groups: Sequence[Group], rows: Sequence[Row]) -> Iterator[str]:
    """Line by line."""
    for group in groups:
        yield ""
        yield _line(group.title, *HEAD[1:])
        for row in rows:
            if row["group"] == group.name:
                yield _failed(row) if "failed" in row else _line(f"  {row['title']}", *cells(row))


def cells(row: Row) -> tuple[str, str, str, str, str]:
    """What stands behind the title, also in the documentation."""
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    return row["shown"], ratio, spread(row), row["bar"], verdict(row)


def spread(row: Row) -> str:
    """The lowest and the highest of all rounds; of a row without ratio, around the median in per cent."""
    if row["ratio"] is not None:
        return f"{row['low']:.2f}-{row['high']:.2f}"
    if not row["value"]:
        return ""
    low, high = (round(100 * (row[end] / row["value"] - 1)) for end in ("low", "high"))
    return f"{low:+d}..{high:+d} %"


def verdict(row: Row) -> str:
    return {None: "", True: "met", False: "not met"}[row["met"]]


def summary(rows: Sequence[Row]) -> str:
    """How many bars are met."""
    bars = [row for row in rows if row.get("met") is not None]
    return f"{sum(row['met'] for row in bars)} of {len(bars)} bars met"


def _line(*texts: str) -> str:
    padded = [f"{text:<{-w}}" if w < 0 else f"{text:>{w}}" for text, w in zip(texts, WIDTHS, strict=True)]
    return "".join(padded).rstrip()


def _failed(row: Row) -> str:
    return f"  {row['title']:<52}failed: {row['failed']}"
