"""What the loop by hand makes the server write to its append-only file, which is what replicas are sent."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis

from benchmarks.contenders.by_hand import read_group
from benchmarks.workload import Contender, Result


@contextmanager
def appending(redis: Redis) -> Iterator[None]:
    """The server appends every write to its file for the body."""
    redis.config_set("appendfsync", "no")
    redis.config_set("appendonly", "yes")
    try:
        while redis.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)
        yield
    finally:
        redis.config_set("appendonly", "no")


def appended(redis: Redis) -> int:
    """Bytes that it has appended."""
    found: dict[str, Any] = redis.info("persistence")
    return int(found["aof_current_size"])


def replicated(url: str, count: int, unique: int) -> Result:
    """Bytes for each event consumed."""
    redis = Redis.from_url(url)
    with appending(redis):
        before = appended(redis)
        read_group(url, count, unique)
        return {"bytes": (appended(redis) - before) / count}


CONTENDERS: dict[str, Contender] = {"replicated": replicated}
