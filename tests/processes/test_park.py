"""Keys that are parked and tried again in real processes, which are killed, frozen and moved: in order, nothing lost."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from parked_app import MAX_UNACKED
from redis import Redis
from warm import Forked

KEYS, COUNT = 60, 40


@pytest.fixture
async def sent(server: str, start: Any, until: Any, log: Path, tmp_path: Path) -> None:
    await send(start, until, log, tmp_path)


async def send(start: Any, until: Any, log: Path, tmp_path: Path) -> None:
    """Forty events of each of sixty keys, of which every third one will fail."""
    (log.parent / "broken").touch()
    file = tmp_path / "steps.jsonl"
    file.write_text(
        "".join(json.dumps({"key": key, "n": n}) + "\n" for n in range(COUNT) for key in range(KEYS))
    )
    sender: Forked = start("sendmany", "parked_app:steps", str(file))
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0


def lines(log: Path) -> list[tuple[str, int, int, int, int, int]]:
    found = [line.split() for line in log.read_text().splitlines()]
    return [(x[0], int(x[1]), int(x[2]), int(x[3]), int(x[4]), int(x[5])) for x in found]


def repeats(log: Path) -> int:
    """Every key's events were handled in order, all of them; how many were handled twice."""
    done: Counter[int] = Counter()
    repeated = 0
    for what, key, n, *_ in lines(log):
        assert n <= done[key], f"{key}: {n} was {what} after {done[key] - 1}"
        if what == "done":
            repeated += n < done[key]
            done[key] = max(done[key], n + 1)
    assert done == dict.fromkeys(range(KEYS), COUNT)
    return repeated


def failures(log: Path) -> int:
    return sum(what == "failed" for what, *_ in lines(log))


def healthy_are_done(log: Path) -> bool:
    done = {(key, n) for what, key, n, *_ in lines(log) if what == "done" and key % 3}
    return len(done) == COUNT * KEYS * 2 // 3


def parked(redis: Redis) -> int:
    keys: Any = redis.scan_iter("*:parked:walk")
    return sum(int(redis.hlen(key)) for key in keys)  # type: ignore[arg-type]  # sync


def handled(log: Path) -> int:
    return len({(key, n) for what, key, n, *_ in lines(log) if what == "done"})


def servers(url: str) -> list[int]:
    """The process of the directory's server, if there is one."""
    directory = url.removeprefix("embedded://")
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_ours = "valkey" in (path / "comm").read_text() and os.readlink(path / "cwd") == directory
        except OSError:
            continue  # it has ended meanwhile
        found += [int(path.name)] if is_ours else []
    return found


def all_done(log: Path, redis: Redis) -> bool:
    return handled(log) == COUNT * KEYS and not list(redis.scan_iter("*:keys:walk")) and not parked(redis)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


async def test_killed_while_parked_keys_are_replayed_workers_go_on_in_order(
    sent: None, log: Path, redis: Redis, start: Any, until: Any
) -> None:
    worker: Forked = start("run", "parked_app:app")
    await until(lambda: healthy_are_done(log))
    for kills in range(1, 4):
        count = failures(log)
        await until(lambda count=count: failures(log) > count + 10)
        if kills == 3:
            (log.parent / "broken").unlink()
            await until(lambda: parked(redis) < 500)
        worker.kill()
        worker.wait()
        worker = start("run", "parked_app:app")
    await until(lambda: all_done(log, redis))
    assert repeats(log) <= 3 * 4 * MAX_UNACKED


async def test_frozen_while_it_replays_a_worker_begins_nothing_more(
    sent: None, log: Path, redis: Redis, start: Any, until: Any
) -> None:
    frozen: Forked = start("run", "parked_app:app")
    await until(lambda: healthy_are_done(log) and failures(log) > 30)
    (log.parent / "broken").unlink()
    await until(lambda: parked(redis) < 700)
    frozen.send_signal(signal.SIGSTOP)
    await until(lambda: is_stopped(frozen.pid))
    count = len(lines(log))
    start("run", "parked_app:app")
    await until(lambda: len(lines(log)) > count + 200)
    frozen.send_signal(signal.SIGCONT)
    await until(lambda: all_done(log, redis))
    before = {epoch for *_, pid, _, epoch in lines(log)[:count] if pid == frozen.pid}
    late = [x for x in lines(log)[count:] if x[0] == "begun" and x[3] == frozen.pid and x[5] in before]
    assert len(late) <= 1, "one may have been on its way to the handler when the process was stopped"
    assert repeats(log) <= 4 * MAX_UNACKED + 1


async def test_parked_keys_go_along_from_four_partitions_to_sixteen(
    sent: None, log: Path, redis: Redis, start: Any, until: Any
) -> None:
    workers: list[Forked] = [start("run", "parked_app:app") for _ in range(2)]
    await until(lambda: failures(log) > 20)
    command: Forked = start("stream", "repartition", "parked_app:steps", "--to", "16")
    await until(lambda: redis.hexists("runnel:{parks}:steps:meta", "draining"))
    workers[0].kill()
    assert await until(lambda: command.poll() is not None)
    assert command.returncode == 0
    assert not list(redis.scan_iter("*steps:keys:walk")), "nothing is parked in the former partitions"
    count = failures(log)
    await until(lambda: failures(log) > count + 10)
    (log.parent / "broken").unlink()
    await until(lambda: all_done(log, redis))
    assert repeats(log) <= 4 * MAX_UNACKED
    assert {layout for *_, layout, _ in lines(log)} == {1, 2}


async def test_what_is_parked_survives_a_restart_of_the_server(
    log: Path, embedded: str, start: Any, until: Any, tmp_path: Path
) -> None:
    """Nobody else holds the server up: it ends with each process, and the next one starts it again."""
    await send(start, until, log, tmp_path)
    worker: Forked = start("run", "parked_app:app")
    await until(lambda: healthy_are_done(log) and failures(log) > 30)
    assert handled(log) < KEYS * COUNT
    (pid,) = servers(embedded)
    worker.kill()
    worker.wait()
    await until(lambda: not servers(embedded))
    (log.parent / "broken").unlink()
    start("run", "parked_app:app")
    await until(lambda: handled(log) == KEYS * COUNT)
    assert servers(embedded) != [pid]
    assert repeats(log) <= 4 * MAX_UNACKED
