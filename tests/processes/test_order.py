"""Workers that are killed or frozen: nothing is lost or out of order, and little is repeated."""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from redis import Redis

#: As in `flown_app`.
MAX_UNACKED = 50


@attrs.frozen
class Line:
    """One handled event, as `flown_app` writes it down."""

    partition: int
    epoch: int
    xid: tuple[int, ...]
    tailnum: str
    leg: str

    @classmethod
    def read(cls, text: str) -> Line:
        partition, epoch, xid, tailnum, leg = text.split(" ")
        return cls(int(partition), int(epoch), tuple(map(int, xid.split("-"))), tailnum, leg)


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers write."""
    path = tmp_path / "flown"
    path.touch()
    monkeypatch.setenv("FLOWN_LOG", str(path))
    return path


def lines(log: Path) -> list[Line]:
    return [Line.read(text) for text in log.read_text().splitlines()]


def count(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def owners(log: Path) -> Iterator[tuple[int, list[list[Line]]]]:
    """For each partition, what each of its owners handled, by rising epoch."""
    by_partition: dict[int, dict[int, list[Line]]] = {}
    for line in lines(log):
        by_partition.setdefault(line.partition, {}).setdefault(line.epoch, []).append(line)
    for partition, found in by_partition.items():
        yield partition, [found[epoch] for epoch in sorted(found)]


def check(log: Path, expected: dict[str, Any]) -> int:
    """Every aircraft's flights are there, in order; how many events were handled twice."""
    digests: dict[str, str] = {}
    repeated = 0
    for partition, lives in owners(log):
        handled: list[Line] = []
        for life in lives:
            assert all(a.xid < b.xid for a, b in itertools.pairwise(life)), (
                f"partition {partition}: out of order"
            )
            again = [line for line in life if handled and line.xid <= handled[-1].xid]
            at = [x.xid for x in handled].index(again[0].xid) if again else len(handled)
            assert len(handled) - at <= MAX_UNACKED, f"partition {partition}"
            before = handled[at:]
            # Who is killed again before it has come to something new has repeated a part of it.
            part = before if len(life) > len(again) else before[: len(again)]
            assert [x.xid for x in again] == [x.xid for x in part], (
                f"partition {partition}: not what came last"
            )
            handled += life[len(again) :]
            repeated += len(again)
        for line in handled:
            text = f"{digests.get(line.tailnum, '')}|{line.leg}"
            digests[line.tailnum] = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert digests == {tailnum: plane["digest"] for tailnum, plane in expected.items()}
    return repeated


@pytest.fixture
async def total(server: str, flights: Path, expected: dict[str, Any], start: Any, until: Any) -> int:
    """How many events there are; all of them are in the stream."""
    sender = start("sendmany", "flown_app:flights", str(flights))
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0
    return sum(plane["flights"] for plane in expected.values())


def done(groups: Callable[[], list[dict[str, Any]]]) -> bool:
    found = groups()
    return len(found) == 16 and all(group["lag"] == 0 and group["pending"] == 0 for group in found)


@pytest.mark.parametrize("seed", range(int(os.environ.get("RUNNEL_SOAK", "2"))))
async def test_workers_killed_at_any_moment(
    seed: int, total: int, log: Path, expected: dict[str, Any], start: Any, until: Any, groups: Any
) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        goal = count(log) + chance.randrange(1, total // 5)
        worker: subprocess.Popen[bytes] = start("run", "flown_app:app")
        await until(lambda goal=goal: count(log) >= goal)
        worker.kill()
        worker.wait()
        assert not done(groups), "killed in the middle"
    start("run", "flown_app:app")
    await until(lambda: done(groups))
    assert check(log, expected) <= 3 * 16 * MAX_UNACKED


async def test_a_frozen_owner_wakes_up_and_does_no_harm(
    total: int, log: Path, expected: dict[str, Any], start: Any, until: Any, groups: Any
) -> None:
    frozen: subprocess.Popen[bytes] = start("run", "flown_app:app")
    await until(lambda: count(log) > total // 10)
    frozen.send_signal(signal.SIGSTOP)
    start("run", "flown_app:app")
    await until(lambda: done(groups))
    before = count(log)
    frozen.send_signal(signal.SIGCONT)
    frozen.terminate()
    assert await until(lambda: frozen.poll() is not None)
    assert frozen.returncode == 0
    late = lines(log)[before:]
    assert len(late) == len({line.partition for line in late}), "no more than the event that was in hand"
    check(log, expected)


async def test_a_lone_worker_that_was_frozen_for_longer_than_its_lease_goes_on(
    total: int, log: Path, expected: dict[str, Any], redis: Redis, start: Any, until: Any, groups: Any
) -> None:
    worker: subprocess.Popen[bytes] = start("run", "flown_app:app")
    await until(lambda: count(log) > total // 10)
    worker.send_signal(signal.SIGSTOP)
    await until(lambda: expired(redis))
    assert not done(groups), "frozen in the middle"
    worker.send_signal(signal.SIGCONT)
    await until(lambda: done(groups))
    assert check(log, expected) <= 16 * MAX_UNACKED


def expired(redis: Redis) -> bool:
    """Whether the time of every member is over, by the server's clock."""
    seconds, microseconds = redis.time()
    (members,) = redis.scan_iter("*:members")
    deadlines = [int(v.split()[0]) for k, v in redis.hgetall(members).items() if k.startswith(b"m:")]
    return bool(deadlines) and max(deadlines) < seconds * 1000 + microseconds // 1000


async def test_a_worker_that_is_killed_and_with_it_its_server_goes_on_from_its_directory(
    embedded: str, flights: Path, log: Path, expected: dict[str, Any], start: Any, until: Any
) -> None:
    total = sum(plane["flights"] for plane in expected.values())
    sender = start("sendmany", "flown_app:flights", str(flights))
    assert await until(lambda: sender.poll() is not None)
    worker: subprocess.Popen[bytes] = start("run", "flown_app:app")
    await until(lambda: count(log) > total // 3)
    worker.kill()
    worker.wait()
    start("run", "flown_app:app")
    await until(lambda: count(log) >= total and len({(x.partition, x.xid) for x in lines(log)}) == total)
    assert check(log, expected) <= 16 * MAX_UNACKED
