"""Partitions in quarantine are shown, and go on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from runnel_trio import App, ExceptionPolicy, Record

WAREHOUSE = """
from runnel_trio import App, Record
app = App("warehouse", default_partition_count=2)
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
        async with app.worker(), app._shared.used() as broker:
            await items.send(Item(key="a", n=7))
            with trio.fail_after(20):
                while not any(await broker.quarantined(count.spec, [0, 1])):
                    await trio.sleep(0.01)

    trio.run(stand_still)
    return url


def test_it_is_shown_lifted_and_gone(quarantined: str, command: Callable[..., Any]) -> None:
    shown = command("resume", "warehouse:count", "--redis-url", quarantined, "--dry-run")
    assert shown.returncode == 0
    assert re.search(r"items\[\d\] stands still at \d+-0 since 20.*: ValueError: no item 7", shown.stderr)
    assert 'raise ValueError(f"no item {item.n}")' in shown.stderr
    lifted = command("resume", "warehouse:count", "--redis-url", quarantined, "--skip")
    assert "goes on, without it." in lifted.stderr
    again = command("resume", "warehouse:count", "--redis-url", quarantined)
    assert again.stderr == "No partition is in quarantine.\n"


def test_a_partition_that_does_not_exist_is_refused(quarantined: str, command: Callable[..., Any]) -> None:
    done = command("resume", "warehouse:count", "--redis-url", quarantined, "--partition", "2")
    assert done.returncode == 2
    assert "has no partition 2: they are 0 to 1" in done.stderr
