"""An app whose stream gets other partitions: workers that write down what they handle, and senders.

A line of the log is: processor, key, number among the events of that key, layout. The code says 4 partitions,
always. They are small, so that what the slow processor has not read is soon in the way of the senders. Who leads writes its pid down beside the log.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import trio

from runnel_trio import App, Events, Processor, Record, Stream

#: Seconds for each event of a processor. The last one is not run at first.
PAUSES = {"quick": 0.001, "slow": 0.004, "late": 0.0}
MAX_UNACKED = 20
#: Events that a partition holds.
SIZE = 100
#: Keys of each sender.
KEYS = 10


class Tick(Record):
    """The ``n``-th of a key."""

    key: int
    n: int


def declared() -> tuple[App, Stream[Tick]]:
    app = App("moved", default_lock_expiry=1, default_max_unacked=MAX_UNACKED, default_max_attempts=100)
    return app, app.stream("ticks", Tick, partition_by="key", partition_count=4, partition_size=SIZE)


app, ticks = declared()
sender, sent = declared()


def written_down(name: str) -> Processor[Tick]:
    @app.processor(ticks, name=name)
    async def handle(events: Events[Tick]) -> None:
        log = os.open(os.environ["MOVED_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            async for tick in events.records():
                os.write(log, f"{name} {tick.key} {tick.n} {events.partition.layout}\n".encode())
                await trio.sleep(PAUSES[name])
        finally:
            os.close(log)

    return handle


quick, slow, late = map(written_down, PAUSES)


@app.timer(interval=0.05, on_leader=True)
async def lead() -> None:
    """Without an await: once begun, it is done."""
    with open(os.environ["MOVED_LOG"] + ".led", "a", encoding="utf-8") as led:  # noqa: ASYNC230  # a local file
        led.write(f"{os.getpid()}\n")


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
