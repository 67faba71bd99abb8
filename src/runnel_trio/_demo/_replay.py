"""Sends a file of flights through two workers, on their own server or a given one, and checks the result.

On a shared server it refuses to begin if there is an app with its name, and removes everything that it
stored.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import trio

from runnel_trio._demo.flights import PLANES, Flight, app, client, flights
from runnel_trio._scopes import helpers, shielded

__all__ = ["SAMPLE", "BadFile", "Occupied", "Planes", "Replay", "differences", "expected_of"]

SAMPLE = Path(__file__).parent / "sample.jsonl.gz"
#: By tail number: flights, miles, delayed, digest.
Planes = dict[str, dict[str, Any]]
#: Flights that are sent at once.
BATCH = 250
#: Seconds between two looks at what is stored.
LOOK = 0.05
#: Seconds without any progress after which what is missing is left to the check.
PATIENCE = 60.0
#: Seconds that it may take to remove what was stored.
_CLEARING = 10.0


#: What a server has of the app, and what shows that it has something.
_OURS, _SIGNS = "*{flights[:}/]*", ("runnel:{flights}:flights:meta", PLANES)


class Occupied(Exception):
    """There is an app of this name on the server."""


class BadFile(Exception):
    """A file whose lines are not all flights; says which one, and why."""


@attrs.define(eq=False)
class Replay:
    """One run.

    Attributes:
        path: a flight a line, as JSON, plain or gzipped.
        url: where the server is; ``embedded://`` is one of its own.
        sent: how many were sent up to now.
        planes: the histories, as of the last look.
        seconds: from the first send on.
    """

    path: Path
    url: str = "embedded://"
    sent: int = 0
    planes: Planes = attrs.field(factory=dict)
    _began: float | None = None
    _took: float | None = None

    @property
    def handled(self) -> int:
        """How many flights are in the histories."""
        return sum(plane["flights"] for plane in self.planes.values())

    @property
    def seconds(self) -> float:
        """How long it takes, or took."""
        if self._took is not None:
            return self._took
        return time.perf_counter() - self._began if self._began is not None else 0.0

    async def run(self, ready: Callable[[], None]) -> None:
        """Send it, and wait until two workers have handled it.

        Args:
            ready: called when both have joined.

        Raises:
            Misconfigured: there is no embedded server, or the URL is none.
            Occupied: the server has an app of this name.
            BadFile: a line is no flight, or the file is damaged.
            Exception: what the app raised.
        """
        app.use_server(self.url, origin="the demo")
        async with app.session(), _alone_there(), app.worker(), app.worker(), helpers() as nursery:
            ready()
            self._began = time.perf_counter()
            nursery.start_soon(self._look)
            await self._send()
            await self._handled()
            self._took = self.seconds

    async def _send(self) -> None:
        source = _departures(self.path)
        while batch := list(islice(source, BATCH)):
            await flights.send(*batch)
            self.sent += len(batch)

    async def _look(self) -> None:
        while True:
            self.planes = await trio.to_thread.run_sync(_stored)
            await trio.sleep(LOOK)

    async def _handled(self) -> None:
        """Wait until all is handled, or nothing happens any more."""
        before, changed = -1, trio.current_time()
        while self.handled < self.sent and trio.current_time() - changed < PATIENCE:
            if self.handled != before:
                before, changed = self.handled, trio.current_time()
            await trio.sleep(LOOK / 2)


@asynccontextmanager
async def _alone_there() -> AsyncIterator[None]:
    """For the body; then nothing is left."""
    await trio.to_thread.run_sync(_refuse_others)
    try:
        yield
    finally:
        with shielded(_CLEARING):
            await trio.to_thread.run_sync(_clear, abandon_on_cancel=True)


def _refuse_others() -> None:
    redis: Any = client()
    for key in _SIGNS:
        if redis.exists(key):
            raise Occupied(
                f"the server has an app `flights` already, with the key {key}: "
                "name another server, or another database of it"
            )


def _clear() -> None:
    redis: Any = client()
    for key in list(redis.scan_iter(match=_OURS, count=1000)):
        redis.unlink(key)


def _departures(path: Path) -> Iterator[Flight]:
    unpack = gzip.open if path.suffix == ".gz" else open
    try:
        with unpack(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield _flight(f"{path}, line {number}", line)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error  # its own text has the path once more
        raise BadFile(f"{path} is damaged, or no text: {reason}") from error


def _flight(place: str, line: str) -> Flight:
    try:
        return flights.structure(json.loads(line))
    except (ValueError, RecursionError) as error:  # no JSON, or no flight
        raise BadFile(f"{place}: {error}") from error


def _stored() -> Planes:
    redis: Any = client()
    found = redis.hgetall(PLANES)
    return {tailnum.decode(): json.loads(plane) for tailnum, plane in found.items()}


def expected_of(path: Path) -> tuple[str, Planes | None]:
    """The name of the file that has the histories expected of a file of flights, and these if it is there."""
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".jsonl") + ".expected.json")
    if not beside.exists():
        return beside.name, None
    try:
        planes: Planes = json.loads(beside.read_bytes())["by_plane"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadFile(f"{beside} has no histories that could be compared: {reason}") from error
    return beside.name, planes


def differences(expected: Planes, found: Planes) -> list[str]:
    """The aircraft whose histories are wrong."""
    return sorted(x for x in expected.keys() | found.keys() if expected.get(x) != found.get(x))
