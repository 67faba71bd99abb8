"""An app whose stream gets other partitions: workers that write down what they handle, and senders.

A line of the log is: key, number among the events of that key, layout. The code says 4 partitions, always.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import trio

from runnel_trio import App, Events, Record, Stream

PAUSE = 0.001
#: Keys of each sender.
KEYS = 10


class Tick(Record):
    """The ``n``-th of a key."""

    key: int
    n: int


def declared() -> tuple[App, Stream[Tick]]:
    app = App("moved", default_lock_expiry=1, default_max_unacked=20, default_max_attempts=100)
    return app, app.stream("ticks", Tick, partition_by="key", partition_count=4)


app, ticks = declared()
sender, sent = declared()


@app.processor(ticks)
async def written_down(events: Events[Tick]) -> None:
    log = os.open(os.environ["MOVED_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        async for tick in events.records():
            os.write(log, f"{tick.key} {tick.n} {events.partition.layout}\n".encode())
            await trio.sleep(PAUSE)
    finally:
        os.close(log)


@sender.task
async def send() -> None:
    """Until there is a file ``stop``; then say how many it were of each key."""
    first, directory = int(os.environ["MOVED_FIRST"]), Path(os.environ["MOVED_LOG"]).parent
    n = 0
    while not (directory / "stop").exists():
        n += 1
        ticks: list[Any] = [Tick(key=first + key, n=n) for key in range(KEYS)]
        await sent.send(*ticks)
        await trio.sleep(0.02)
    (directory / f"sent-{first}").write_text(str(n))
