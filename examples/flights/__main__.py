"""Send a file of flights through a worker on a server of its own, show what came out, and check it.

    python -m examples.flights [FILE]

FILE has one flight a line, as JSON, and may be gzipped; without it, it is the sample beside this module. What
is expected stands in a file of the same name that ends in .expected.json instead of .jsonl or .jsonl.gz.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import trio

from examples.flights.app import PLANES, Flight, app, client, flights

SAMPLE = Path(__file__).parent / "sample.jsonl.gz"
Planes = dict[str, dict[str, Any]]


def departures(path: Path) -> Iterator[Flight]:
    """The flights of a file."""
    unpack = gzip.open if path.suffix == ".gz" else open
    with unpack(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield flights.structure(json.loads(line))


async def replayed(path: Path) -> tuple[int, Planes, float]:
    """How many flights were sent, the histories that they led to, and the seconds that it took."""
    sent = 0
    planes: Planes = {}
    async with app.session(), app.worker():
        began = time.perf_counter()
        source = departures(path)
        while batch := list(islice(source, 1000)):
            await flights.send(*batch)
            sent += len(batch)
        with trio.move_on_after(60):  # what is missing then, the check tells
            while sum(plane["flights"] for plane in planes.values()) < sent:
                await trio.sleep(0.02)
                planes = await trio.to_thread.run_sync(stored)
        return sent, planes, time.perf_counter() - began


def stored() -> Planes:
    """The histories on the server."""
    found: Any = client(app.server_url).hgetall(PLANES)
    return {tailnum.decode(): json.loads(plane) for tailnum, plane in found.items()}


def show(title: str, sent: int, planes: Planes, seconds: float) -> None:
    """The ten busiest aircraft and the totals."""
    busiest = sorted(planes, key=lambda tailnum: (-planes[tailnum]["flights"], tailnum))[:10]
    totals = {name: sum(plane[name] for plane in planes.values()) for name in ("flights", "miles", "delayed")}
    print(f"{title}: the ten busiest aircraft\n")
    print(f"{'aircraft':<10}{'flights':>8}{'miles':>13}{'delayed':>9}   history")
    for tailnum in busiest:
        print(f"{tailnum:<10}{row(planes[tailnum])}")
    print(f"{'all':<10}{row({**totals, 'digest': ''})}\n")
    print(f"{sent:,} flights of {len(planes):,} aircraft in {seconds:.2f} s: {sent / seconds:,.0f} events/s")


def row(plane: dict[str, Any] | None) -> str:
    """The columns of one aircraft."""
    if plane is None:
        return "    none"
    counts = f"{plane['flights']:>8,}{plane['miles']:>13,}{plane['delayed']:>9,}"
    return f"{counts}   {plane['digest']}".rstrip()


def check(path: Path, planes: Planes) -> bool:
    """Whether every history is the expected one; says so."""
    beside = path.with_name(path.name.removesuffix(".gz").removesuffix(".jsonl") + ".expected.json")
    if not beside.exists():
        print(f"Not checked: there is no {beside.name} beside the file.")
        return True
    expected: Planes = json.loads(beside.read_text())["by_plane"]
    wrong = sorted(x for x in expected.keys() | planes.keys() if expected.get(x) != planes.get(x))
    if wrong:
        print(f"WRONG: {len(wrong):,} histories differ from {beside.name}. One is {wrong[0]}'s:")
        print(f"expected  {row(expected.get(wrong[0]))}\nfound     {row(planes.get(wrong[0]))}")
    else:
        print(f"Right: all {len(planes):,} histories equal {beside.name},")
        print("so every flight was counted once, and each aircraft's in their order.")
    return not wrong


def main() -> None:
    """Run it; exit code 1 if a history is not the expected one."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else SAMPLE
    if not path.is_file():
        sys.exit(f"There is no file {path}")
    app.use_server("embedded://")
    sent, planes, seconds = trio.run(replayed, path)
    show(f"Departures from New York, {path.name}", sent, planes, seconds)
    sys.exit(0 if check(path, planes) else 1)


if __name__ == "__main__":
    main()
