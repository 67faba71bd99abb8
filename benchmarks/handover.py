"""``python -m benchmarks handover``: for how long is a partition without an owner?

Workers are real processes. Each writes a line when its function begins with a partition and when it is done
with it, with the time of the machine's monotonic clock, which all processes share. A worker joins, one is
told to stop, one is killed; for every partition that changed hands the pause is the time from the end of the
old owner's (when it was killed: from the kill) to the new owner's beginning.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio

from runnel_trio import App, Record
from runnel_trio._embedded._server import embedded_server


class Nothing(Record):
    """Nothing is sent: it is the owners that count."""

    key: str


def worker(url: str, journal: str, partitions: int, expiry: float) -> None:
    """A worker that writes down what it owns, until a signal."""
    app = App("handover", redis_url=url, default_partition_count=partitions, default_lock_expiry=expiry)
    stream = app.stream("nothing", Nothing, partition_by="key")
    file = os.open(journal, os.O_WRONLY | os.O_APPEND)

    def note(what: str, number: int) -> None:
        line = {"what": what, "partition": number, "pid": os.getpid(), "at": time.monotonic()}
        os.write(file, json.dumps(line).encode() + b"\n")

    @app.processor(stream)
    async def own(events: Any) -> None:
        note("begin", events.partition.number)
        try:
            async for _ in events:
                pass
        finally:
            note("end", events.partition.number)

    async def until_told() -> None:
        async with trio.open_nursery() as nursery:
            with trio.open_signal_receiver(signal.SIGTERM) as signals:
                nursery.start_soon(app.run)
                await anext(aiter(signals))
            nursery.cancel_scope.cancel()

    trio.run(until_told)


class Cluster:
    """Workers as processes, and what they wrote down."""

    def __init__(self, url: str, journal: Path, partitions: int, expiry: float) -> None:
        self.url, self.journal, self.partitions, self.expiry = url, journal, partitions, expiry
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        arguments = [self.url, str(self.journal), str(self.partitions), str(self.expiry)]
        command = [sys.executable, "-m", "benchmarks", "handover", "--worker", *arguments]
        self.running.append(subprocess.Popen(command))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def owners(self) -> dict[int, int]:
        """Partition → process that began with it last and has not ended."""
        owners: dict[int, int] = {}
        for line in self.lines():
            if line["what"] == "begin":
                owners[line["partition"]] = line["pid"]
            elif owners.get(line["partition"]) == line["pid"]:
                del owners[line["partition"]]
        return owners

    def settle(self) -> None:
        """Until the workers that run own everything, evenly."""
        alive = {process.pid for process in self.running}
        end = time.monotonic() + 10 * self.expiry + 60
        while time.monotonic() < end:
            owners = list(self.owners().values())
            counts = {pid: owners.count(pid) for pid in alive}
            spread = max(counts.values()) - min(counts.values())
            if len(owners) == self.partitions == sum(counts.values()) and spread <= 1:
                return
            time.sleep(0.05)
        raise TimeoutError(f"not settled: {self.owners()}")

    def pauses(self, since: float, killed: int | None) -> list[float]:
        """Seconds without an owner of each partition that changed hands."""
        ended = dict.fromkeys((n for n, pid in self.before.items() if pid == killed), since)
        found = []
        for line in self.lines():
            if line["at"] < since:
                continue
            if line["what"] == "end":
                ended[line["partition"]] = line["at"]
            else:
                found.append(line["at"] - ended[line["partition"]])
        return found

    before: dict[int, int]

    def joins(self) -> list[float]:
        self.before, since = self.owners(), time.monotonic()
        self.start()
        self.settle()
        return self.pauses(since, None)

    def leaves(self, number: signal.Signals) -> list[float]:
        self.before, since = self.owners(), time.monotonic()
        gone = self.running.pop(0)
        gone.send_signal(number)
        gone.wait()
        self.settle()
        return self.pauses(since, gone.pid if number == signal.SIGKILL else None)


@contextmanager
def cluster(url: str, partitions: int, expiry: float) -> Iterator[Cluster]:
    """Three workers that have settled."""
    with tempfile.NamedTemporaryFile() as journal:
        found = Cluster(url, Path(journal.name), partitions, expiry)
        try:
            for _ in range(3):
                found.start()
            found.settle()
            yield found
        finally:
            for process in found.running:
                process.kill()
                process.wait()


def measured(partitions: int, expiry: float, rounds: int) -> dict[str, list[float]]:
    """Pauses by what happened, of some rounds with a server each."""
    pauses: dict[str, list[float]] = {"joins": [], "leaves": [], "is killed": []}

    async def one_round() -> None:
        async with embedded_server("embedded://") as url:
            await trio.to_thread.run_sync(play, url)

    def play(url: str) -> None:
        with cluster(url, partitions, expiry) as workers:
            pauses["joins"] += workers.joins()
            pauses["leaves"] += workers.leaves(signal.SIGTERM)
            workers.start()
            workers.settle()
            pauses["is killed"] += workers.leaves(signal.SIGKILL)

    for _ in range(rounds):
        trio.run(one_round)
    return pauses


def main(arguments: Sequence[str]) -> int:
    """Print a table; or be one of the workers."""
    if arguments[:1] == ["--worker"]:
        url, journal, partitions, expiry = arguments[1:]
        worker(url, journal, int(partitions), float(expiry))
        return 0
    parser = argparse.ArgumentParser(prog="python -m benchmarks handover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--partitions", type=int, nargs="*", default=[16, 256])
    parser.add_argument("--expiry", type=float, nargs="*", default=[2, 10])
    options = parser.parse_args(arguments)
    columns = ("partitions", "expiry s", "a worker", "moved", "p50 ms", "p99 ms", "max ms")
    print("".join(f"{column:>11}" for column in columns))
    for partitions in options.partitions:
        for expiry in options.expiry:
            for what, pauses in measured(partitions, expiry, options.rounds).items():
                ordered = sorted(1000 * x for x in pauses)
                p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
                figures = (f"{x:.1f}" for x in (statistics.median(ordered), p99, ordered[-1]))
                row = (partitions, f"{expiry:g}", what, len(ordered), *figures)
                print("".join(f"{value:>11}" for value in row), flush=True)
    return 0
