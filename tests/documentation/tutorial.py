"""Does what docs/tutorial.rst tells a reader to do: writes its files, types its commands, compares what they print.

A code block with a caption that is a name of a file is written. A ``console`` block is typed in a terminal: one
that is called ``Terminal N`` goes on while others are used, the one without a name waits for the end of each
command. In what is shown, ``…`` stands for anything, alone in a line for any lines, times of day for any, and 4711
and the numbers behind it for the process that was meant where each was seen first.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import attrs

#: Seconds that one line, or one command, may take.
PATIENCE = 30.0
TIME = re.compile(r"\d\d:\d\d:\d\d\\\.\d\d\d")
PROCESS = re.compile(r"\b471\d\b")
BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n((?:    :[\w-]+: .*\n)*)\n((?:(?:    .*)?\n)+)", re.MULTILINE)


@attrs.frozen
class Block:
    """One code block.

    Attributes:
        language: as Sphinx knows it.
        caption: the name of a file or a terminal; empty without one.
        text: what is in it.
        line: where it begins in the page.
    """

    language: str
    caption: str
    text: str
    line: int


def blocks(page: str) -> Iterator[Block]:
    for found in BLOCK.finditer(page):
        language, options, text = found.groups()
        caption = re.search(r":caption: (.*)", options)
        body = textwrap.dedent(text).strip("\n") + "\n"
        yield Block(language, caption[1] if caption else "", body, page[: found.start()].count("\n") + 1)


class Unlike(AssertionError):
    """What was printed is not what is shown."""


@attrs.define
class Terminal:
    """A shell in which one command at a time runs, and what it has printed."""

    tutorial: Tutorial
    process: subprocess.Popen[str] | None = None
    lines: list[str] = attrs.field(factory=list)
    seen: int = 0
    news: threading.Condition = attrs.field(factory=threading.Condition)
    listener: threading.Thread | None = None

    def type(self, command: str) -> None:
        assert self.process is None or self.process.poll() is not None, f"busy: cannot type {command}"
        self.seen = len(self.lines)
        self.process = subprocess.Popen(
            self.tutorial.bound(command),
            shell=True,
            executable="/bin/bash",
            cwd=self.tutorial.directory,
            env=self.tutorial.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.listener = threading.Thread(target=self._listen, args=[self.process], daemon=True)
        self.listener.start()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with self.news:
                    self.lines.append(line.rstrip("\n"))
                    self.news.notify_all()

    def expect(self, shown: str, *, gap: bool) -> None:
        """Wait for such a line behind those that were waited for before: right behind, unless there is a gap."""

        def there() -> bool:
            for at in range(self.seen, len(self.lines) if gap else min(self.seen + 1, len(self.lines))):
                if self.tutorial.alike(shown, self.lines[at]):
                    self.seen = at + 1
                    return True
            return False

        with self.news:
            if not self.news.wait_for(there, PATIENCE):
                raise Unlike(f"expected: {shown}\n" + "\n".join(["printed:", *self.lines[self.seen :]]))

    def interrupt(self) -> None:
        """Ctrl-C, and wait for the end."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGINT)
        self.wait()

    def wait(self) -> None:
        assert self.process is not None
        assert self.listener is not None
        self.process.wait(PATIENCE)
        self.listener.join(PATIENCE)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.wait()


@attrs.define
class Tutorial:
    """A reader in a fresh directory.

    Attributes:
        directory: where.
        meant: what the numbers of processes in the page stand for.
    """

    directory: Path
    meant: dict[str, str] = attrs.field(factory=dict)
    terminals: dict[str, Terminal] = attrs.field(factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """As a new terminal has it: nothing of the pytest that runs this."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "RUNNEL"))}
        path = os.pathsep.join([str(Path(sys.executable).parent), own.get("PATH", "")])
        return {**own, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def follow(self, page: str) -> None:
        """Do all of it.

        Raises:
            Unlike: something else was printed than is shown; names the line of the page.
        """
        try:
            for block in blocks(page):
                try:
                    self.do(block)
                except Exception as error:
                    error.add_note(f"in the block at line {block.line}")
                    raise
        finally:
            for terminal in self.terminals.values():
                terminal.kill()

    def do(self, block: Block) -> None:
        if block.language == "console" and block.caption:
            self.watch(self.terminals.setdefault(block.caption, Terminal(self)), block.text.splitlines())
        elif block.language == "console":
            for command, shown in typed(block.text):
                self.run(command, shown)
        elif block.caption:
            (self.directory / block.caption).write_text(block.text, encoding="utf-8")

    def watch(self, terminal: Terminal, lines: list[str]) -> None:
        gap = True  # of what was printed meanwhile, not all is shown
        for line in lines:
            if line == "^C":
                terminal.interrupt()
                gap = True
            elif line.startswith("$ "):
                terminal.type(line[2:])
                gap = False
            elif line == "…":
                gap = True
            else:
                terminal.expect(line, gap=gap)
                gap = False

    def run(self, command: str, shown: list[str]) -> None:
        """A command to its end; it prints this, and nothing else."""
        terminal = self.terminals.setdefault("", Terminal(self))
        terminal.lines.clear()
        terminal.type(command)
        terminal.wait()
        printed = terminal.lines
        if not self.fits(shown, printed):
            raise Unlike("\n".join([f"$ {command}", "expected:", *shown, "printed:", *printed]))

    def fits(self, shown: list[str], printed: list[str]) -> bool:
        """Line by line; a line that is no more than ``…`` stands for any number of them."""
        if not shown:
            return not printed
        if shown[0] == "…":
            return any(self.fits(shown[1:], printed[at:]) for at in range(len(printed) + 1))
        return bool(printed) and self.alike(shown[0], printed[0]) and self.fits(shown[1:], printed[1:])

    def alike(self, shown: str, printed: str) -> bool:
        pattern = TIME.sub(r"\\d\\d:\\d\\d:\\d\\d\\.\\d\\d\\d", re.escape(shown)).replace("…", ".*")
        new = [number for number in PROCESS.findall(shown) if number not in self.meant]
        for number in new:
            pattern = pattern.replace(number, rf"(?P<p{number}>\d+)", 1)
        found = re.fullmatch(self.bound(pattern), printed)
        if found:
            self.meant.update({number: found[f"p{number}"] for number in new})
        return bool(found)

    def bound(self, text: str) -> str:
        """With the real processes' numbers."""
        return re.sub(r"(?<![\w<])471\d\b", lambda number: self.meant.get(number[0], number[0]), text)


def typed(text: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a block, each with what is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *shown = part.rstrip("\n").split("\n")
        yield command, shown
