"""An app whose handler holds up Trio, for longer than its lease would last."""

from __future__ import annotations

import os
import time

from runnel_trio import App, Events, Record

app = App("blocking", default_lock_expiry=0.8, default_partition_count=4)


class Blow(Record):
    """One event that blocks."""

    key: str
    seconds: float


blows = app.stream("blows", Blow, partition_by="key")


@app.processor(blows)
async def blocking(events: Events[Blow]) -> None:
    async for blow in events.records():
        time.sleep(blow.seconds)  # noqa: ASYNC251  # what it is about
        with open(os.environ["FLOWN_LOG"], "a") as log:  # noqa: ASYNC230  # as above
            log.write(f"{blow.key}\n")
