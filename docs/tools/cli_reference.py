"""Writes how each command is used into docs/reference/cli.rst: ``python docs/tools/cli_reference.py``."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

from runnel_trio._cli import cli

PAGE = Path(__file__).parents[1] / "reference" / "cli.rst"
MARKED = re.compile(r"(?<=\.\. begin )([\w -]+)\n.*?(?=\.\. end\n)", re.DOTALL)
COMMON = {"--redis-url", "--embedded", "--traceback"}


def commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands, with their names as they are typed."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def usage(name: str, command: click.Command) -> str:
    """How it is typed, what it does, and its options."""
    words = ["runnel-trio", name]
    words += [x.make_metavar(click.Context(command)) for x in command.params if isinstance(x, click.Argument)]
    options = [
        x for x in command.params if isinstance(x, click.Option) and x.opts[0] not in COMMON and not x.hidden
    ]
    about = [literals(" ".join(part.split())) for part in (command.help or "").split("\n\n")]
    entries = [textwrap.dedent(f".. code-block:: text\n\n    {' '.join([*words, '[OPTIONS]'])}\n"), *about]
    entries += [f"``{typed(x)}``\n    {literals(described(x))}" for x in options]
    return "\n\n".join(folded(entry) for entry in entries)


def typed(option: click.Option) -> str:
    if option.is_flag:
        return option.opts[0]
    metavar = option.metavar or option.make_metavar(click.Context(click.Command("")))
    return f"{option.opts[0]} {metavar}"


def described(option: click.Option) -> str:
    text = option.help or ""
    shown = option.show_default and not option.is_flag
    return f"{text} Default: ``{option.default}``." if shown else text


def literals(text: str) -> str:
    """Single backquotes are for the terminal; here they are literals."""
    return re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text)


def folded(entry: str) -> str:
    if entry.startswith(".. "):
        return entry.rstrip()
    lines = []
    for line in entry.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(
            line, 120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
        )
    return "\n".join(lines)


def written(page: str) -> str:
    """The page with what stands between its marks replaced by the present state."""
    known = dict(commands(cli))
    return MARKED.sub(lambda mark: f"{mark[1]}\n\n{usage(mark[1], known[mark[1]])}\n\n", page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
