"""The page of the command line has all there is, in the words of ``--help``; other pages type what exists."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from runnel_trio._cli import cli
from runnel_trio._cli._errors import Exit

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "cli.rst").read_text(encoding="utf-8")
PAGES = [
    *sorted((ROOT / "docs").rglob("*.rst")),
    *sorted(ROOT.glob("*.md")),
    *(ROOT / "examples").rglob("*.md"),
]


@pytest.fixture(scope="module")
def reference() -> ModuleType:
    """The script that writes the page."""
    path = ROOT / "docs" / "tools" / "cli_reference.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_is_on_the_page_as_it_is_now(reference: ModuleType) -> None:
    assert set(re.findall(r"^\.\. begin (.+)$", PAGE, re.MULTILINE)) == dict(reference.commands(cli)).keys()
    assert reference.written(PAGE) == PAGE, "run: python docs/tools/cli_reference.py"


def test_every_option_and_argument_is_on_the_page(reference: ModuleType) -> None:
    for name, command in reference.commands(cli):
        for option in command.params:
            if isinstance(option, click.Option) and option.hidden:
                continue
            for word in option.opts if isinstance(option, click.Option) else [option.metavar or "FILE"]:
                assert word in PAGE, f"{name} {word}"


def test_exit_codes_are_on_the_page() -> None:
    assert [
        code for code in Exit if f"   * - {code.value}\n" not in PAGE and f"   * - {code.value}," not in PAGE
    ] == []


def typed() -> Iterator[tuple[str, str]]:
    """Every command of ours that stands anywhere in the documentation, with its place."""
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(
            r"(?:^|[`$ ])runnel-trio ((?:run|send|sendmany|processor|dead-letters|parked)\b[^`\n]*)", text
        ):
            line = text.count("\n", 0, found.start()) + 1
            yield f"{path.relative_to(ROOT)}:{line}", found[1]


def test_what_the_pages_type_exists() -> None:
    commands = list(typed())
    assert len(commands) > 40
    for place, text in commands:
        words = text.split(" &&")[0].split("  #")[0].split()
        command: click.Command = cli
        while isinstance(command, click.Group) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        known = {name for option in command.params for name in option.opts} | {"--help"}
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", " ".join(words)):
            assert option in known, f"{place}: {option} in {text!r}"


def test_what_a_reader_may_paste_is_quoted_as_a_shell_wants_it() -> None:
    for place, text in typed():
        if "'" in text and "…" not in text:
            assert shlex.split(text), place
