"""What every contender works on: orders of a thousand customers, in 16 partitions.

Peers import it too, so it imports nothing but the standard library.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import time
import zlib
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


def orders(kind: Callable[..., Any], count: int, *, keys: int = 1000) -> list[Any]:
    """So many orders of a class with these fields."""
    return [
        kind(
            order_id=number % keys,
            created_at=START + timedelta(seconds=number),
            amount=number % 97,
            item_ids=[1, number % 7, 3],
        )
        for number in range(count)
    ]


def document(order: Plain) -> dict[str, Any]:
    """An order as JSON has it."""
    return {
        "order_id": order.order_id,
        "created_at": order.created_at.isoformat(),
        "amount": order.amount,
        "item_ids": order.item_ids,
    }


def written(order: Plain) -> str:
    """An order as JSON."""
    return json.dumps(document(order))


def partition_of(order: Plain) -> int:
    """Where it goes, where the framework does not say."""
    return zlib.crc32(str(order.order_id).encode()) % PARTITIONS


def chunks(items: list[Any]) -> Iterator[list[Any]]:
    """Parts of what one call may take."""
    for first in range(0, len(items), CHUNK):
        yield items[first : first + CHUNK]


def rate(count: int, began: float) -> Result:
    """Events per second since ``began``, and the most memory that this process has used."""
    seconds = time.perf_counter() - began
    return {"rate": count / seconds, "events": count, "rss": peak_memory()}


def peak_memory() -> float:
    """The most memory that this process has used so far, in MiB.

    Linux counts in `ru_maxrss` what the parent had when it started this process; /proc does not.
    """
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory() -> float:
    """The memory that this process uses now, in KiB."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024
    except FileNotFoundError:
        return peak_memory() * 1024


def percentiles(latencies: list[float]) -> Result:
    """Of seconds."""
    ordered = sorted(latencies)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[int(len(ordered) * 0.99)]}
