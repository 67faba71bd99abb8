"""An app that writes down what it handles, outside of Redis, as it happens.

A line of the log is: partition, epoch of its ownership, id of the event, aircraft, leg.
"""

from __future__ import annotations

import os
from datetime import UTC

import trio
from examples.flights.app import Flight

from runnel_trio import App, Event, Events

PAUSE = float(os.environ.get("FLOWN_PAUSE", "0.001"))
EXPIRY = float(os.environ.get("FLOWN_EXPIRY", "1"))
# Tests kill it on purpose, again and again: no event is to blame.
app = App("flown", default_lock_expiry=EXPIRY, default_max_unacked=50, default_max_attempts=100)
flights = app.stream("flights", record=Flight, partition_by="tailnum")


@app.processor(flights)
async def written_down(events: Events[Flight]) -> None:
    log = os.open(os.environ["FLOWN_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        async for event in events:
            os.write(log, line(event).encode())
            await trio.sleep(PAUSE)  # long enough to be killed in the middle
    finally:
        os.close(log)


def line(event: Event) -> str:
    flight, place = event.record(), event.partition
    hour = flight.time_hour.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    leg = f"{flight.carrier}{flight.flight}|{hour}|{flight.origin}|{flight.dest}"
    return f"{place.number} {place.epoch} {event.xid.decode()} {flight.tailnum} {leg}\n"
