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
import zlib
from typing import Any

import msgspec
from redis import Redis

from benchmarks.workload import PARTITIONS, Contender, Plain, Result, chunks, orders, percentiles, rate

#: As many as runnel-trio keeps by default.
MAXLEN = 50_000


def written(order: Plain) -> str:
    return json.dumps(
        {
            "order_id": order.order_id,
            "created_at": order.created_at.isoformat(),
            "amount": order.amount,
            "item_ids": order.item_ids,
        }
    )


def stream_of(order: Plain) -> str:
    return f"by-hand:{zlib.crc32(str(order.order_id).encode()) % PARTITIONS}"


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


def read_group(url: str, count: int, unique: int) -> Result:
    """XREADGROUP by the hundred, json, one XACK for each read."""
    redis = Redis.from_url(url)
    keys, group = logs(redis), f"by-hand-{unique}"
    for key in keys:
        redis.xgroup_create(key, group, id="0")
    wanted: Any = dict.fromkeys(keys, ">")
    left = count
    began = time.perf_counter()
    while left > 0:
        for key, entries in redis.xreadgroup(group, "me", wanted, count=100, block=1000):
            for _, fields in entries:
                json.loads(fields[b"data"])
            redis.xack(key, group, *[xid for xid, _ in entries])
            left -= len(entries)
    return rate(count, began)


def read_cursor(url: str, count: int, _: int) -> Result:
    """XREAD with a cursor of its own, which nothing keeps, and msgspec into dicts: no framework at all."""
    redis = Redis.from_url(url)
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
        mine = Redis.from_url(url)
        asked: Any = dict.fromkeys(keys, ">")
        while len(found) < wanted:
            for key, entries in mine.xreadgroup("pongs", "me", asked, count=100, block=1000):
                for _, fields in entries:
                    sent = json.loads(fields[b"data"])["sent"]
                    found.append((time.monotonic_ns() - sent) / 1e9)
                mine.xack(key, "pongs", *[xid for xid, _ in entries])

    thread = threading.Thread(target=loop)
    thread.start()
    command = [sys.executable, "-m", "benchmarks.child", "sender-by-hand", url, str(wanted), str(unique)]
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


CONTENDERS: dict[str, Contender] = {
    "by-hand-pipeline": pipeline,
    "by-hand-one-by-one": one_by_one,
    "by-hand-group": read_group,
    "by-hand-cursor": read_cursor,
    "by-hand-latency": latency,
    "sender-by-hand": sender,
}
