"""What every contender works on: orders of a thousand customers, in 16 partitions."""

from __future__ import annotations

import dataclasses
import resource
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

APP = "bench"
PARTITIONS = 16
CHUNK = 1000
START = datetime(2026, 1, 1)

#: What a contender has found out, by name: events/s, seconds, shares of a core, MiB.
Result = dict[str, float]
#: A contender: the server's URL, how many events, and a number that makes names unique.
Contender = Callable[[str, int, int], Result]


@dataclasses.dataclass
class Plain:
    """An order as one would declare it without a framework."""

    order_id: int
    created_at: datetime
    amount: int
    item_ids: list[int]


def orders(kind: Callable[..., Any], count: int) -> list[Any]:
    """So many orders of a class with these fields."""
    return [
        kind(
            order_id=number % 1000,
            created_at=START + timedelta(seconds=number),
            amount=number % 97,
            item_ids=[1, number % 7, 3],
        )
        for number in range(count)
    ]


def chunks(items: list[Any]) -> Iterator[list[Any]]:
    """Parts of what one call may take."""
    for first in range(0, len(items), CHUNK):
        yield items[first : first + CHUNK]


def rate(count: int, began: float) -> Result:
    """Events per second since ``began``, and the most memory that this process has used."""
    seconds = time.perf_counter() - began
    return {"rate": count / seconds, "rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def percentiles(latencies: list[float]) -> Result:
    """Of seconds."""
    ordered = sorted(latencies)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[int(len(ordered) * 0.99)]}
