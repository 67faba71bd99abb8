"""An event that ends the process of whoever handles it is found, and ends only so many."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from warm import Forked

KEYS = "abcdefgh"


@pytest.fixture
async def sent(server: str, start: Any, until: Any, tmp_path: Path) -> None:
    """A hundred events of each key are in the stream."""
    file = tmp_path / "doses.jsonl"
    file.write_text("".join(json.dumps({"key": key, "n": n}) + "\n" for n in range(100) for key in KEYS))
    sender: Forked = start("sendmany", "poison_app:doses", str(file))
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0


def handled(log: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in log.read_text().splitlines():
        key, n = line.split()
        found.setdefault(key, []).append(int(n))
    return found


async def dies(start: Any, until: Any, how: str = "exit") -> None:
    worker: Forked = start("run", "poison_app:app", POISON_END=how)
    assert await until(lambda: worker.poll() is not None)
    assert worker.returncode == (9 if how == "exit" else -signal.Signals[how])


async def test_after_three_workers_the_partition_is_quarantined_and_the_others_are_done(
    sent: None, log: Path, redis: Redis, start: Any, until: Any
) -> None:
    for how in ("exit", "SIGSEGV", "SIGKILL"):
        await dies(start, until, how)
    survivor: Forked = start("run", "poison_app:app")
    (key,) = await until(lambda: set(redis.scan_iter("*:quarantine:swallow")))
    why = json.loads(redis.get(key))
    assert why["error"].startswith("Poisoned: ")
    assert "3 workers" in why["error"]
    together = {name for name in KEYS if handled(log).get(name, [0])[-1] != 99}
    await until(lambda: {name for name in KEYS if handled(log)[name][-1] == 99} >= set(KEYS) - together)
    assert handled(log)["a"].count(50) == 3
    assert handled(log)["a"][-1] == 50
    assert survivor.poll() is None


async def test_or_it_is_a_letter_and_the_partition_goes_on(
    sent: None, log: Path, redis: Redis, start: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POISON_LETTERS", "1")
    for _ in range(3):
        await dies(start, until)
    start("run", "poison_app:app")
    await until(lambda: all(handled(log).get(key, [0])[-1] == 99 for key in KEYS))
    assert handled(log)["a"].count(50) == 3
    (letters,) = set(redis.scan_iter("*:dead:log"))
    ((_, fields),) = redis.xrange(letters)
    letter = json.loads(fields[b"data"])
    assert letter["error"].startswith("Poisoned: ")
    assert letter["stream"] == "doses"
