"""Contenders that use redis-py alone: the loops that one would write.

They work on the same server and, as consumers, on the very same entries; they use hiredis if it is installed,
as runnel-trio does.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

import msgspec
from redis import Redis

from benchmarks.workload import (
    PARTITIONS,
    Contender,
    Plain,
    Result,
    chunks,
    orders,
    partition_of,
    percentiles,
    rate,
    written,
)

#: As many as runnel-trio keeps by default.
MAXLEN = 50_000


def stream_of(order: Plain) -> str:
    return f"by-hand:{partition_of(order)}"


def pipeline(url: str, count: int, _: int) -> Result:
    """XADD in pipelines of a thousand."""
    redis = Redis.from_url(url)
    records = orders(Plain, count)
    redis.ping()
    began = time.perf_counter()
    for chunk in chunks(records):
        batch = redis.pipeline(transaction=False)
        for order in chunk:
            batch.xadd(stream_of(order), {"data": written(order)}, maxlen=MAXLEN, approximate=True)
        batch.execute()
    return rate(count, began)


def one_by_one(url: str, count: int, _: int) -> Result:
    """XADD and wait, again and again."""
    redis = Redis.from_url(url)
    records = orders(Plain, count // 20)
    redis.ping()
    began = time.perf_counter()
    for order in records:
        redis.xadd(stream_of(order), {"data": written(order)}, maxlen=MAXLEN, approximate=True)
    return rate(len(records), began)


def logs(redis: Redis) -> list[bytes]:
    """The partitions of orders that were filled for the consumers."""
    found: Any = redis.scan_iter(match="runnel:*:orders:log", _type="stream")
    return sorted(found)


def grouped(redis: Redis, group: str) -> dict[Any, Any]:
    """A new group on every partition, and what XREADGROUP wants to know."""
    keys = logs(redis)
    for key in keys:
        redis.xgroup_create(key, group, id="0")
    return dict.fromkeys(keys, ">")


def read_group(url: str, count: int, unique: int) -> Result:
    """XREADGROUP by the hundred, json, one XACK for each read."""
    redis: Any = Redis.from_url(url)
    group = f"by-hand-{unique}"
    wanted = grouped(redis, group)
    left = count
    began = time.perf_counter()
    while left > 0:
        for key, entries in redis.xreadgroup(group, "me", wanted, count=100, block=1000):
            for _, fields in entries:
                json.loads(fields[b"data"])
            redis.xack(key, group, *[xid for xid, _ in entries])
            left -= len(entries)
    return rate(count, began)


def read_group_each(url: str, count: int, unique: int) -> Result:
    """As `read_group`, but one XACK for each event."""
    redis: Any = Redis.from_url(url)
    group = f"by-hand-{unique}"
    wanted = grouped(redis, group)
    left = some = count // 10
    began = time.perf_counter()
    while left > 0:
        for key, entries in redis.xreadgroup(group, "me", wanted, count=100, block=1000):
            for xid, fields in entries[:left]:
                json.loads(fields[b"data"])
                redis.xack(key, group, xid)
            left -= len(entries[:left])
    return rate(some, began)


def read_cursor(url: str, count: int, _: int) -> Result:
    """XREAD with a cursor of its own, which nothing keeps, and msgspec into dicts: no framework at all."""
    redis: Any = Redis.from_url(url)
    cursors: Any = dict.fromkeys(logs(redis), b"0")
    decode = msgspec.json.decode
    left = count
    began = time.perf_counter()
    while left > 0:
        for key, entries in redis.xread(cursors, count=100, block=1000):
            for _, fields in entries:
                decode(fields[b"data"])
            cursors[key] = entries[-1][0]
            left -= len(entries)
    return rate(count, began)


def latency(url: str, count: int, unique: int) -> Result:
    """A thread that waits in XREADGROUP, handles and acknowledges."""
    redis = Redis.from_url(url)
    keys = [f"by-hand-pings-{unique}:{number}" for number in range(PARTITIONS)]
    for key in keys:
        redis.xgroup_create(key, "pongs", id="0", mkstream=True)
    wanted = count // 60
    found: list[float] = []

    def loop() -> None:
        mine: Any = Redis.from_url(url)
        asked: Any = dict.fromkeys(keys, ">")
        while len(found) < wanted:
            for key, entries in mine.xreadgroup("pongs", "me", asked, count=100, block=1000):
                for _, fields in entries:
                    sent = json.loads(fields[b"data"])["sent"]
                    found.append((time.monotonic_ns() - sent) / 1e9)
                mine.xack(key, "pongs", *[xid for xid, _ in entries])

    thread = threading.Thread(target=loop)
    thread.start()
    command = [sys.executable, "-m", "benchmarks.child", "by-hand/sender", url, str(wanted), str(unique)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    thread.join()
    return percentiles(found)


def sender(url: str, count: int, unique: int) -> Result:
    """The other end of `latency`."""
    redis = Redis.from_url(url)
    redis.ping()
    start = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, start + number / 200 - time.monotonic()))
        data = json.dumps({"sent": time.monotonic_ns()})
        redis.xadd(f"by-hand-pings-{unique}:{number % PARTITIONS}", {"data": data})
    return {}


def imports(_: str, count: int, unique: int) -> Result:
    """How long Python takes to start and to import what everybody imports; the second of two tries."""
    command = [sys.executable, "-c", "import trio, redis, cattrs"]
    for _try in range(2):
        began = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - began
    return {"seconds": seconds}


CONTENDERS: dict[str, Contender] = {
    "pipeline": pipeline,
    "one-by-one": one_by_one,
    "group": read_group,
    "group-each": read_group_each,
    "cursor": read_cursor,
    "latency": latency,
    "sender": sender,
    "imports": imports,
}
