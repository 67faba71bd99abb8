"""Jobs of many keys, each of which takes a while: the work that lanes are for.

Peers import it too, so it imports nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections import Counter
from collections.abc import Sequence

from benchmarks.workload import PARTITIONS, Result

#: Keys at a time, in each partition.
LANES = 100
#: Of the workload with 16 partitions: how many keys, and the milliseconds that each job takes.
KEYS, EACH = 500, 50


@dataclasses.dataclass
class Job:
    """One event of a key, and the milliseconds that it takes."""

    key: int
    ms: int


def jobs(count: int, keys: int) -> list[Job]:
    """Of 0 to 5 ms each, for random keys; the same ones every time."""
    chance = random.Random(1)
    return [Job(chance.randrange(keys), chance.randrange(6)) for _ in range(count)]


def long_jobs(count: int) -> list[Job]:
    """Of 50 ms each, for one key after the other."""
    return [Job(number % KEYS, EACH) for number in range(count)]


def written(job: Job) -> str:
    """A job as JSON."""
    return json.dumps(dataclasses.asdict(job))


def partition_of(job: Job) -> int:
    return job.key % PARTITIONS


def ideal(those: Sequence[Job]) -> float:
    """Seconds that a partition's jobs take at least: its longest key's, or all, 100 at a time."""
    each = Counter[int]()
    for job in those:
        each[job.key] += job.ms
    return max(*each.values(), each.total() / LANES) / 1000


class Clock:
    """Runs from the first job in hand until the last one is done."""

    def __init__(self, count: int) -> None:
        self.count = self.left = count
        self.began = self.seconds = 0.0

    def begin(self) -> None:
        """A job is in hand."""
        self.began = self.began or time.perf_counter()

    def end(self) -> bool:
        """A job is done; whether it was the last one."""
        self.left -= 1
        self.seconds = time.perf_counter() - self.began
        return self.left <= 0

    def found(self) -> Result:
        return {"seconds": self.seconds, "rate": self.count / self.seconds, "events": self.count}
