"""Sums in a table, by real processes that are killed and frozen: each payment counts once."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from warm import Forked

CUSTOMERS, COUNT = 150, 120


@pytest.fixture
async def sent(server: str, start: Any, until: Any, tmp_path: Path) -> Counter[str]:
    """What each customer has paid in the end."""
    file, paid = tmp_path / "payments.jsonl", Counter[str]()
    with file.open("w") as out:
        for n in range(COUNT):
            for customer in range(CUSTOMERS):
                amount = (n * 31 + customer) % 100 + 1
                paid[f"c{customer}"] += amount
                out.write(json.dumps({"customer": f"c{customer}", "amount": amount}) + "\n")
    sender: Forked = start("sendmany", "tables_app:payments", str(file))
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0
    return paid


def stored(redis: Redis) -> dict[str, tuple[int, int]]:
    """What each customer has paid by the tables, and with how many payments: read as a stranger would."""
    found = {}
    for number in range(3):
        table: Any = redis.hgetall(f"runnel:{{tables:{number}}}:payments:table:total:accounts")
        for field, value in table.items():
            plain = json.loads(value[10:])
            found[field.partition(b":s")[2].decode()] = plain["spent"], plain["payments"]
    return found


def handled(redis: Redis) -> int:
    return sum(payments for _, payments in stored(redis).values())


@pytest.mark.parametrize("lanes", ["1", "20"])
async def test_sums_are_exact_although_workers_are_killed_and_frozen(
    sent: Counter[str], redis: Redis, start: Any, until: Any, lanes: str
) -> None:
    workers: list[Forked] = [start("run", "tables_app:app", TABLES_LANES=lanes) for _ in range(2)]
    step = CUSTOMERS * COUNT // 10
    for at in range(step, 9 * step, step):
        await until(lambda at=at: handled(redis) >= at)
        victim = workers.pop(0)
        if at % (2 * step):
            victim.kill()
            victim.wait()
        else:
            victim.send_signal(signal.SIGSTOP)
        workers.append(start("run", "tables_app:app", TABLES_LANES=lanes))
        if not at % (2 * step):
            await until(lambda at=at: handled(redis) >= at + step // 2)
            victim.send_signal(signal.SIGCONT)
    await until(lambda: handled(redis) >= CUSTOMERS * COUNT)
    assert stored(redis) == {customer: (paid, COUNT) for customer, paid in sent.items()}
