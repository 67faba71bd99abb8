"""The pictures in the documentation are what the code shows now."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from warm import Forked, Warm

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def screens(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script that draws them."""
    monkeypatch.syspath_prepend(DOCS / "tools")
    return importlib.import_module("screens")


def test_every_picture_has_the_words_that_are_shown_now(screens: Any, warm: Warm) -> None:
    def start(arguments: Sequence[str], output: int, cwd: Path, env: Mapping[str, str]) -> Forked:
        with open(os.devnull, "rb") as nothing:
            return warm.start(arguments, [nothing.fileno(), output, output], cwd, env)

    pictures = list(screens.pictures(start))
    assert {one.path for one in pictures} == set((DOCS / "screens").iterdir())
    for one in pictures:
        drawn = one.path.read_text(encoding="utf-8")
        assert screens.words_of(drawn) == screens.words_of(one.drawn()), "run: python docs/tools/screens.py"


def test_pictures_are_of_what_they_say(screens: Any) -> None:
    shown = {path.stem: " ".join(screens.words_of(path.read_text())) for path in (DOCS / "screens").iterdir()}
    assert "no heartbeat for" in shown["top_killed"]
    assert "leave_out=" in shown["halted"].replace(" ", "")
    for error in (
        "no server at",
        "refuses:",
        "LOCK_EXPIRY",
        "line 3: Order.amount",
        "is full",
        "knows no stream",
    ):
        assert error in shown["errors"]


def test_pictures_are_on_the_pages_with_words_for_those_who_do_not_see_them() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.rglob("*.rst"))
    for path in (DOCS / "screens").iterdir():
        assert f"screens/{path.name}\n   :alt: " in text.replace("\n     :alt", "\n   :alt")
