"""An app with fifty lanes, whose workers write down what they begin with; the events of one key may hang.

A line of the log is: key, number among the events of that key, pid.
"""

from __future__ import annotations

import os

import trio

from runnel_trio import App, Events, Record

MAX_UNACKED = 100

app = App("lanes", default_lock_expiry=1, default_partition_count=1, default_max_attempts=100)


class Step(Record):
    """The ``n``-th of a key."""

    key: str
    n: int


steps = app.stream("steps", Step, partition_by="key")


@app.processor(steps, concurrency=50, max_unacked=MAX_UNACKED, max_ahead=50_000)
async def walk(events: Events[Step]) -> None:
    log = os.open(os.environ["FLOWN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        async for step in events.records():
            os.write(log, f"{step.key} {step.n} {os.getpid()}\n".encode())
            await trio.sleep(float(os.environ["LANES_HANG"]) if step.key == "hangs" else 0.001)
    finally:
        os.close(log)
