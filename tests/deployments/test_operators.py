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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from rig_cluster import Cluster
from rig_desk import Desk

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


class Item(Record):
    """As in DEPOT."""

    key: str
    n: int


@pytest.fixture(params=["cluster", "group"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """Before each deployment, with the app's module at hand."""
    (tmp_path / "depot.py").write_text(DEPOT)
    desk = Desk(tmp_path, request.getfixturevalue(request.param).url)
    yield desk
    desk.end()


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
        with trio.fail_after(60):
            while fails and not dead and not await count.quarantined():
                await trio.sleep(0.01)
        if dead or not fails:
            await drained(app, within=60)


def test_what_operators_do_works_wherever_partitions_lie(desk: Desk) -> None:
    trio.run(lambda: work(desk.url))
    events_are_shown_and_cursors_set(desk)
    all_partitions_pause(desk)
    a_key_is_held(desk)
    trio.run(lambda: work(desk.url, fails=True))
    a_partition_that_stands_still_is_shown_and_goes_on(desk)
    trio.run(lambda: work(desk.url, fails=True, dead=True))
    a_dead_letter_goes_back(desk)


def events_are_shown_and_cursors_set(desk: Desk) -> None:
    assert len(desk("inspect", "depot:items", "--json").stdout.splitlines()) == 18
    lines = desk("inspect", "depot:items", "--key", "c", "--json").stdout.splitlines()
    one = [event["record"] for event in map(json.loads, lines)]
    assert [record["n"] for record in one if record["key"] == "c"] == [0, 1, 2]
    reset = desk("processor", "reset", "depot:count", "--start", "0")
    assert reset.returncode == 0, reset.stderr
    found = json.loads(desk("status", "depot:app", "--json").stdout)
    assert '"lag": 18' in json.dumps(found)
    (nodes,) = [stream["nodes"] for stream in found["streams"] if stream["spec"]["name"] == "items"]
    assert sum(nodes.values()) == (6 if "cluster" in desk.url else 0)


def all_partitions_pause(desk: Desk) -> None:
    assert desk("processor", "pause", "depot:count").stderr.startswith(
        "Paused for count: 6 partitions of items: 0-5."
    )
    resumed = desk("processor", "resume", "depot:count")
    assert "items[0-5]" in resumed.stderr, resumed.stderr


def a_key_is_held(desk: Desk) -> None:
    assert "Held: a, in items[" in desk("parked", "hold", "depot:count", "--key", "a").stderr
    assert json.loads(desk("parked", "list", "depot:count", "--json").stdout)["key"] == "a"
    assert desk("parked", "show", "depot:count").stdout.startswith("partition: ")
    dropped = desk("parked", "drop", "depot:count", "--key", "a", "--yes")
    assert dropped.stderr == "Dropped: 1 key with 0 events.\n"


def a_partition_that_stands_still_is_shown_and_goes_on(desk: Desk) -> None:
    found = desk("status", "depot:app", "--json").stdout
    assert "ValueError: no item 2" in json.dumps(json.loads(found))
    assert "goes on, without it." in desk("processor", "resume", "depot:count", "--skip").stderr
    assert desk("processor", "resume", "depot:count").stderr == "No partition stands still.\n"


def a_dead_letter_goes_back(desk: Desk) -> None:
    skipped, failed = desk("dead-letters", "list", "depot:count", "--json").stdout.splitlines()
    letter = json.loads(failed)
    assert json.loads(skipped)["xid"] != letter["xid"]
    assert (letter["stream"], letter["error"]) == ("items", "ValueError: no item 2")
    replayed = desk("dead-letters", "replay", "depot:count", letter["id"])
    assert replayed.stderr == "Sent 1 dead letter back to items.\n"


def test_top_shows_what_lies_on_several_nodes(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "depot.py").write_text(DEPOT)
    trio.run(lambda: work(cluster.url))
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "runnel_trio", "top", "depot:app", "--redis-url", cluster.url],
        cwd=tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    try:
        shown, deadline = "", time.monotonic() + 60
        while not re.search(r"items/count.*q quit", shown, re.DOTALL) and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65536).decode(errors="replace")
        os.write(ours, b"q")
        assert process.wait(60) == 0, shown
        assert "items/count" in shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)
