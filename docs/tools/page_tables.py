"""What the scripts share that write a definition list into a page, between two marks."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

__all__ = ["item", "written"]


def item(head: str, *paragraphs: str) -> str:
    """One item of a definition list."""
    about = "\n\n".join("\n".join(textwrap.wrap(x, width=108, break_on_hyphens=False)) for x in paragraphs)
    return f"{head}\n" + textwrap.indent(f"{about}\n", "    ")


def written(page: str, name: str, items: Iterable[str]) -> str:
    """The page with what stands between the marks of that name replaced by these."""
    begin, end = f".. {name} begin\n", f".. {name} end\n"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}\n" + "\n".join(items) + f"\n{end}{after}"
