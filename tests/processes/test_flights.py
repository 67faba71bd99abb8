"""The main job, with real flights: by one command, and with worker and sender as processes that may be killed.

Set RUNNEL_FLIGHTS to a directory of months (NAME.jsonl.gz with NAME.expected.json) to run all of this over those.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "src" / "runnel_trio" / "_demo" / "sample.jsonl.gz"
APP = "examples.flights.app"


def planes(redis: Redis) -> dict[str, Any]:
    """What they are."""
    found: Any = redis.hgetall("{flights}:planes")
    return {tailnum.decode(): json.loads(plane) for tailnum, plane in found.items()}


def one_command(file: Path | str) -> subprocess.CompletedProcess[str]:
    """Run the example over a file, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "examples.flights", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_one_command_runs_it_all_and_checks_itself(flights: Path, expected: dict[str, Any]) -> None:
    done = one_command(flights)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "the ten busiest aircraft" in done.stdout
    assert f"Right: all {len(expected):,} histories equal" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    busiest = sorted(expected, key=lambda tailnum: (-expected[tailnum]["flights"], tailnum))[:10]
    totals = {
        name: sum(plane[name] for plane in expected.values()) for name in ("flights", "miles", "delayed")
    }
    rows = [line.split() for line in done.stdout.splitlines()]
    first = rows.index(["aircraft", "flights", "miles", "delayed", "history"]) + 1
    assert rows[first : first + 10] == [[tailnum, *cells(expected[tailnum])] for tailnum in busiest]
    assert rows[first + 10] == ["all", *cells(totals)]


def cells(plane: dict[str, Any]) -> list[str]:
    """As they stand in the table."""
    columns = [name for name in ("flights", "miles", "delayed", "digest") if name in plane]
    return [plane[name] if name == "digest" else f"{plane[name]:,}" for name in columns]


def test_a_wrong_history_is_named_and_fails(tmp_path: Path) -> None:
    lines = gzip.decompress(SAMPLE.read_bytes()).splitlines(keepends=True)
    (tmp_path / "few.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:50])))
    wanted = {"by_plane": {"N00000": {"flights": 99, "miles": 1, "delayed": 0, "digest": "0f"}}}
    (tmp_path / "few.expected.json").write_text(json.dumps(wanted))
    done = one_command(tmp_path / "few.jsonl.gz")
    assert done.returncode == 1
    assert "WRONG, unlike few.expected.json: 51 histories." in done.stdout
    assert "expected        99            1        0   0f\nfound     " in done.stdout


def test_a_file_that_is_not_there_is_named() -> None:
    done = one_command("nowhere.jsonl.gz")
    assert (done.returncode, done.stdout, done.stderr) == (
        2,
        "",
        "Error: there is no file nowhere.jsonl.gz\n",
    )


async def test_worker_and_sender_by_hand(
    tmp_path: Path,
    flights: Path,
    expected: dict[str, Any],
    redis: Redis,
    start: Any,
    until: Any,
    groups: Callable[[], list[dict[str, Any]]],
) -> None:
    shared = f"--embedded={tmp_path / 'data'}"
    worker = start("run", f"{APP}:app", shared)
    sender = start("sendmany", f"{APP}:flights", str(flights), shared)
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0
    await until(lambda: planes(redis) == expected)
    await until(lambda: all(group["lag"] == 0 for group in groups()))
    assert all(group["pending"] == 0 for group in groups())
    assert len(groups()) == 16
    assert sum(group["entries-read"] for group in groups()) == sum(x["flights"] for x in expected.values())
    worker.terminate()
    assert await until(lambda: worker.poll() is not None)
    assert worker.returncode == 0


@pytest.mark.parametrize("seed", range(int(os.environ.get("RUNNEL_SOAK", "1"))))
async def test_a_worker_that_is_killed_in_the_middle_leaves_every_history_right(
    seed: int,
    flights: Path,
    expected: dict[str, Any],
    redis: Redis,
    start: Any,
    until: Any,
    groups: Callable[[], list[dict[str, Any]]],
) -> None:
    chance = random.Random(seed)
    total = sum(plane["flights"] for plane in expected.values())
    settings = {
        "RUNNEL_DEFAULT_LOCK_EXPIRY": "1",
        "RUNNEL_DEFAULT_MAX_UNACKED": "100",
        "RUNNEL_DEFAULT_MAX_ATTEMPTS": "10",  # three kills may meet one event, which is not to blame
    }
    sender = start("sendmany", f"{APP}:flights", str(flights))
    assert await until(lambda: sender.poll() is not None)
    applied = 0
    for _ in range(3):
        worker = start("run", f"{APP}:app", **settings)
        goal = min(applied + chance.randrange(total // 5), total - 1)

        def flown() -> int:
            return sum(plane["flights"] for plane in planes(redis).values())

        await until(lambda goal=goal: flown() > goal)
        worker.kill()
        worker.wait()
        applied = flown()
    start("run", f"{APP}:app", **settings)
    await until(lambda: planes(redis) == expected)
    await until(lambda: all(group["lag"] == 0 and group["pending"] == 0 for group in groups()))


async def test_other_partitions_and_kills_leave_every_history_right(
    tmp_path: Path, flights: Path, expected: dict[str, Any], redis: Redis, start: Any, until: Any
) -> None:
    settings = {
        "RUNNEL_DEFAULT_LOCK_EXPIRY": "1",
        "RUNNEL_DEFAULT_MAX_UNACKED": "100",
        "RUNNEL_DEFAULT_MAX_ATTEMPTS": "10",
        "RUNNEL_DEFAULT_PARTITION_COUNT": "4",
    }
    lines = gzip.decompress(flights.read_bytes()).splitlines(keepends=True)
    total = sum(plane["flights"] for plane in expected.values())

    async def done(*command: str) -> None:
        process = start(*command, **settings)
        assert await until(lambda: process.poll() is not None)
        assert process.returncode == 0

    async def send(name: str, some: list[bytes]) -> None:
        (tmp_path / name).write_bytes(b"".join(some))
        await done("sendmany", f"{APP}:flights", str(tmp_path / name))

    def flown() -> int:
        return sum(plane["flights"] for plane in planes(redis).values())

    await send("first.jsonl", lines[: len(lines) // 2])
    workers = [start("run", f"{APP}:app", **settings) for _ in range(2)]
    await until(lambda: flown() > total // 10)
    workers[0].kill()
    workers.append(start("run", f"{APP}:app", **settings))
    await done("stream", "repartition", f"{APP}:flights", "--to", "6")
    await send("second.jsonl", lines[len(lines) // 2 :])
    await until(lambda: flown() > total * 6 // 10)
    workers[1].kill()
    await until(lambda: planes(redis) == expected)
