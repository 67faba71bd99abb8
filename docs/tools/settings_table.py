"""Writes the table of docs/reference/settings.rst: ``python docs/tools/settings_table.py``."""

from __future__ import annotations

import re
from pathlib import Path

import page_tables

from runnel_trio.settings import Description, describe

PAGE = Path(__file__).parents[1] / "reference" / "settings.rst"


def entry(setting: Description) -> str:
    """One setting as an item of a definition list."""
    default = f"``{setting.default}``" + (f" {setting.unit}" if setting.unit else "")
    head = f"``{setting.name}`` (``{setting.variable}``)"
    return page_tables.item(head, sphinx(setting.doc), f"Default: {default}.")


def sphinx(doc: str) -> str:
    """Single backquotes are for readers of the source; here they are literals."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", doc)


def written(page: str) -> str:
    """The page with its table replaced by the present one."""
    return page_tables.written(page, "settings", map(entry, describe()))


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
