"""``python -m benchmarks scale [WHAT ...]``: what grows with partitions, processors, workers, sizes, backlog.

Each measurement has a process of its own, against one server. Under each table it says where one more unit
costs more than one more did before. `crowd` needs no server: it is a thousand workers in virtual time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import trio

from benchmarks import crowd
from benchmarks.growth import Cost, Point, table
from runnel_trio._embedded._server import embedded_server

RATE = Cost("rate", "events/s", kind="rate")
CORE = Cost("core", "idle, of a core", ".2%", kind="total")
MEMORY = Cost("memory", "memory, MiB", kind="total")
PEAK = Cost("memory", "memory, MiB")
READY = Cost("seconds", "to own all, s", ".2f")

#: What is measured: the numbers, and the columns.
SCALES: dict[str, tuple[Sequence[int], Sequence[Cost]]] = {
    "partitions": ([1, 4, 16, 64, 256, 1024, 4096], [RATE, READY, CORE, MEMORY]),
    "processors": ([1, 4, 16, 64], [RATE, CORE, MEMORY]),
    "workers": ([1, 2, 4, 8, 16, 32], [RATE, READY, CORE, MEMORY]),
    "sizes": (
        [50, 500, 5_000, 50_000, 500_000, 1 << 20],
        [
            Cost("rate", "events/s"),
            Cost("sent", "sent, MiB/s", kind="rate"),
            Cost("handled", "handled, MiB/s", kind="rate"),
            PEAK,
        ],
    ),
    "backlog": ([], [RATE, Cost("memory", "memory, MiB", kind="each")]),
    "crowd": (
        [10, 100, 1000],
        [
            Cost("join_calls", "calls to join", kind="total"),
            Cost("join_virtual", "virtual s", ".1f"),
            Cost("join_wall", "wall s", ".2f", kind="total"),
            Cost("leave_calls", "calls to leave", kind="total"),
            Cost("leave_virtual", "virtual s", ".1f"),
            Cost("leave_wall", "wall s", ".2f", kind="total"),
        ],
    ),
}


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(SCALES)} (default: all)")
    parser.add_argument("--events", type=int, default=60_000, help="in each (default: %(default)s)")
    parser.add_argument("--backlog", type=float, default=5.0, help="millions (default: %(default)s)")
    parser.add_argument("--most", type=int, default=1 << 20, help="leave out numbers above this")
    options = parser.parse_args(arguments)
    unknown = {*options.what} - {*SCALES}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    return options


def one(what: str, n: int, events: int, url: str, unique: int) -> Any:
    """A measurement in a process of its own."""
    values = (what, str(n), str(events), url, str(unique))
    command = [sys.executable, "-m", "benchmarks.contenders.scaling", *values]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def points(what: str, url: str, options: argparse.Namespace) -> Iterator[Point]:
    """The measurements of one kind."""
    if what == "backlog":
        yield from one(what, int(options.backlog * 1e6), 0, url, 0)
        return
    for place, n in enumerate(SCALES[what][0]):
        if n <= options.most:
            print(f"  {what}: {n:<20,}\r", end="", file=sys.stderr, flush=True)
            yield n, one(what, n, options.events, url, 10 * place)


def crowded(options: argparse.Namespace) -> Iterator[Point]:
    """As many partitions as workers at least, so that each has something to own."""
    numbers = [n for n in SCALES["crowd"][0] if n <= options.most]
    for n in numbers:
        yield n, crowd.gather(n, partitions=2 * n)


def show(what: str, found: list[Point]) -> None:
    print(f"\n{what}")
    print("\n".join(table("bytes" if what == "sizes" else what, SCALES[what][1], found)), flush=True)


async def run(options: argparse.Namespace) -> None:
    wanted = [what for what in options.what or SCALES if what != "crowd"]
    for what in wanted:
        async with embedded_server("embedded://") as url:
            show(
                what,
                await trio.to_thread.run_sync(lambda what, url: list(points(what, url, options)), what, url),
            )


def main(arguments: Sequence[str]) -> int:
    """Print a table for each."""
    options = parsed(arguments)
    trio.run(run, options)
    if not options.what or "crowd" in options.what:
        show("crowd", list(crowded(options)))
    return 0
