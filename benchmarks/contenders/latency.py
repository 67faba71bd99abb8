"""From before `send` in one process until the handler in another, at 200 events/s."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial
from typing import Any

import trio

from benchmarks.contenders.ours import app_at
from benchmarks.workload import PARTITIONS, Contender, Result, percentiles
from runnel_trio import App, Record, Stream

#: The partition whose events are handled slowly, if any are: 20 come in a second, and each takes 0.1 s.
SLOW = 0


class Ping(Record):
    """When it was sent, in nanoseconds of the machine's monotonic clock."""

    partition: int
    sent: int


def ping_stream(app: App, unique: int) -> Stream[Ping]:
    """A ping says to which partition it goes."""
    return app.stream(
        f"pings-{unique}", Ping, partition_by="partition", partition_count=PARTITIONS, hasher=int
    )


def latency(url: str, count: int, unique: int, *, pause: float | None = None) -> Result:
    """Of all pings; with a pause, of those that are not in the slow partition, whose handler awaits it."""
    app = app_at(url)
    pings = ping_stream(app, unique)
    latencies, done, wanted = list[float](), trio.Event(), count // 60

    @app.processor(pings)
    async def pong(events: Any) -> None:
        async for ping in events.records():
            if pause is not None and ping.partition == SLOW:
                await trio.sleep(pause)
                continue
            latencies.append((time.monotonic_ns() - ping.sent) / 1e9)
            if len(latencies) == wanted:
                done.set()

    trio.run(
        answered, app, f"ours/sender{'' if pause is None else '-beside-slow'}", (url, wanted, unique), done
    )
    return percentiles(latencies)


async def answered(app: App, sender: str, arguments: tuple[str, int, int], done: trio.Event) -> None:
    """A worker, and a sender in another process, until all was received."""
    command = [sys.executable, "-m", "benchmarks.child", sender, *map(str, arguments)]
    async with app.worker():
        with subprocess.Popen(command, stdout=subprocess.DEVNULL):  # noqa: ASYNC220 (it is waited for below)
            await done.wait()


def send_pings(url: str, count: int, unique: int, *, spare: bool = False) -> Result:
    """The other end: to all partitions in turn, or to all but the slow one, which has one in ten more."""
    app = app_at(url)
    pings = ping_stream(app, unique)
    targets = [number for number in range(PARTITIONS) if not spare or number != SLOW]

    async def run() -> None:
        async with app.session():
            start = trio.current_time()
            for number in range(count):
                await trio.sleep_until(start + number / 200)
                target = targets[number % len(targets)]
                await pings.send(Ping(partition=target, sent=time.monotonic_ns()))
                if spare and number % 10 == 0:
                    await pings.send(Ping(partition=SLOW, sent=0))

    trio.run(run)
    return {}


CONTENDERS: dict[str, Contender] = {
    "latency": latency,
    "sender": send_pings,
    "latency-all-quick": partial(latency, pause=0.0),
    "latency-beside-slow": partial(latency, pause=0.1),
    "sender-beside-slow": partial(send_pings, spare=True),
}
