"""What real processes emit is stored once for each event, in the order of its key, however they end."""

from __future__ import annotations

import json
import signal
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from warm import Forked

KEYS, COUNT = 40, 50


@pytest.fixture
async def sent(server: str, start: Any, until: Any, tmp_path: Path) -> None:
    """Orders of many keys."""
    file = tmp_path / "orders.jsonl"
    orders = [{"key": f"k{key}", "n": n} for n in range(COUNT) for key in range(KEYS)]
    file.write_text("".join(json.dumps(order) + "\n" for order in orders))
    sender: Forked = start("sendmany", "emit_app:orders", str(file))
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0


def stored(redis: Redis) -> int:
    return sum(int(redis.xlen(f"runnel:{{emits:{n}}}:invoices:log")) for n in range(3))  # type: ignore[arg-type]  # sync


def invoices(redis: Redis) -> tuple[dict[str, list[tuple[int, int]]], set[int]]:
    """By key, what is stored; and the processes that have made it."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    made_by = set()
    for n in range(3):
        entries: Any = redis.xrange(f"runnel:{{emits:{n}}}:invoices:log")
        for _, fields in entries:
            invoice = json.loads(fields[b"data"])
            found[invoice["key"]].append((invoice["n"], invoice["part"]))
            made_by.add(invoice["pid"])
    return found, made_by


def is_done(redis: Redis) -> bool:
    logs = [f"runnel:{{emits:{n}}}:orders:log" for n in range(4)]
    groups: list[Any] = [redis.xinfo_groups(log) for log in logs if redis.exists(log)]
    return all(group["lag"] == 0 for (group,) in groups)


@pytest.mark.parametrize("lanes", ["1", "50"])
async def test_killed_and_frozen_workers_emit_nothing_twice_and_lose_nothing(
    sent: None, redis: Redis, start: Any, until: Any, lanes: str
) -> None:
    whole = 2 * KEYS * COUNT
    frozen = None
    for turn, share in enumerate([0.1, 0.3, 0.5, 0.7]):
        worker: Forked = start("run", "emit_app:app", LANES=lanes)
        await until(lambda share=share: stored(redis) >= share * whole)
        if turn == 1:
            frozen = worker
            worker.send_signal(signal.SIGSTOP)
        else:
            worker.kill()
            worker.wait()
    start("run", "emit_app:app", LANES=lanes)
    await until(lambda: stored(redis) >= 0.8 * whole)
    assert frozen is not None
    frozen.send_signal(signal.SIGCONT)
    await until(lambda: is_done(redis))
    found, made_by = invoices(redis)
    assert found == {f"k{key}": [(n, part) for n in range(COUNT) for part in range(2)] for key in range(KEYS)}
    assert len(made_by) >= 4, "several have done it"
