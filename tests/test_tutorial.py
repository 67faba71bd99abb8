"""The tutorial works as it stands, and its runner notices where it does not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tutorial import Tutorial, Unlike, blocks

ROOT = Path(__file__).parents[1]
DRILLS = {
    name: (ROOT / "docs" / "howto" / f"{name}.rst").read_text(encoding="utf-8")
    for name in ("paged", "parked", "repartition")
}
PAGE = (ROOT / "docs" / "tutorial.rst").read_text(encoding="utf-8")


def test_the_tutorial_works_as_it_stands(tmp_path: Path) -> None:
    Tutorial(tmp_path).follow(PAGE)


@pytest.mark.parametrize("name", DRILLS)
def test_the_drills_work_as_they_stand(name: str, tmp_path: Path) -> None:
    Tutorial(tmp_path).follow(DRILLS[name])


def test_every_block_is_run_but_the_installation() -> None:
    found = list(blocks(PAGE))
    assert len(found) == PAGE.count(".. code-block::")
    assert [block.text for block in found if block.language == "sh"] == [
        block.text for block in found if "pip install" in block.text
    ]
    for block in found:
        assert block.language in {"sh", "console"} or re.fullmatch(r"\w+\.\w+", block.caption), block


def page(*lines: str) -> str:
    return "\n".join([".. code-block:: console", "", *(f"    {line}" for line in lines), ""])


def test_what_is_shown_is_compared(tmp_path: Path) -> None:
    reader = Tutorial(tmp_path)
    reader.follow(page("$ echo one; echo two; echo three", "one", "…", "th…e"))
    reader.follow(page("$ echo 'at 12:30:00.123'", "at 10:00:00.000"))
    for shown in (["one"], ["one", "two", "three"], ["two"], []):
        with pytest.raises(Unlike, match="expected:"):
            reader.follow(page("$ echo one; echo two", *shown))


def test_a_terminal_shows_every_line_unless_it_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tutorial.PATIENCE", 1.0)
    shown = ".. code-block:: console\n    :caption: Terminal 1\n\n    $ echo one; echo two; echo three\n"
    Tutorial(tmp_path).follow(f"{shown}    one\n    …\n    three\n")
    with pytest.raises(Unlike, match="expected: three"):
        Tutorial(tmp_path).follow(f"{shown}    one\n    three\n")


def test_a_process_is_known_by_its_number_from_then_on(tmp_path: Path) -> None:
    reader = Tutorial(tmp_path)
    reader.follow(page("$ echo pid 815-x", "pid 4711-x", "$ echo 4711 4712", "4711 4712"))
    assert reader.meant == {"4711": "815", "4712": "4712"}
    with pytest.raises(Unlike):
        reader.follow(page("$ echo 816", "4711"))
