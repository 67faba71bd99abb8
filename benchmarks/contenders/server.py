"""What we make the server write to its append-only file, which is what replicas are sent."""

from __future__ import annotations

from typing import Any

import trio
from redis import Redis

from benchmarks.contenders.by_hand_server import appended, appending
from benchmarks.contenders.ours import Order, app_at, consumed, order_stream, store
from benchmarks.workload import PARTITIONS, Contender, Result, orders


def stored_again(redis: Redis, keys: list[str]) -> int:
    """Bytes that the very same entries take when they are stored with XADD alone."""
    entries: list[tuple[str, Any]] = [(key, redis.xrange(key)) for key in keys]
    redis.delete(*keys)
    before = appended(redis)
    for key, found in entries:
        batch = redis.pipeline(transaction=False)
        for xid, fields in found:
            batch.xadd(key, fields, id=xid)
        batch.execute()
    return appended(redis) - before


def replicated(url: str, count: int, unique: int) -> Result:
    """Bytes for each event consumed, and for each one sent and consumed beyond those of its XADD."""
    redis, app = Redis.from_url(url), app_at(url)
    stream = order_stream(app, f"appended-{unique}")
    records = orders(Order, count)
    with appending(redis):
        first = appended(redis)
        trio.run(store, stream, records)
        second = appended(redis)
        consumed(app, stream, count)
        third = appended(redis)
        keys = [f"runnel:{{bench:{number}}}:{stream.name}:log" for number in range(PARTITIONS)]
        alone = stored_again(redis, [key for key in keys if redis.exists(key)])
    return {"bytes": (third - second) / count, "all_bytes": (third - first - alone) / count}


CONTENDERS: dict[str, Contender] = {"replicated": replicated}
