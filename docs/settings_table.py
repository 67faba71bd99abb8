"""Writes the table of docs/reference/settings.rst from the settings: ``python docs/settings_table.py``."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from runnel_trio.settings import Description, describe

PAGE = Path(__file__).parent / "reference" / "settings.rst"
BEGIN, END = ".. settings begin\n", ".. settings end\n"


def entry(setting: Description) -> str:
    """One setting as an item of a definition list."""
    default = f"``{setting.default}``" + (f" {setting.unit}" if setting.unit else "")
    about = "\n".join(textwrap.wrap(sphinx(setting.doc), width=108, break_on_hyphens=False))
    return f"``{setting.name}`` (``{setting.variable}``)\n" + textwrap.indent(
        f"{about}\n\nDefault: {default}.\n", "    "
    )


def sphinx(doc: str) -> str:
    """Single backquotes are for readers of the source; here they are literals."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", doc)


def written(page: str) -> str:
    """The page with its table replaced by the present one."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n" + "\n".join(map(entry, describe())) + f"\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
