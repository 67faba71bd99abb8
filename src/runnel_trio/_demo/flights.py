"""Keep the history of every aircraft that departs from New York.

A flight is an event. The flights of one aircraft are handled in the order in which they were sent, whatever
happens to the workers. The effect of each is exactly once, although a crash can make an event come again: a
partition's progress is stored in the same transaction as its effects, so events that are already applied are
skipped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeAlias

import trio
from redis import Redis, RedisCluster, WatchError

from runnel_trio import App, Events, Record

app = App("flights")
Client: TypeAlias = Redis | RedisCluster

#: A Redis hash: tail number → what is known of the aircraft, as JSON. The braces keep it together with the
#: progress of all partitions where there are several nodes.
PLANES = "{flights}:planes"
_clients: dict[str, Client] = {}


class Flight(Record):
    """A departure; delays and the time in the air are in minutes, the distance is in miles."""

    time_hour: datetime
    carrier: str
    flight: int
    tailnum: str
    origin: str
    dest: str
    dep_delay: int | None
    arr_delay: int | None
    air_time: int | None
    distance: int


flights = app.stream("flights", record=Flight, partition_by="tailnum")


@app.processor(flights)
async def history(events: Events[Flight]) -> None:
    """Bring the histories up to date, some hundred flights at a time."""
    redis = await trio.to_thread.run_sync(client)
    async for batch in events.take(500, within=0.05):
        departures = [(event.xid, event.record()) for event in batch]
        await trio.to_thread.run_sync(apply, redis, events.partition.key, departures)


def apply(redis: Client, partition: str, departures: Sequence[tuple[bytes, Flight]]) -> None:
    """Apply what was not applied before, all of it or, if anybody else is quicker, nothing, and try again."""
    progress = f"{{flights}}:progress:{partition}"
    with redis.pipeline(transaction=True) as transaction:
        while True:
            transaction.watch(progress)
            last: Any = transaction.get(progress)
            applied = order_of(last or b"0-0")
            new = [flight for xid, flight in departures if order_of(xid) > applied]
            if not new:
                return
            planes = known(transaction, {flight.tailnum for flight in new})
            for flight in new:
                add(planes[flight.tailnum], flight)
            transaction.multi()
            transaction.hset(PLANES, mapping={name: json.dumps(plane) for name, plane in planes.items()})
            transaction.set(progress, departures[-1][0])
            try:
                transaction.execute()
            except WatchError:
                continue
            return


def known(redis: Any, tailnums: set[str]) -> dict[str, dict[str, Any]]:
    """What is stored of these aircraft, or the beginning of a history."""
    names = sorted(tailnums)
    stored = redis.hmget(PLANES, names)
    return {
        name: json.loads(plane) if plane else {"flights": 0, "miles": 0, "delayed": 0, "digest": ""}
        for name, plane in zip(names, stored, strict=True)
    }


def add(plane: dict[str, Any], flight: Flight) -> None:
    """One more flight; the digest tells whether they all came, once each and in order."""
    hour = flight.time_hour.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    leg = f"{plane['digest']}|{flight.carrier}{flight.flight}|{hour}|{flight.origin}|{flight.dest}"
    plane["flights"] += 1
    plane["miles"] += flight.distance
    plane["delayed"] += (flight.arr_delay or 0) >= 15
    plane["digest"] = sha256(leg.encode()).hexdigest()[:16]


def order_of(xid: bytes) -> tuple[int, int]:
    """An event's id as something that can be compared."""
    milliseconds, _, sequence = xid.partition(b"-")
    return int(milliseconds), int(sequence)


def client() -> Client:
    """One client for all partitions, which use it from threads: redis-py's are made for that."""
    url = app.server_url
    if url not in _clients:
        _clients[url] = app.redis_client()
    return _clients[url]
