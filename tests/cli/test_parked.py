"""Parked keys are listed, shown, handled again, skipped, dropped and held."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from runnel_trio import App, Record
from runnel_trio._broker._values import ParkedChange, ProcessorSpec
from runnel_trio._rules._parked import Facts, Head, facts_text, pack_entry

PROCESSOR = "warehouse:count"
WAREHOUSE = """
from runnel_trio import App, Record
app = App("warehouse", default_partition_count=2)
class Item(Record):
    shelf: str
    n: int
items = app.stream("items", Item, partition_by="shelf")
@app.processor(items, exception_policy="park")
async def count(events):
    async for item in events.records():
        print(f"{item.shelf} {item.n}", flush=True)
"""
Does = Callable[..., Any]


class Item(Record):
    """As in WAREHOUSE."""

    shelf: str
    n: int


async def park(url: str) -> None:
    """Two shelves are parked over what failed, and one by hand."""
    app = App("warehouse", default_partition_count=2, redis_url=url)
    items = app.stream("items", Item, partition_by="shelf")

    @app.processor(items, exception_policy="park")
    async def count(events: Any) -> None:
        async for item in events.records():
            if item.shelf == "low":
                raise ValueError(f"no item {item.n}")
            raise LookupError("no such shelf")

    async with app.worker():
        await count.park("held", reason="stocktaking", by="eve")
        for shelf, numbers in {"low": (1, 2, 3), "high": (4,)}.items():
            await items.send(*(Item(shelf=shelf, n=n) for n in numbers))
            with trio.fail_after(60):
                while sum(x.events for x in await count.parked() if x.key == shelf) < len(numbers):
                    await trio.sleep(0.01)


@pytest.fixture
def url(tmp_path: Path, runnel_app_settings: dict[str, Any]) -> str:
    """Of a server that goes on between two commands."""
    (tmp_path / "warehouse.py").write_text(WAREHOUSE)
    url: str = runnel_app_settings["redis_url"]
    trio.run(park, url)
    return url


@pytest.fixture
def does(url: str, command: Does) -> Does:
    """A command about parked keys."""
    return lambda verb, *given, **more: command("parked", verb, PROCESSOR, "--redis-url", url, *given, **more)


def keys(does: Does, *given: str) -> list[str]:
    return [json.loads(line)["key"] for line in does("list", "--json", *given).stdout.splitlines()]


def test_a_list_has_a_line_for_each_key_those_first_that_were_parked_first(does: Does) -> None:
    done = does("list")
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["PARTITION", "KEY", "EVENTS", "SINCE", "TRIED", "NEXT", "WHY"]
    assert [line.split()[1] for line in lines] == ["held", "low", "high"]
    assert re.fullmatch(r" +[01]  held +0  \S+ +0  by hand  held by eve: stocktaking", lines[0])
    assert re.fullmatch(r" +[01]  low +3  \S+ +1  by hand  ValueError: no item 1", lines[1])
    assert f"To handle them again: runnel-trio parked retry {PROCESSOR} --all" in done.stderr


def test_a_list_shows_as_many_as_are_asked_for(does: Does) -> None:
    done = does("list", "--limit", "1")
    assert len(done.stdout.splitlines()) == 2
    assert "2 more are parked: see --limit." in done.stderr
    assert keys(does, "--limit", "2") == ["held", "low"]


def test_keys_are_chosen_by_key_error_and_partition(does: Does) -> None:
    assert keys(does) == ["held", "low", "high"]
    assert keys(does, "--key", "high", "--key", "low") == ["low", "high"]
    assert keys(does, "--error", "ValueError") == ["low"]
    assert keys(does, "--error", "such shelf") == ["high"]
    assert keys(does, "--error", "LookupError: no such shelf") == ["high"]
    assert keys(does, "--error", "LookupError", "--key", "low") == []
    assert sorted(keys(does, "--partition", "0") + keys(does, "--partition", "1")) == ["held", "high", "low"]


def test_what_is_not_there_is_told_with_what_is(does: Does) -> None:
    done = does("retry", "--key", "nil", "--key", "low")
    assert done.returncode == 2
    assert "nil is not parked; there are: held, low, high. Nothing was done." in done.stderr
    done = does("retry", "--error", "OSError")
    assert done.returncode == 0
    assert "No key is parked over OSError; there are: by hand (1 key), ValueError (1 key)" in done.stderr
    done = does("list", "--partition", "7")
    assert done.returncode == 2
    assert "items has no partition 7" in done.stderr
    assert keys(does) == ["held", "low", "high"]


def test_where_no_key_is_parked_it_says_so(does: Does) -> None:
    assert does("drop", "--all", "--yes").returncode == 0
    for verb in ("list", "show"):
        done = does(verb)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "No key of count is parked.\n")
    assert does("retry", "--key", "low").returncode == 0
    assert does("skip", "--partition", "1").stderr == "No key of count is parked in items[1].\n"


@pytest.mark.parametrize("verb", ["retry", "skip", "drop"])
def test_whoever_means_all_of_them_says_so(does: Does, verb: str) -> None:
    for given in ([], ["--all", "--key", "low"]):
        done = does(verb, *given)
        assert done.returncode == 2
        assert "Give --key, --error or --partition" in done.stderr
    assert len(keys(does)) == 3


@pytest.mark.parametrize("verb", ["retry", "skip", "drop"])
def test_a_dry_run_changes_nothing(does: Does, verb: str) -> None:
    before = does("list", "--json").stdout
    done = does(verb, "--key", "low", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "1 key with 3 events. This was a dry run: nothing was changed." in done.stderr
    assert "ValueError: no item 1" in done.stdout
    assert "Would hold new, in items[" in does("hold", "--key", "new", "--dry-run").stderr
    assert does("list", "--json").stdout == before


def test_a_key_is_shown_with_its_traceback_and_its_events(does: Does) -> None:
    shown = does("show", "--key", "low").stdout
    assert "error: ValueError: no item 1\n" in shown
    assert "\nTraceback (most recent call last):\n" in shown
    assert re.findall(r'"n": (\d)', shown) == ["1", "2", "3"]
    document = json.loads(does("show", "--key", "low", "--json").stdout)
    assert (document["key"], document["events"], document["attempts"], document["next"]) == (
        "low",
        3,
        1,
        None,
    )
    assert [x["record"]["n"] for x in document["entries"]] == [1, 2, 3]


def test_what_is_handled_again_comes_in_order_without_what_is_skipped_or_dropped(
    does: Does, started: Does, url: str
) -> None:
    assert "Dropped: 1 key with 1 event." in does("drop", "--key", "high", "--yes").stderr
    assert "without the first event of each: 1 key with 3 events." in does("skip", "--key", "low").stderr
    assert "To be handled again: 1 key with 0 events." in does("retry", "--key", "held").stderr
    worker = started("run", "warehouse:app", "--redis-url", url)
    assert [worker.stdout.readline() for _ in range(2)] == ["low 2\n", "low 3\n"]


def test_what_has_not_failed_is_not_skipped(does: Does) -> None:
    done = does("skip", "--key", "held")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Left alone, because the first event has not failed: held.\n"
    assert "held" in keys(does)


@pytest.mark.parametrize("given", [["drop", "--key", "low"], ["skip", "--all"]])
def test_what_cannot_be_undone_is_asked_for(does: Does, terminal: Does, url: str, given: list[str]) -> None:
    done = does(*given)
    assert done.returncode == 2
    assert "give --yes" in done.stderr
    for answer, left in (("n\n", 3), ("y\n", 2)):
        asked = terminal("parked", given[0], PROCESSOR, "--redis-url", url, *given[1:])
        asked.shows(r"for good.*\? \[y/N\]")
        asked.types(answer)
        asked.ends()
        # With `skip` the last event of a key is left out, and the key is free.
        assert len(keys(does)) == left


def test_keys_are_held_by_hand(does: Does) -> None:
    done = does("hold", "--key", "new", "--key", "low", "--reason", "a look first")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^Held: new, in items\[[01]\]\.$", done.stderr, re.MULTILINE)
    assert re.search(r"^Held: low, in items\[[01]\], with 3 events\.$", done.stderr, re.MULTILINE)
    assert f"To go on: runnel-trio parked retry {PROCESSOR} --key new --key low" in done.stderr
    assert keys(does) == ["held", "low", "high", "new"]
    assert "a look first" in does("list", "--key", "low").stdout


async def fill(url: str, count: int) -> None:
    """Park so many keys of one partition, with texts that are no good for a terminal."""
    app = App("warehouse", default_partition_count=2, redis_url=url)
    spec = ProcessorSpec(stream=app.stream("items", Item, partition_by="shelf").spec, name="count")
    entry = pack_entry(b"1764330000000-0", [b"shelf", b"x", b"n", b"1"])
    changes = []
    for n in range(count):
        facts = Facts(key=f"shelf \x1b[2J{n}", hash=n, error="E: \x1b[31m redis://:secret@h/0")
        changes.append(ParkedChange(b"s%d" % n, None, Head(1, 1, 1, 1), [entry], facts_text(facts)))
    async with app.operator() as op:
        assert all(await op._broker.change_parked(spec, 0, changes))


def test_of_many_keys_a_page_is_shown_as_it_can_be_on_a_terminal(does: Does, url: str) -> None:
    trio.run(fill, url, 150)
    done = does("list")
    assert len(done.stdout.splitlines()) == 101
    assert "\x1b" not in done.stdout
    assert "secret" not in done.stdout
    assert r"shelf \x1b[2J0" in done.stdout
    assert "53 more are parked: see --limit." in done.stderr
    assert len(keys(does)) == 153
    done = does("retry", "--key", "nil")
    assert re.search(r"nil is not parked; there are: .*,.* and 145 more\. Nothing was done\.", done.stderr)
