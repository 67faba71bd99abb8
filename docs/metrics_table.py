"""Writes the table of docs/howto/metrics.rst from the families: ``python docs/metrics_table.py``."""

from __future__ import annotations

import textwrap
from pathlib import Path

from runnel_trio.metrics import Family, families

PAGE = Path(__file__).parent / "howto" / "metrics.rst"
BEGIN, END = ".. metrics begin\n", ".. metrics end\n"


def entry(family: Family) -> str:
    """One family as an item of a definition list."""
    labels = f" {{{', '.join(family.labels)}}}" if family.labels else ""
    parts = [family.doc]
    if family.alert:
        parts.append(f"*Alert:* {family.alert}")
    if family.buckets:
        parts.append(f"Buckets: {', '.join(f'{bound:g}' for bound in family.buckets)}.")
    about = "\n\n".join("\n".join(textwrap.wrap(x, width=108, break_on_hyphens=False)) for x in parts)
    return f"``{family.name}``{labels}, {family.kind}\n" + textwrap.indent(f"{about}\n", "    ")


def written(page: str) -> str:
    """The page with its table replaced by the present one."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n" + "\n".join(map(entry, families())) + f"\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
