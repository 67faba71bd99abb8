"""An app whose workers park what fails, and write down what they begin and what they have handled.

A line of the log is: ``begun``, ``failed`` or ``done``, key, number among the events of that key, pid, layout, epoch. As
long as
there is a file ``broken`` beside the log, every third key fails.
"""

from __future__ import annotations

import os
from pathlib import Path

import trio

from runnel_trio import App, Backoff, Events, Record

MAX_UNACKED = 60

app = App("parks", default_lock_expiry=1, default_partition_count=4, default_max_attempts=100)


class Step(Record):
    """The ``n``-th of a key."""

    key: int
    n: int


steps = app.stream("steps", Step, partition_by="key")


@app.processor(
    steps,
    concurrency=50,
    max_unacked=MAX_UNACKED,
    exception_policy="park",
    park_retry=Backoff(delay=0.2, factor=1.5, maximum=1),
)
async def walk(events: Events[Step]) -> None:
    path = Path(os.environ["FLOWN_LOG"])
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        async for step in events.records():
            where = f"{step.key} {step.n} {os.getpid()} {events.partition.layout} {events.partition.epoch}\n"
            os.write(log, f"begun {where}".encode())
            await trio.sleep(0.002)
            if step.key % 3 == 0 and step.n % 5 == 1 and (path.parent / "broken").exists():
                os.write(log, f"failed {where}".encode())
                raise ValueError(step.n)
            os.write(log, f"done {where}".encode())
    finally:
        os.close(log)
