"""Draws the tree of docs/architecture.rst, as boxes within boxes: ``python docs/tools/architecture_tree.py``.

The text tree in the page is the source: a name, its files, a note, with two spaces or more in between.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

import attrs

PAGE = Path(__file__).parents[1] / "architecture.rst"
PICTURE = PAGE.with_name("architecture_tree.svg")
LINE = re.compile(r"^    (?P<rails>[ │├└─]*)(?P<name>\S.*?)(?:  +(?P<files>\S.*?))?(?:  +(?P<note>\S.*))?$")
WIDTH, PAD, HEAD, LEAF, GAP = 460, 10, 36, 36, 8
STYLE = 'rx="6" fill="currentColor" fill-opacity="0.05" stroke="currentColor" stroke-opacity="0.45"'


@attrs.define
class Box:
    """A task or nursery, and what runs in it."""

    name: str
    note: str
    depth: int
    inside: list[Box] = attrs.field(factory=list)

    @property
    def height(self) -> int:
        if not self.inside:
            return LEAF
        return HEAD + sum(box.height + GAP for box in self.inside) + PAD - GAP


def tree(page: str) -> Box:
    """The text tree."""
    text = (
        page.split("The nursery tree is the file tree")[1]
        .split(".. code-block:: text\n\n")[1]
        .split("\n\n", maxsplit=1)[0]
    )
    path: list[Box] = []
    for line in text.splitlines():
        found = LINE.match(line)
        if found is None:
            raise ValueError(f"cannot be read as a line of the tree: {line!r}")
        depth = len(found["rails"]) // 3
        box = Box(found["name"].replace("`", ""), found["note"] or "", depth)
        if depth:
            path[depth - 1].inside.append(box)
        path[depth:] = [box]
    return path[0]


def drawn(box: Box, x: int, y: int, width: int) -> list[str]:
    """One box and those in it; deeper ones are darker, on light and dark ground alike."""
    place = f'x="{x}" y="{y}" width="{width}" height="{box.height}"'
    lines = [
        f"<rect {place} {STYLE}/>",
        f'<text x="{x + PAD}" y="{y + 15}" font-weight="600">{escape(box.name)}</text>',
    ]
    if box.note:
        lines.append(
            f'<text x="{x + PAD}" y="{y + 29}" font-size="11" fill-opacity="0.75">{escape(box.note)}</text>'
        )
    below = y + HEAD
    for inner in box.inside:
        lines += drawn(inner, x + PAD, below, width - 2 * PAD)
        below += inner.height + GAP
    return lines


def picture(page: str) -> str:
    """The whole file."""
    root = tree(page)
    height = root.height + 2
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="100%"\n'
        f'  style="max-width: {WIDTH * 1.25:g}px" role="img" aria-label="The nursery tree"\n'
        '  font-family="sans-serif" font-size="13" fill="currentColor">'
    )
    return "\n  ".join([head, *drawn(root, 1, 1, WIDTH - 2)]) + "\n</svg>\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
