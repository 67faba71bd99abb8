"""The same work with more of something.

``python -m benchmarks.contenders.scaling WHAT N EVENTS URL UNIQUE`` prints what it finds, for `scale`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import trio

from benchmarks.contenders.ours import (
    Counter,
    Order,
    app_at,
    consumed,
    counting,
    each_record,
    order_stream,
    store,
)
from benchmarks.contenders.owning import consume_wide, idle
from benchmarks.contenders.workers import crew
from benchmarks.workload import PARTITIONS, Result, chunks, memory, orders, peak_memory
from runnel_trio import App, Record, Stream

#: Bytes that a run with records of some size sends, at most.
VOLUME = 64 << 20
#: Events for each partition or processor at least: with fewer it is starting that is measured.
FEWEST = 60
#: Partitions that worker processes share.
SHARED = 64


class Blob(Record):
    """A record of any size."""

    key: int
    body: str


def partitions(n: int, events: int, url: str, unique: int) -> Result:
    """One worker owns so many, idle and at work."""
    found = idle(url, events, unique, partitions=n)
    worked = consume_wide(url, max(events, FEWEST * n), unique + 1, partitions=n)
    return {**found, "memory": found["memory"] / 1024, "rate": worked["steady"]}


def processors(n: int, events: int, url: str, unique: int) -> Result:
    """One worker runs so many over one stream; each of them handles every event."""
    app = app_at(url)
    stream = order_stream(app, f"many-{unique}")
    each = max(events // n, FEWEST * PARTITIONS)
    counters = [counting(app, stream, each, name=f"p{number}") for number in range(n)]

    async def run() -> Result:
        async with app.worker():
            found = await resting(2.0)
            began = time.perf_counter()
            await store(stream, orders(Order, each))
            for counter in counters:
                await counter.done.wait()
            return {**found, "rate": each * n / (time.perf_counter() - began)}

    return trio.run(run)


async def resting(seconds: float) -> Result:
    """The share of a core and the MiB of a process that has nothing to do."""
    before, began = time.process_time(), trio.current_time()
    await trio.sleep(seconds)
    return {"core": (time.process_time() - before) / (trio.current_time() - began), "memory": memory() / 1024}


def workers(n: int, events: int, url: str, unique: int) -> Result:
    """So many processes share a backlog."""
    name = f"crowd-{unique}"
    stream = order_stream(app_at(url), name, partition_count=SHARED)
    started = time.monotonic()
    with crew(url, name, n, partitions=SHARED) as members:
        seconds = time.monotonic() - started
        before, began = members.cpu(), time.monotonic()
        time.sleep(3)
        core = (members.cpu() - before) / (time.monotonic() - began)
        members.fill(stream, events)
        began = time.monotonic()
        members.work(began + 300)
        found = members.found()
    return {
        "seconds": seconds,
        "core": core,
        "memory": sum(each["memory"] for each in found) / 1024,
        "rate": events / (max(each["last"] for each in found) - began),
    }


def blob_stream(app: App, name: str, **options: Any) -> Stream[Blob]:
    return app.stream(name, Blob, partition_by="key", **options)


def sizes(n: int, events: int, url: str, unique: int) -> Result:
    """Records of so many bytes are sent and handled."""
    count = max(16, min(events, VOLUME // n))
    blobs = [Blob(key=number, body="x" * max(0, n - 20)) for number in range(count)]
    app = app_at(url)
    stream = blob_stream(app, f"blobs-{unique}")
    began = time.perf_counter()
    trio.run(store, stream, blobs)
    sent = time.perf_counter() - began
    del blobs
    rate = consumed(app, stream, count)["rate"]
    mega = n / (1 << 20)
    return {"sent": count / sent * mega, "handled": rate * mega, "rate": rate, "memory": peak_memory()}


class Milestones(Counter):
    """Notes the time and the memory whenever so many more were handled."""

    def __init__(self, count: int, every: int) -> None:
        super().__init__(count)
        self.every, self.next, self.found = every, count - every, list[tuple[float, float]]()

    def seen(self, more: int) -> None:
        super().seen(more)
        if self.left <= self.next:
            self.next -= self.every
            self.found.append((time.perf_counter(), memory() / 1024))


def backlog(n: int, _: int, url: str, unique: int) -> list[tuple[float, Result]]:
    """So many events wait; how fast each fifth of them is handled, and with how much memory."""
    app = app_at(url)
    stream = order_stream(app, f"backlog-{unique}", partition_size=n)
    some = orders(Order, min(n, 100_000))
    counter = Milestones(n, n // 5)

    async def send() -> None:
        for first in range(0, n, len(some)):
            for chunk in chunks(some[: n - first]):
                await stream.send(*chunk)

    @app.processor(stream)
    async def handle(events: Any) -> None:
        await each_record(events, counter.seen)

    async def run() -> float:
        began = time.perf_counter()
        async with app.worker():
            await counter.done.wait()
        return began

    trio.run(send)
    times = [trio.run(run), *(moment for moment, _ in counter.found)]
    return [
        ((place + 1) * (n // 5), {"rate": n // 5 / (times[place + 1] - times[place]), "memory": used})
        for place, (_, used) in enumerate(counter.found)
    ]


WHAT: dict[str, Callable[[int, int, str, int], Any]] = {
    "partitions": partitions,
    "processors": processors,
    "workers": workers,
    "sizes": sizes,
    "backlog": backlog,
}

if __name__ == "__main__":
    what, n, events, url, unique = sys.argv[1:]
    print(json.dumps(WHAT[what](int(n), int(events), url, int(unique))))
