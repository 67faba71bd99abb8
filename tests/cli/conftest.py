"""The command line as processes, in a directory of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHOP = """
import os, sys, time
import trio
from runnel_trio import App, ExceptionPolicy, Record

app = App("shop", default_partition_count=4)

class Order(Record):
    key: str
    n: int

orders = app.stream("orders", Order, partition_by="key")

def say(text):
    print(text, flush=True)

@app.processor(orders, grace_period=5)
async def printer(events):
    async for order in events.records():
        if order.key == "fail":
            raise LookupError("no such customer")
        say(f"begin {order.n}")
        if order.key == "slow":
            await trio.sleep(1)
        if order.key == "stuck":
            await trio.sleep_forever()
        say(f"end {order.n}")

@app.processor(orders)
async def quiet(events):
    async for order in events.records():
        pass
"""

Command = Callable[..., "subprocess.CompletedProcess[str]"]
Started = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The current directory of the commands, with a module ``shop``."""
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def environment(**changes: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("RUNNEL_", "PYTHONPATH"))
    }
    return {**kept, **changes}


@pytest.fixture
def command(shop: Path) -> Command:
    """Run a command to its end."""

    def run(*arguments: str, stdin: str | bytes = "", **changes: str) -> subprocess.CompletedProcess[str]:
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        done = subprocess.run(
            [sys.executable, "-m", "runnel_trio", *arguments],
            cwd=shop,
            input=given,
            capture_output=True,
            timeout=60,
            check=False,
            env=environment(**changes),
        )
        texts = done.stdout.decode(), done.stderr.decode()
        return subprocess.CompletedProcess(done.args, done.returncode, *texts)

    return run


@pytest.fixture
def started(shop: Path) -> Iterator[Started]:
    """Start a command; its standard output can be read line by line."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **changes: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "runnel_trio", *arguments],
            cwd=shop,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=environment(**changes),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()
