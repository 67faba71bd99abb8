"""What operators do works on a cluster and on a group as on a server alone."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from runnel_trio import App, ExceptionPolicy, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware
from runnel_trio.testing import drained

DEPOT = """
from runnel_trio import App, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware
app = App("depot", default_partition_count=6)
class Item(Record):
    key: str
    n: int
items = app.stream("items", Item, partition_by="key")
dead = DeadLetterMiddleware(app.stream("lost", record=Dead, partition_by="xid"))
@app.processor(items, exception_policy="quarantine", middleware=[dead])
async def count(events):
    async for item in events.records():
        pass
"""
Command = Callable[..., "subprocess.CompletedProcess[str]"]


class Item(Record):
    """As in DEPOT."""

    key: str
    n: int


@pytest.fixture(params=["cluster", "group"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of each deployment, with the app's module at hand."""
    (tmp_path / "depot.py").write_text(DEPOT)
    return str(request.getfixturevalue(request.param).url)


@pytest.fixture
def command(url: str, tmp_path: Path) -> Command:
    """Run a command to its end, with the deployment as its server."""

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "runnel_trio", *arguments, "--redis-url", url],
            cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip

    return run


async def work(url: str, *, fails: bool = False, dead: bool = False) -> None:
    """Eighteen events, of which the last one of key ``a`` cannot be handled if that is asked for."""
    app = App("depot", default_partition_count=6, redis_url=url)
    items = app.stream("items", Item, partition_by="key")
    middleware = [DeadLetterMiddleware(app.stream("lost", Dead, "xid"))] if dead else []

    @app.processor(items, exception_policy=ExceptionPolicy.QUARANTINE, middleware=middleware)
    async def count(events: Any) -> None:
        async for item in events.records():
            if fails and (item.key, item.n) == ("a", 2):
                raise ValueError(f"no item {item.n}")

    async with app.worker():
        await items.send(*(Item(key=key, n=n) for n in range(3) for key in "abcdef"))
        with trio.fail_after(20):
            while fails and not dead and not await count.quarantined():
                await trio.sleep(0.01)
        if dead or not fails:
            await drained(app, within=20)


def test_a_partition_that_stands_still_is_shown_and_goes_on(url: str, command: Command) -> None:
    trio.run(lambda: work(url, fails=True))
    found = json.loads(command("status", "depot:app", "--json").stdout)
    assert "ValueError: no item 2" in json.dumps(found)
    assert "goes on, without it." in command("processor", "resume", "depot:count", "--skip").stderr
    assert command("processor", "resume", "depot:count").stderr == "No partition stands still.\n"


def test_a_dead_letter_is_stored_beside_its_event_and_goes_back(url: str, command: Command) -> None:
    trio.run(lambda: work(url, fails=True, dead=True))
    letter = json.loads(command("dead-letters", "list", "depot:count", "--json").stdout)
    assert (letter["stream"], letter["error"]) == ("items", "ValueError: no item 2")
    replayed = command("dead-letters", "replay", "depot:count", letter["id"])
    assert replayed.stderr == "Sent 1 dead letter back to items.\n"


def test_events_are_shown_and_cursors_set(url: str, command: Command) -> None:
    trio.run(lambda: work(url))
    shown = command("inspect", "depot:items", "--json").stdout.splitlines()
    assert len(shown) == 18
    one = [
        json.loads(line)
        for line in command("inspect", "depot:items", "--key", "c", "--json").stdout.splitlines()
    ]
    assert [event["record"]["n"] for event in one if event["record"]["key"] == "c"] == [0, 1, 2]
    reset = command("processor", "reset", "depot:count", "--start", "0")
    assert reset.returncode == 0, reset.stderr
    assert '"lag": 18' in json.dumps(json.loads(command("status", "depot:app", "--json").stdout))


def test_a_pause_stops_all_partitions_wherever_they_lie(url: str, command: Command) -> None:
    trio.run(lambda: work(url))
    assert command("processor", "pause", "depot:count").returncode == 0
    again = command("processor", "resume", "depot:count")
    assert again.returncode == 0, again.stderr


def test_top_shows_it(url: str, tmp_path: Path) -> None:
    trio.run(lambda: work(url))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel_trio", "top", "depot:app", "--redis-url", url],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    try:
        shown, deadline = "", time.monotonic() + 20
        while not re.search(r"items/count.*q quit", shown, re.DOTALL) and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65536).decode(errors="replace")
        os.write(ours, b"q")
        assert process.wait(10) == 0, shown
        assert "items/count" in shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
