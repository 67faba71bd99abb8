"""Workers that are killed or frozen: nothing is lost or out of order, and little is repeated."""

from __future__ import annotations

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

EVENTS, KEYS, MAX_UNACKED = 20_000, 40, 50


@attrs.frozen
class Line:
    """One handled event, as `ordered_app` writes it down."""

    partition: int
    epoch: int
    key: str
    n: int
    process: int

    @classmethod
    def read(cls, text: str) -> Line:
        partition, epoch, key, n, process = text.split()
        return cls(int(partition), int(epoch), key, int(n), int(process))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workers write."""
    path = tmp_path / "handled"
    path.touch()
    monkeypatch.setenv("ORDERED_LOG", str(path))
    return path


def lines(log: Path) -> list[Line]:
    return [Line.read(text) for text in log.read_text().splitlines()]


def lives(log: Path) -> Iterator[tuple[int, list[list[Line]]]]:
    """For each partition, what each of its owners handled, by rising epoch."""
    by_partition: dict[int, dict[int, list[Line]]] = {}
    for line in lines(log):
        by_partition.setdefault(line.partition, {}).setdefault(line.epoch, []).append(line)
    for partition, owners in by_partition.items():
        yield partition, [owners[epoch] for epoch in sorted(owners)]


def check(log: Path) -> None:
    """Every key complete and in order; each owner began at most `MAX_UNACKED` before where the last one was."""
    for partition, owners in lives(log):
        for one, other in itertools.pairwise(owners):
            handled = [(line.key, line.n) for line in one]
            again = [(line.key, line.n) for line in other]
            common = len(set(handled) & set(again))
            assert common <= MAX_UNACKED + 1, f"partition {partition}"
            assert handled[len(handled) - common :] == again[:common], f"partition {partition}"
        for key in {line.key for owner in owners for line in owner}:
            known: list[int] = []
            for owner in owners:
                mine = [line.n for line in owner if line.key == key]
                assert mine == sorted(set(mine)), f"{key} out of order"
                known += [n for n in mine if not known or n > known[-1]]
            assert known == list(range(EVENTS // KEYS)), f"{key} incomplete"
    assert {line.key for line in lines(log)} == {f"key-{k}" for k in range(KEYS)}


@pytest.fixture
async def sent(server: str, tmp_path: Path, start: Any, until: Any) -> None:
    """All events are in the stream."""
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f'{{"key": "key-{n % KEYS}", "n": {n // KEYS}}}\n' for n in range(EVENTS)))
    sender = start("sendmany", "ordered_app:numbered", str(file))
    assert await until(lambda: sender.poll() is not None)
    assert sender.returncode == 0


def count(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def done(groups: Callable[[], list[dict[str, Any]]]) -> bool:
    found = groups()
    return len(found) == 4 and all(group["lag"] == 0 for group in found)


@pytest.mark.parametrize("seed", range(int(os.environ.get("RUNNEL_SOAK", "2"))))
async def test_workers_killed_at_any_moment(
    seed: int, sent: None, log: Path, start: Any, until: Any, groups: Any
) -> None:
    chance = random.Random(seed)
    kills = 0
    while not done(groups):
        goal = count(log) + chance.randrange(1, EVENTS // 4)
        worker: subprocess.Popen[bytes] = start("run", "ordered_app:app")
        await until(lambda goal=goal: count(log) >= goal or done(groups))
        worker.kill()
        worker.wait()
        kills += 1
    assert kills > 1
    check(log)


async def test_a_frozen_owner_wakes_up_and_does_no_harm(
    sent: None, log: Path, start: Any, until: Any, groups: Any
) -> None:
    frozen: subprocess.Popen[bytes] = start("run", "ordered_app:app")
    await until(lambda: count(log) > 100)
    frozen.send_signal(signal.SIGSTOP)
    start("run", "ordered_app:app")
    await until(lambda: done(groups))
    before = count(log)
    frozen.send_signal(signal.SIGCONT)
    frozen.terminate()
    assert await until(lambda: frozen.poll() is not None)
    assert frozen.returncode == 0
    late = lines(log)[before:]
    assert len(late) <= 1, "no more than the event that was in hand"
    check(log)
