"""`inspect` shows events, `stream` where they are and where they go."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from runnel_trio import App, Record, Stream
from runnel_trio._broker._values import Batch

MODULE = """
from datetime import date
from runnel_trio import App, Record
app = App("depot", default_partition_count=4)
class Item(Record):
    key: str
    n: int
items = app.stream("items", Item, partition_by="key")
class Day(Record, primitive=True):
    number: int
days = app.stream("days", Day, partition_by="number")
odd = app.stream("odd", Item, partition_by=lambda item: (item.key, item.n))
"""
#: The ids of the events, a second apart.
BEGAN = 1_750_000_000_000


class Item(Record):
    """As in MODULE."""

    key: str
    n: int


class Day(Record, primitive=True):
    """As in MODULE."""

    number: int


@pytest.fixture
def url(tmp_path: Path) -> str:
    (tmp_path / "depot.py").write_text(MODULE)
    return f"embedded://{tmp_path / 'data'}"


def streams(url: str) -> tuple[App, Stream[Item], Stream[Day]]:
    app = App("depot", default_partition_count=4, redis_url=url)
    return app, app.stream("items", Item, "key"), app.stream("days", Day, "number")


@pytest.fixture
def filled(url: str) -> str:
    """Twelve items of three keys, one second after the other; one that cannot be read; a day."""

    async def fill() -> None:
        app, items, days = streams(url)
        async with app.session(), items.connect(items) as broker:
            for n in range(12):
                await items.send(Item(key="abc"[n % 3], n=n), stream_ids=[f"{BEGAN + 1000 * n}-0"])
            await broker.append(
                items.spec, {0: Batch((b"data",), [b'{"key":"z"}'], ids=[b"%d-0" % (BEGAN + 99_000)])}
            )
            await days.send(Day(number=7))

    trio.run(fill)
    return url


@pytest.fixture
def inspect(filled: str, command: Callable[..., Any]) -> Callable[..., Any]:
    def run(*arguments: str, target: str = "depot:items") -> Any:
        return command("inspect", target, "--redis-url", filled, *arguments)

    return run


def numbers(done: Any) -> list[int]:
    assert done.returncode == 0, done.stderr
    return [int(n) for n in re.findall(r'"n": (\d+)', done.stdout)]


def test_events_of_all_partitions_come_in_the_order_of_time(inspect: Callable[..., Any]) -> None:
    done = inspect()
    assert numbers(done) == list(range(12))
    first = done.stdout.splitlines()[0]
    when = datetime.fromtimestamp(BEGAN / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.000")
    assert re.fullmatch(rf'\[\d\] {BEGAN}-0  {when}  \{{"key": "a", "n": 0\}}', first)


def test_what_is_no_record_is_shown_as_stored_with_what_is_wrong(inspect: Callable[..., Any]) -> None:
    last = inspect().stdout.splitlines()[-1]
    assert last.startswith(f"[0] {BEGAN + 99_000}-0  ")
    assert '{"data": "{\\"key\\":\\"z\\"}"}  (n: missing, and it has no default)' in last


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--key", "b"], [1, 4, 7, 10]),
        (["--from", f"{BEGAN + 9000}-0"], [9, 10, 11]),
        (["--from", datetime.fromtimestamp(BEGAN / 1000 + 9.5, UTC).isoformat()], [10, 11]),
        (["--from", f"{BEGAN + 2000}-0", "--limit", "3"], [2, 3, 4]),
        (["--key", "nobody"], []),
    ],
)
def test_some_of_them(arguments: list[str], expected: list[int], inspect: Callable[..., Any]) -> None:
    done = inspect(*arguments)
    assert numbers(done) == expected
    if not expected:
        assert "There are no such events." in done.stderr


def test_one_partition_alone(url: str, inspect: Callable[..., Any]) -> None:
    _, items, _ = streams(url)
    number = items.partition_of(Item(key="c", n=0))
    here = [n for n in range(12) if items.partition_of(Item(key="abc"[n % 3], n=0)) == number]
    assert numbers(inspect("--partition", str(number))) == here
    done = inspect("--partition", str((number + 1) % 4), "--key", "c")
    assert done.returncode == 2
    assert f"key 'c' is in partition {number}" in done.stderr


def test_for_programs_and_as_stored(inspect: Callable[..., Any]) -> None:
    document = json.loads(inspect("--json", "--limit", "1").stdout)
    assert document["record"] == {"key": "a", "n": 0}
    assert document["xid"] == f"{BEGAN}-0"
    assert datetime.fromisoformat(document["time"]).timestamp() == BEGAN / 1000
    assert '{"data": "{\\"key\\":\\"a\\",\\"n\\":0}"}' in inspect("--raw", "--limit", "1").stdout
    assert '{"number": 7}' in inspect(target="depot:days").stdout
    assert '{"number": "7"}' in inspect("--raw", target="depot:days").stdout


def test_it_follows_what_comes(filled: str, url: str, started: Callable[..., Any]) -> None:
    process = started(
        "inspect", "depot:items", "--redis-url", filled, "--from", "$", "--follow", "--limit", "2"
    )
    app, items, _ = streams(url)

    async def send_until_it_ends() -> None:
        with trio.fail_after(30):
            async with app.session():
                n = 100
                while process.poll() is None:
                    await items.send(Item(key="a", n=n))
                    n += 1
                    await trio.sleep(0.05)

    trio.run(send_until_it_ends)
    said, _ = process.communicate(timeout=60)
    first, second = map(int, re.findall(r'"n": (\d+)', said))
    assert second == first + 1 >= 101


def test_a_streams_partitions_are_listed(filled: str, command: Callable[..., Any]) -> None:
    done = command("stream", "info", "depot:items", "--redis-url", filled)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("depot.items: Item by key, ")
    assert lines[1] == "4 partitions of 50,000 events, overflow=block"
    assert re.fullmatch(r" +all +13 +13 +[\d.]+ [KM]?i?B", lines[-1])
    found = json.loads(command("stream", "info", "depot:items", "--json", "--redis-url", filled).stdout)
    assert sum(x["length"] for x in found["partitions"]) == 13


def test_the_partition_of_a_key_is_told_without_a_server(url: str, command: Callable[..., Any]) -> None:
    _, items, days = streams(url)
    there = command("stream", "partition-of", "depot:items", "7")
    assert there.stdout == f"{items.partition_of(Item(key='7', n=0))}\n"
    there = command("stream", "partition-of", "depot:days", "7")
    assert there.stdout == f"{days.partition_of(Day(number=7))}\n"
    assert command("stream", "partition-of", "depot:odd", "x").returncode == 0
    done = command("stream", "partition-of", "depot:days", "seven")
    assert done.returncode == 2
    assert "'seven' is no number of Day" in done.stderr


def test_an_event_of_a_hostile_sender_is_shown_in_one_printable_line(
    url: str, command: Callable[..., Any]
) -> None:
    async def fill() -> None:
        app, items, _ = streams(url)
        async with app.session(), items.connect(items) as broker:
            batch = Batch(
                (b"\x1b[2J", b"\xff"), [b"\xc2\x9b2J\n", b"\xe2\x80\xae"], ids=[b"18446744073709551615-7"]
            )
            await broker.append(items.spec, {0: batch})

    trio.run(fill)
    done = command("inspect", "depot:items", "--redis-url", url)
    (line,) = done.stdout.splitlines()
    assert line.isprintable()
    assert line.startswith("[0] 18446744073709551615-7  9999-12-31 ")
    assert "data: the entry has no such field" in line
