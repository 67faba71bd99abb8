"""streaq: a task for each record, with JSON; results are not kept. It has no partitions and no order."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio
from streaq import Worker

from benchmarks.keyed import Clock, long_jobs
from benchmarks.peers import with_user
from benchmarks.workload import Contender, Plain, Result, chunks, document, orders, rate


def worker_at(url: str, unique: int, **options: Any) -> Any:
    logging.getLogger("streaq").setLevel(logging.WARNING)
    return Worker(
        with_user(url),
        queue_name=f"streaq-{unique}",
        serializer=json.dumps,
        deserializer=json.loads,
        handle_signals=False,
        **options,
    )


def counted(worker: Any) -> Any:
    """A task that takes a record."""

    async def seen(order: dict[str, Any]) -> None:
        pass

    return worker.task(ttl=0, silent=True, name="seen")(seen)


async def send(worker: Any, task: Any, records: list[Plain]) -> None:
    """In calls of a thousand."""
    for chunk in chunks(records):
        await worker.enqueue_many([task.enqueue(document(order)) for order in chunk])


async def send_each(worker: Any, task: Any, records: list[Plain]) -> None:
    for order in records:
        await task.enqueue(document(order))


def sent(url: str, count: int, unique: int, *, way: Callable[..., Awaitable[None]], share: int) -> Result:
    records = orders(Plain, count // share)

    async def run() -> Result:
        worker = worker_at(url, unique)
        task = counted(worker)
        async with worker:
            began = time.perf_counter()
            await way(worker, task, records)
            return rate(len(records), began)

    return anyio.run(run, backend="asyncio")


def consume(url: str, count: int, unique: int) -> Result:
    """Until the queue is empty."""
    records = orders(Plain, count // 30)

    async def run() -> Result:
        worker = worker_at(url, unique)
        task = counted(worker)
        async with worker:
            await send(worker, task, records)
        worker.burst = True
        began = time.perf_counter()
        await worker.run_async()
        if worker.counters["completed"] < len(records):
            raise RuntimeError(f"it has done {worker.counters}")
        return rate(len(records), began)

    return anyio.run(run, backend="asyncio")


def work(url: str, count: int, unique: int, *, concurrency: int) -> Result:
    """Jobs that wait, until the queue is empty."""
    those = long_jobs(count // 30)
    clock = Clock(len(those))

    async def handle(job: dict[str, Any]) -> None:
        clock.begin()
        await anyio.sleep(job["ms"] / 1000)
        clock.end()

    async def run() -> Result:
        worker = worker_at(url, unique, concurrency=concurrency)
        task = worker.task(ttl=0, silent=True, name="work")(handle)
        async with worker:
            for chunk in chunks(those):
                await worker.enqueue_many([task.enqueue(dataclasses.asdict(job)) for job in chunk])
        worker.burst = True
        await worker.run_async()
        if clock.left:
            raise RuntimeError(f"it has done {worker.counters}")
        return clock.found()

    return anyio.run(run, backend="asyncio")


CONTENDERS: dict[str, Contender] = {
    "send-bulk": partial(sent, way=send, share=4),
    "send-one-by-one": partial(sent, way=send_each, share=20),
    "consume": consume,
    "jobs": partial(work, concurrency=1600),
    "jobs-16": partial(work, concurrency=16),
}
