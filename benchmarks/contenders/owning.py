"""What it costs to own partitions, and to start."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from typing import Any

import trio

from benchmarks.contenders.ours import (
    Order,
    app_at,
    consumed,
    counting,
    order_stream,
    store,
)
from benchmarks.workload import Contender, Result, memory, orders
from runnel_trio._cli._worker_process import settle_heap

FEW = 16


def idle(url: str, count: int, unique: int, *, partitions: int) -> Result:
    """The share of a core that a worker takes with nothing to do, and the memory it has then."""
    app = app_at(url)
    stream = order_stream(app, f"nothing-{unique}", partition_count=partitions)
    counting(app, stream, 1)

    async def run() -> Result:
        start = time.perf_counter()
        async with app.worker():
            seconds = time.perf_counter() - start
            await trio.sleep(min(1.0, count / 10_000))
            before, began = time.process_time(), trio.current_time()
            await trio.sleep(max(0.5, count / 6000))
            spent = time.process_time() - before
            return {"core": spent / (trio.current_time() - began), "memory": memory(), "seconds": seconds}

    return trio.run(run)


def owned(url: str, _: int, unique: int, *, partitions: int) -> Result:
    """The memory of a worker that owns so many, seconds to own them, and whether all of them work."""
    app = app_at(url)
    stream = order_stream(app, f"many-{unique}-{partitions}", partition_count=partitions, hasher=int)
    done = counting(app, stream, partitions).done

    async def run() -> Result:
        began = time.perf_counter()
        async with app.worker():
            seconds = time.perf_counter() - began
            await trio.sleep(0.2)
            found = {"memory": memory(), "seconds": seconds, "handled": 0.0}
            await store(stream, orders(Order, partitions, keys=partitions))
            with trio.move_on_after(60):
                await done.wait()
                found["handled"] = 1.0
            return found

    return trio.run(run)


def in_a_process(name: str, url: str, count: int, unique: int) -> Any:
    """Another contender, away from this one's memory."""
    command = [sys.executable, "-m", "benchmarks.child", name, url, str(count), str(unique)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def memory_of_many(url: str, count: int, unique: int, *, partitions: int) -> Result:
    """What a partition adds: the difference between a worker with many and one with few, divided."""
    few = in_a_process(f"ours/owned-{FEW}", url, count, unique)
    many = in_a_process(f"ours/owned-{partitions}", url, count, unique)
    each = (many["memory"] - few["memory"]) / (partitions - FEW)
    return {"per_partition": each, "handled": many["handled"], "seconds": many["seconds"]}


def consume_wide(url: str, count: int, unique: int, *, partitions: int, times: int = 1) -> Result:
    """The same kind of records over many partitions; so many times as many, for a few hundred in each.

    The garbage collector is set as `runnel-trio run` does.
    """
    count *= times
    settle_heap()
    app = app_at(url)
    name = f"wide-{unique}"
    # Where there is but one partition, it takes all of it.
    stream = order_stream(app, name, partition_count=partitions, hasher=int, partition_size=count)
    trio.run(store, stream, orders(Order, count, keys=partitions))
    return consumed(app, stream, count)


def first_event(url: str, _: int, unique: int) -> Result:
    """From the start of a process until its handler has an event in hand; the second of two tries."""
    return [started(url, f"first-{unique}-{number}") for number in range(2)][-1]


def started(url: str, name: str) -> Result:
    stream = order_stream(app_at(url), name)
    trio.run(store, stream, orders(Order, 1))
    command = [sys.executable, "-m", "benchmarks.contenders.starting", url, name]
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return {"seconds": time.perf_counter() - began}


CONTENDERS: dict[str, Contender] = {
    "idle-16": partial(idle, partitions=FEW),
    "idle-1024": partial(idle, partitions=1024),
    "owned-16": partial(owned, partitions=FEW),
    "owned-4096": partial(owned, partitions=4096),
    "memory-4096": partial(memory_of_many, partitions=4096),
    "consume-16": partial(consume_wide, partitions=FEW, times=4),
    "consume-1024": partial(consume_wide, partitions=1024, times=4),
    "first-event": first_event,
}
