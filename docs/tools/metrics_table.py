"""Writes the table of docs/howto/metrics.rst from the families: ``python docs/tools/metrics_table.py``."""

from __future__ import annotations

from pathlib import Path

import page_tables

from runnel_trio.metrics import Family, families

PAGE = Path(__file__).parents[1] / "howto" / "metrics.rst"


def entry(family: Family) -> str:
    """One family as an item of a definition list."""
    labels = f" {{{', '.join(family.labels)}}}" if family.labels else ""
    parts = [family.doc]
    if family.alert:
        parts.append(f"*Alert:* {family.alert}")
    if family.buckets:
        parts.append(f"Buckets: {', '.join(f'{bound:g}' for bound in family.buckets)}.")
    return page_tables.item(f"``{family.name}``{labels}, {family.kind}", *parts)


def written(page: str) -> str:
    """The page with its table replaced by the present one."""
    return page_tables.written(page, "metrics", map(entry, families()))


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
