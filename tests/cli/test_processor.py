"""Partitions in quarantine are shown, and go on; cursors are set; dead letters go back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from runnel_trio import App, ExceptionPolicy, Record
from runnel_trio.testing import drained

WAREHOUSE = """
from runnel_trio import App, Record
app = App("warehouse", default_partition_count=2, default_lock_expiry=5)
class Item(Record):
    key: str
    n: int
items = app.stream("items", Item, partition_by="key")
@app.processor(items, exception_policy="quarantine")
async def count(events):
    async for item in events.records():
        pass
"""


class Item(Record):
    """As in WAREHOUSE."""

    key: str
    n: int


@pytest.fixture
def quarantined(tmp_path: Path) -> str:
    """The URL of a server where one partition stands still."""
    (tmp_path / "warehouse.py").write_text(WAREHOUSE)
    url = f"embedded://{tmp_path / 'data'}"
    app = App("warehouse", default_partition_count=2, redis_url=url)
    items = app.stream("items", Item, partition_by="key")

    @app.processor(items, exception_policy=ExceptionPolicy.QUARANTINE)
    async def count(events: Any) -> None:
        async for item in events.records():
            raise ValueError(f"no item {item.n}")

    async def stand_still() -> None:
        async with app.worker(), app.operator() as op:
            await items.send(Item(key="a", n=7))
            with trio.fail_after(60):
                while not await op.quarantined("count"):
                    await trio.sleep(0.01)

    trio.run(stand_still)
    return url


def test_it_is_shown_lifted_and_gone(quarantined: str, command: Callable[..., Any]) -> None:
    shown = command("processor", "resume", "warehouse:count", "--redis-url", quarantined, "--dry-run")
    assert shown.returncode == 0
    assert re.search(r"items\[\d\] stands still at \d+-0 since 20.*: ValueError: no item 7", shown.stderr)
    assert 'raise ValueError(f"no item {item.n}")' in shown.stderr
    lifted = command("processor", "resume", "warehouse:count", "--redis-url", quarantined, "--skip")
    assert "goes on, without it." in lifted.stderr
    again = command("processor", "resume", "warehouse:count", "--redis-url", quarantined)
    assert again.stderr == "No partition stands still.\n"


def test_a_partition_that_does_not_exist_is_refused(quarantined: str, command: Callable[..., Any]) -> None:
    done = command("processor", "resume", "warehouse:count", "--redis-url", quarantined, "--partition", "2")
    assert done.returncode == 2
    assert "has no partition 2: they are 0 to 1" in done.stderr


def test_a_dead_letter_needs_the_middleware(quarantined: str, command: Callable[..., Any]) -> None:
    done = command("processor", "resume", "warehouse:count", "--redis-url", quarantined, "--dead-letter")
    assert done.returncode == 78
    assert "has no DeadLetterMiddleware" in done.stderr


Command = Callable[..., Any]


def test_skip_and_dead_letter_exclude_each_other(quarantined: str, command: Command) -> None:
    given = ("warehouse:count", "--redis-url", quarantined, "--skip", "--dead-letter")
    done = command("processor", "resume", *given)
    assert done.returncode == 2
    assert "--skip leaves out what --dead-letter keeps" in done.stderr


def test_a_reset_says_what_it_does_and_a_dry_run_does_nothing(quarantined: str, command: Command) -> None:
    server = ("warehouse:count", "--redis-url", quarantined)
    dry = command("processor", "reset", *server, "--start", "$", "--dry-run")
    assert dry.stderr == "0 events to be processed, 1 before. This was a dry run: nothing was changed.\n"
    done = command("processor", "reset", *server, "--start", "$")
    assert done.stdout == dry.stdout
    assert done.stderr == "0 events to be processed, 1 before.\n"
    assert command("processor", "resume", *server).stderr == "No partition stands still.\n"
    back = command("processor", "reset", *server, "--start", "2020-01-01")
    assert back.stderr == "1 event to be processed, 0 before.\n"


def test_a_reset_is_refused_while_a_worker_runs(
    quarantined: str, command: Command, started: Callable[..., Any]
) -> None:
    worker = started("run", "warehouse:app", "--redis-url", quarantined)
    while "started" not in worker.stderr.readline():
        assert worker.poll() is None
    done = command("processor", "reset", "warehouse:count", "--redis-url", quarantined)
    assert done.returncode == 75
    assert f"pid {worker.pid} on" in done.stderr
    forced = command("processor", "reset", "warehouse:count", "--redis-url", quarantined, "--force")
    assert forced.returncode == 0


@pytest.mark.parametrize(
    "what", ["partition_count=3", "hasher=lambda key: 7", "record"], ids=["partitions", "hasher", "record"]
)
@pytest.mark.parametrize("how", ["run", "send"])
def test_two_versions_of_a_stream_that_do_not_fit_cannot_share_it(
    what: str, how: str, quarantined: str, command: Command, tmp_path: Path
) -> None:
    other = (
        WAREHOUSE.replace("Item", "Thing")
        if what == "record"
        else WAREHOUSE.replace('"items", Item, ', f'"items", Item, {what}, ')
    )
    (tmp_path / "other.py").write_text(other)
    given = ("other:app",) if how == "run" else ("other:items", '{"key": "a", "n": 1}')
    done = command(how, *given, "--redis-url", quarantined)
    assert done.returncode == 78
    assert "items" in done.stderr
    assert {"partition_count=3": "partition", "record": "Thing"}.get(what, "hasher") in done.stderr


@pytest.fixture
def at_work(tmp_path: Path) -> str:
    """The URL of a server with six items that were counted."""
    (tmp_path / "warehouse.py").write_text(WAREHOUSE)
    url = f"embedded://{tmp_path / 'data'}"
    app = App("warehouse", default_partition_count=2, redis_url=url)
    items = app.stream("items", Item, partition_by="key")

    @app.processor(items)
    async def count(events: Any) -> None:
        async for _ in events.records():
            pass

    async def work() -> None:
        async with app.worker():
            await items.send(*(Item(key="ab"[n % 2], n=n) for n in range(6)))
            await drained(count, within=60)

    trio.run(work)
    return url


def test_a_pause_is_made_shown_and_lifted(at_work: str, command: Callable[..., Any]) -> None:
    server = ("warehouse:count", "--redis-url", at_work)
    tried = command("processor", "pause", *server, "--dry-run")
    assert tried.stderr == "Would pause for count: 2 partitions of items: 0-1.\n"
    done = command("processor", "pause", *server, "--partition", "1", "--reason", "moving house")
    assert done.returncode == 0
    assert done.stderr == (
        "Paused for count: 1 partition of items: 1.\n"
        f"To go on: runnel-trio processor resume warehouse:count --partition 1 --redis-url {at_work}\n"
    )
    status = command("status", "warehouse:app", "--redis-url", at_work, "--over", "0")
    assert status.returncode == 0, "somebody wants it so"
    assert status.stdout.endswith("items/count: 1 partition is paused: 1\nAll else is well.\n")
    assert re.search(r"\[1\] paused for .* by \S+@\S+: moving house", status.stdout)
    shown = command("processor", "resume", *server)
    assert "items[1] was paused by" in shown.stderr
    assert "items[1] goes on." in shown.stderr
    assert command("processor", "resume", *server).stderr == "No partition stands still.\n"


def test_a_processor_that_the_code_no_longer_has_is_dropped_by_its_name(
    at_work: str, command: Command
) -> None:
    def drop(target: str, *words: str) -> Any:
        return command("processor", "drop", "--app", "warehouse", target, "--redis-url", at_work, *words)

    unknown = drop("items/old")
    assert unknown.returncode == 2
    assert "the server has no cursor of items/old of app 'warehouse'" in unknown.stderr
    assert unknown.stderr.endswith("it knows items/count\n")
    assert drop("items/count").returncode == 2, "nobody to ask"
    done = drop("items/count", "--yes")
    assert done.stderr == "count is forgotten; it had a cursor in 2 partitions.\n"
    assert drop("items/count", "--yes").stderr.endswith("it knows none\n")


def test_seek_and_drop_ask_first(at_work: str, command: Callable[..., Any]) -> None:
    server = ("--redis-url", at_work)
    for words in (["seek", "warehouse:count", "0"], ["drop", "warehouse:count"]):
        refused = command("processor", *words, *server)
        assert refused.returncode == 2
        assert "There is no terminal to ask at: give --yes to do it." in refused.stderr
        tried = command("processor", *words, *server, "--dry-run")
        assert (tried.returncode, "othing was changed." in tried.stderr) == (0, True)
    sought = command("processor", "seek", "warehouse:count", "0", *server, "--yes")
    assert "6 events to be processed, 0 before." in sought.stderr
    dropped = command("processor", "drop", "warehouse:count", *server, "--yes")
    assert dropped.stderr == "count is forgotten; it had a cursor in 2 partitions.\n"
    again = command("processor", "drop", "warehouse:count", *server, "--yes")
    assert "it had a cursor in 0 partitions" in again.stderr


def test_what_is_the_same_of_many_partitions_is_told_once(at_work: str, command: Callable[..., Any]) -> None:
    server = ("warehouse:count", "--redis-url", at_work)
    assert command("processor", "pause", *server).stderr.splitlines()[0].endswith(" of items: 0-1.")
    status = command("status", "warehouse:app", "--redis-url", at_work, "--over", "0").stdout
    assert re.search(r"^  \[0-1\] paused for .* by \S+@\S+$", status, re.MULTILINE)
    to_type = [line for line in status.splitlines() if "runnel-trio " in line]
    assert to_type == [
        f"      runnel-trio processor resume warehouse:count --partition 0-1 --redis-url {at_work}"
    ]
    dry = command("processor", "resume", *server, "--dry-run", "--partition", "0-1").stderr
    assert re.fullmatch(r"items\[0-1\] were paused by \S+@\S+ at \S+\n", dry)
    done = command("processor", "resume", *server, "--partition", "0,1").stderr
    assert done == dry + "items[0-1] go on.\n"
    for _ in range(2):
        again = command("processor", "reset", *server, "--start", "1")
    assert again.stdout == "items[0-1]  0-18446744073709551615 → 0-18446744073709551615  lag 3 → 3  each\n"


@pytest.mark.parametrize("given", ["-1", "x", "1-", "2-1", "0-99999999999", "1,", "", "٣"])
def test_what_names_no_partitions_is_refused(given: str, at_work: str, command: Callable[..., Any]) -> None:
    done = command("processor", "pause", "warehouse:count", "--redis-url", at_work, f"--partition={given}")
    assert done.returncode == 2
    assert "'--partition'" in done.stderr
