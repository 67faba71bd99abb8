"""Dead letters are listed, shown, replayed and dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
import trio

from runnel_trio import App, ExceptionPolicy, Record
from runnel_trio._broker import open_broker
from runnel_trio._broker._values import ServerConfig
from runnel_trio.middleware import Dead

WAREHOUSE = """
from runnel_trio import App, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware
app = App("warehouse", default_partition_count=2)
class Item(Record):
    key: str
    n: int
items = app.stream("items", Item, partition_by="key")
dead = DeadLetterMiddleware(app.stream("dead-items", record=Dead, partition_by="xid"))
@app.processor(items, exception_policy="quarantine", middleware=[dead])
async def count(events):
    async for item in events.records():
        pass
"""


class Item(Record):
    """As in WAREHOUSE."""

    key: str
    n: int


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Of a server where a partition stands still at an event that has become no dead letter."""
    (tmp_path / "warehouse.py").write_text(WAREHOUSE)
    url = f"embedded://{tmp_path / 'data'}"
    app = App("warehouse", default_partition_count=2, redis_url=url)
    items = app.stream("items", Item, partition_by="key")
    app.stream("dead-items", record=Dead, partition_by="xid")

    @app.processor(items, exception_policy=ExceptionPolicy.QUARANTINE)
    async def count(events: Any) -> None:
        async for item in events.records():
            raise ValueError(f"no item {item.n}")

    async def stand_still() -> None:
        async with app.worker():
            await items.send(Item(key="a", n=7))
            with trio.fail_after(60):
                while not await count.quarantined():
                    await trio.sleep(0.01)

    trio.run(stand_still)
    return url


def test_a_letter_is_made_listed_shown_and_goes_back(url: str, command: Callable[..., Any]) -> None:
    def letters(verb: str, *arguments: str) -> Any:
        return command("dead-letters", verb, "warehouse:count", "--redis-url", url, *arguments)

    made = command("processor", "resume", "warehouse:count", "--redis-url", url, "--dead-letter")
    assert made.returncode == 0, made.stderr
    assert "can be found among the dead letters" in made.stderr
    document = json.loads(letters("list", "--json").stdout)
    assert (document["stream"], document["error"]) == ("items", "ValueError: no item 7")
    assert "raise ValueError(" in letters("show", document["id"]).stdout
    assert letters("replay", document["id"]).stderr == "Sent 1 dead letter back to items.\n"
    assert letters("list").stderr == "There are no dead letters.\n"
    reset = command("processor", "reset", "warehouse:count", "--redis-url", url, "--dry-run")
    assert "2 events to be processed, 1 before" in reset.stderr


def test_who_only_looks_writes_nothing(tmp_path: Path, command: Callable[..., Any]) -> None:
    (tmp_path / "warehouse.py").write_text(WAREHOUSE)
    looks = [
        ["dead-letters", "list", "warehouse:count"],
        ["processor", "resume", "warehouse:count", "--dead-letter"],
        *(["processor", x, "warehouse:count", "--dry-run"] for x in ("reset", "pause", "drop")),
    ]
    assert "there is no directory nowhere" in command(*looks[0], "--embedded=nowhere").stderr

    async def commands() -> None:
        async with open_broker(ServerConfig(f"embedded://{tmp_path / 'data'}")) as broker:
            for words in looks:
                done = await trio.to_thread.run_sync(lambda w=words: command(*w, "--redis-url", broker.url))
                assert done.returncode == 0, done.stderr
            client = redis.Redis.from_url(broker.url)
            assert await trio.to_thread.run_sync(client.dbsize) == 0
            client.close()

    trio.run(commands)


def test_what_is_dropped_is_gone(url: str, command: Callable[..., Any]) -> None:
    command("processor", "resume", "warehouse:count", "--redis-url", url, "--dead-letter")
    target = ("warehouse:count", "--redis-url", url)
    assert command("dead-letters", "drop", *target).returncode == 2
    unknown = command("dead-letters", "drop", *target, "0/1-1")
    assert (unknown.returncode, "has no letter 0/1-1" in unknown.stderr) == (2, True)
    assert command("dead-letters", "drop", *target, "--all", stdin="n\n").returncode == 130
    assert command("dead-letters", "drop", *target, "--all", "--yes").stderr == "Dropped 1 dead letter.\n"
    assert command("dead-letters", "list", *target).stdout == ""


def test_a_letter_of_a_stream_in_a_file_of_autodiscover_goes_back(
    url: str, tmp_path: Path, command: Callable[..., Any]
) -> None:
    (tmp_path / "crates.py").write_text(
        "from warehouse import Item, app, dead\n"
        "crates = app.stream('crates', Item, partition_by='key')\n"
        "@app.processor(crates, middleware=[dead])\n"
        "async def pack(events):\n"
        "    async for item in events.records(): ...\n"
    )
    app = App("warehouse", default_partition_count=2, redis_url=url)
    sink = app.stream("dead-items", record=Dead, partition_by="xid")
    data = {"data": b"{}"}
    facts: dict[str, Any] = {"partition": 0, "xid": "5-1", "error": "no", "traceback": "", "data": data}

    async def fail() -> None:
        await sink.send(Dead(stream="crates", time=datetime.now(UTC), **facts))

    trio.run(fail)
    replay = ["dead-letters", "replay", "warehouse:count", "--redis-url", url, "--all"]
    unknown = command(*replay)
    assert (unknown.returncode, "is of stream 'crates': it is not declared" in unknown.stderr) == (78, True)
    done = command(*replay, RUNNEL_AUTODISCOVER="crates.py")
    assert done.returncode == 0, done.stderr


def test_a_partition_that_is_none_is_wrong_with_the_command_line(
    url: str, command: Callable[..., Any]
) -> None:
    for what in (["dead-letters", "list", "warehouse:count"], ["inspect", "warehouse:items"]):
        done = command(*what, "--partition", "9", "--redis-url", url)
        assert done.returncode == 2
        assert "has no partition 9: they are 0 to 1" in done.stderr
