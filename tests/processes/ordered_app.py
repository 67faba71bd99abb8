"""An app that writes down what it handles, outside of Redis, as it happens.

A line of the log is: partition, epoch of its ownership, key, number, process.
"""

from __future__ import annotations

import os

from runnel_trio import App, Events, Record

app = App("ordered", default_partition_count=4, default_lock_expiry=1, default_max_unacked=50)


class Numbered(Record):
    key: str
    n: int


numbered = app.stream("numbered", Numbered, partition_by="key")


@app.processor(numbered)
async def written_down(events: Events[Numbered]) -> None:
    log = os.open(os.environ["ORDERED_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        place = events.partition
        async for record in events.records():
            os.write(log, f"{place.number} {place.epoch} {record.key} {record.n} {os.getpid()}\n".encode())
    finally:
        os.close(log)
