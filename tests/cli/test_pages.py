"""The page of the command line names all there is."""

from __future__ import annotations

from pathlib import Path

from runnel_trio._cli import cli
from runnel_trio._cli._errors import Exit

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "cli.rst").read_text(encoding="utf-8")


def test_commands_and_options_are_on_the_page() -> None:
    options = {name for command in cli.commands.values() for option in command.params for name in option.opts}
    wanted = {f"``{name} " for name in cli.commands} | {name for name in options if name.startswith("--")}
    assert {name for name in wanted if name not in PAGE} == set()


def test_exit_codes_are_on_the_page() -> None:
    assert [
        code for code in Exit if f"   * - {code.value}\n" not in PAGE and f"   * - {code.value}," not in PAGE
    ] == []
