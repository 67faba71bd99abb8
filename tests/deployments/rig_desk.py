"""An operator's desk: one process that runs commands one behind the other, for to start Python costs most of each.

python rig_desk.py    each line that comes in is a list of arguments, each that goes out is code, stdout, stderr
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import attrs


@attrs.define(eq=False)
class Desk:
    """The process, in a directory, with one server for all commands."""

    directory: Path
    url: str
    _process: subprocess.Popen[str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=self.directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([*arguments, "--redis-url", self.url]) + "\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out, err)

    def end(self) -> None:
        """Leave nothing behind."""
        self._process.kill()
        self._process.communicate()


def _run(arguments: list[str]) -> tuple[object, str, str]:
    from runnel_trio._cli import main

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main(arguments)
        except SystemExit as ended:
            return ended.code, out.getvalue(), err.getvalue()


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)
