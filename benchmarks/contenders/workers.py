"""Worker processes share a backlog."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from redis import Redis

from benchmarks.contenders.ours import Order, app_at, order_stream, store
from benchmarks.workload import PARTITIONS, Contender, Result, memory, orders
from runnel_trio import Stream


def cpu(seconds: float) -> None:
    """Use the processor for so long, however long that takes."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def told() -> str:
    """The next word of the parent."""
    return await trio.to_thread.run_sync(sys.stdin.readline)


def worker(url: str, name: str, partitions: str, work: str) -> None:
    """A worker that waits for "go" with its first event, and says what it did when it is told to end."""
    app = app_at(url)
    stream = order_stream(app, name, partition_count=int(partitions))
    seconds, go = float(work), trio.Event()
    found: dict[str, float] = {"handled": 0, "last": 0.0}

    @app.processor(stream, name="sharing")
    async def handle(events: Any) -> None:
        async for _ in events.records():
            if not go.is_set():
                await go.wait()
            if seconds:
                cpu(seconds)
            found["handled"] += 1
            found["last"] = time.monotonic()

    async def run() -> None:
        async with app.worker():
            print("ready", flush=True)
            await told()
            before, began = time.process_time(), time.monotonic()
            go.set()
            await told()
            found["core"] = (time.process_time() - before) / (time.monotonic() - began)
            found["memory"] = memory()

    trio.run(run)
    print(json.dumps(found), flush=True)


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used; 0 where there is no /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Crew:
    """Worker processes of one stream."""

    def __init__(self, url: str, name: str, size: int, partitions: int, work: float) -> None:
        self.redis, self.name, self.partitions = Redis.from_url(url), name, partitions
        command = [
            sys.executable,
            "-m",
            "benchmarks.contenders.workers",
            url,
            name,
            str(partitions),
            str(work),
        ]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.processes: list[Any] = [subprocess.Popen(command, **pipes) for _ in range(size)]

    def ready(self) -> None:
        """Until each owns its share."""
        for process in self.processes:
            process.stdout.readline()
        end = time.monotonic() + 60
        while not self._shared() and time.monotonic() < end:
            time.sleep(0.02)

    def fill(self, stream: Stream[Order], count: int) -> None:
        """Store what they are to handle, and let their buffers fill."""
        trio.run(store, stream, orders(Order, count))
        time.sleep(0.3)

    def _shared(self) -> bool:
        owners = [self.redis.hget(self._key(n, "lease:sharing"), "owner") for n in range(self.partitions)]
        shares = [owners.count(owner) for owner in {*owners} - {None}]
        return len(shares) == len(self.processes) and max(shares) - min(shares) <= 1 and all(owners)

    def _key(self, number: int, what: str) -> str:
        return f"runnel:{{bench:{number}}}:{self.name}:{what}"

    def left(self) -> int:
        """Events that nobody has committed."""
        batch = self.redis.pipeline(transaction=False)
        for number in range(self.partitions):
            batch.xinfo_groups(self._key(number, "log"))
        return sum(group["lag"] or 0 for groups in batch.execute() for group in groups)

    def tell(self, word: str) -> None:
        for process in self.processes:
            process.stdin.write(word + "\n")
            process.stdin.flush()

    def work(self, end: float) -> None:
        """Let them begin, until nothing is left; then tell them to end."""
        self.tell("go")
        while self.left() and time.monotonic() < end:
            time.sleep(0.05)
        self.tell("end")

    def cpu(self) -> float:
        """Seconds of CPU that they have used so far, where the system tells."""
        return sum(cpu_of(process.pid) for process in self.processes)

    def found(self) -> list[dict[str, float]]:
        return [json.loads(process.stdout.readline()) for process in self.processes]


@contextmanager
def crew(
    url: str, name: str, size: int, *, partitions: int = PARTITIONS, work: float = 0.0
) -> Iterator[Crew]:
    """Workers that own everything and wait for the word."""
    workers = Crew(url, name, size, partitions, work)
    try:
        workers.ready()
        yield workers
    finally:
        for process in workers.processes:
            process.kill()
            process.communicate()


def shared(
    url: str, count: int, unique: int, *, size: int, work: float = 0.0, partitions: int = PARTITIONS
) -> Result:
    """Events per second of so many workers, from the word until the last one has handled its last event."""
    name = f"shared-{unique}"
    wanted = max(200, count // 20) if work else count
    stream = order_stream(app_at(url), name, partition_count=partitions)
    with crew(url, name, size, partitions=partitions, work=work) as workers:
        workers.fill(stream, wanted)
        began = time.monotonic()
        workers.work(began + 100)
        found = workers.found()
    last = max(each["last"] for each in found)
    memories = [each["memory"] / 1024 for each in found]
    return {
        "rate": wanted / (last - began),
        "events": wanted,
        "handled": sum(each["handled"] for each in found) / wanted,
        "memory": sum(memories) / size,
    }


CONTENDERS: dict[str, Contender] = {
    "one-worker": partial(shared, size=1),
    "two-workers": partial(shared, size=2),
    "one-worker-1ms": partial(shared, size=1, work=0.001),
    "two-workers-1ms": partial(shared, size=2, work=0.001),
}

if __name__ == "__main__":
    worker(*sys.argv[1:])
