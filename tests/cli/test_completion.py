"""``runnel-trio completion``: scripts for shells, and what they ask."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

SHELLS = ["bash", "zsh", "fish"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_that_the_shell_reads(shell: str, command: Any, shop: Path) -> None:
    done = command("completion", shell)
    assert done.returncode == 0
    assert "_RUNNEL_TRIO_COMPLETE" in done.stdout
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=done.stdout, text=True, check=True, timeout=60)


@pytest.mark.parametrize("shell", SHELLS)
def test_help_says_where_to_put_it(shell: str, command: Any) -> None:
    assert f"runnel-trio completion {shell}" in command("completion", "--help").stdout


def test_the_script_gets_the_answers_that_it_asks_for(command: Any) -> None:
    asked = {"COMP_WORDS": "runnel-trio se", "COMP_CWORD": "1", "_RUNNEL_TRIO_COMPLETE": "bash_complete"}
    assert command(**asked).stdout.split() == ["plain,send", "plain,sendmany", "plain,settings"]
    asked["COMP_WORDS"], asked["COMP_CWORD"] = "runnel-trio run --red", "2"
    assert command(**asked).stdout.split() == ["plain,--redis-url"]


def test_another_shell_is_refused_with_those_there_are(command: Any) -> None:
    done = command("completion", "tcsh")
    assert done.returncode == 2
    for shell in SHELLS:
        assert shell in done.stderr
