"""``python -m benchmarks budget``: where the time of one event goes, in ns, from the socket to the commit.

The rate is that of a consumer which nobody watches; its shares come from a second run under py-spy
(``pip install py-spy``), whose samples are told apart by what is on the stack. The server's part is what it
counts itself (``INFO commandstats``), beside all this and mostly at the same time; what the kernel counts is
from a third run under ``perf stat``, where that is installed. ``--source`` profiles the ``src`` of another
checkout, for before and after.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio
from redis import Redis

from benchmarks.contenders.ours import fill
from runnel_trio._embedded._server import embedded_server

#: What one event's stage is by a frame on the stack; the first that is found, in this order.
STAGES: list[tuple[str, str]] = [
    ("commit: calls, answers, what it lets go of", r"(_committer|_broker|_batcher|_connection|_scripts)\.py"),
    ("read: the reply as lists (hiredis)", r"take \(.*_socket\.py"),
    ("read: asking, offering to the backlog", r"(_reader|_blocking_read|_fetcher)\.py"),
    ("record: msgspec, build, dates", r"_codec/|<build |<read |_stream\.py"),
    ("source: take, look whether more may be, Event", r"(_source|_backlog)\.py|methods runnel_trio\._event"),
    ("chain: deliver, hold, acknowledge", r"(_deliver|_events)\.py"),
    ("the user's function", r"contenders"),
    ("Trio's loop", r"trio/"),
]
#: On the stacks of a worker and its threads; not on those of imports.
RUNS = re.compile(r"unrolled_run|worker_fn|_heartbeat\.py")
OTHER = "everything else"
#: What perf counts.
KERNEL = {
    "task-clock": "CPU, ms",
    "context-switches": "context switches",
    "cpu-migrations": "moves to the other core",
    "page-faults": "page faults",
}


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks budget", description=__doc__)
    parser.add_argument("--events", type=int, default=400_000, help="(default: %(default)s)")
    parser.add_argument("--contender", default="ours/consume", help="(default: %(default)s)")
    parser.add_argument("--source", type=Path, help="of another checkout")
    return parser.parse_args(arguments)


def stage(stack: str) -> str:
    """Which one a sample belongs to."""
    return next((name for name, sign in STAGES if re.search(sign, stack)), OTHER)


def shares(profile: Path) -> dict[str, float]:
    """Of each stage, among the samples of py-spy."""
    found: Counter[str] = Counter()
    for line in profile.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        if RUNS.search(stack) and "importlib" not in stack:
            found[stage(stack)] += int(count)
    return {name: count / found.total() for name, count in found.most_common()}


def served(redis: Redis) -> dict[str, tuple[int, int]]:
    """Of each command: calls, and microseconds."""
    info: Any = redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): (x["calls"], x["usec"]) for name, x in info.items()}


def counted(report: str) -> dict[str, float]:
    """What ``perf stat -x,`` says, by event."""
    rows = [line.split(",") for line in report.splitlines() if line.count(",") > 3]
    return {row[2].partition(":")[0]: float(row[0]) for row in rows if row[0].replace(".", "").isdigit()}


def of_kernel(command: list[str], events: int, source: Path | None) -> list[str]:
    """Lines about the process as a whole, its start included; none without perf."""
    if shutil.which("perf") is None:
        return []
    with tempfile.NamedTemporaryFile("r") as file:
        watch = ["perf", "stat", "-x,", "-o", file.name, "-e", ",".join(KERNEL), "--"]
        try:
            run([*watch, *command], source)
        except subprocess.CalledProcessError:  # no permission, mostly
            return []
        found = counted(file.read())
    rows = [(what, found[name]) for name, what in KERNEL.items() if name in found]
    lines = [f"  {what:<52}{1000 * count / events:>7,.1f} per 1,000 events" for what, count in rows]
    return ["", "the kernel, of the whole process (perf stat):", *lines]


def run(command: list[str], source: Path | None) -> str:
    """What it prints."""
    environment = {**os.environ, **({"PYTHONPATH": str(source.resolve())} if source else {})}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return done.stdout


def budget(options: argparse.Namespace, url: str) -> str:
    child = [sys.executable, "-m", "benchmarks.child"]
    fill(url, options.events)
    redis = Redis.from_url(url)
    before = served(redis)
    said = run([*child, options.contender, url, str(options.events), "1"], options.source)
    rate = json.loads(said.splitlines()[-1])["rate"]
    server = served(redis)
    with tempfile.TemporaryDirectory() as directory:
        profile = Path(directory) / "profile"
        spy = ["py-spy", "record", "--rate", "500", "--format", "raw", "--output", str(profile), "--"]
        run([*spy, *child, options.contender, url, str(options.events), "2"], options.source)
        parts = shares(profile)
    each = 1e9 / rate
    lines = [f"{options.contender}: {rate:,.0f} events/s, {each:,.0f} ns for each", ""]
    lines += [f"  {name:<52}{each * part:>7,.0f} ns{part:>7.1%}" for name, part in parts.items()]
    lines += ["", "the server, beside this (INFO commandstats):"]
    for name in ("xread", "evalsha", "eval"):
        calls, spent = (
            now - then for now, then in zip(server.get(name, (0, 0)), before.get(name, (0, 0)), strict=True)
        )
        if calls:
            lines.append(
                f"  {name:<52}{1000 * spent / options.events:>7,.0f} ns"
                f"   in {calls:,} calls of {spent / calls:,.0f} µs"
            )
    lines += of_kernel(
        [*child, options.contender, url, str(options.events), "3"], options.events, options.source
    )
    return "\n".join(lines)


async def show(options: argparse.Namespace) -> None:
    async with embedded_server("embedded://") as url:
        print(await trio.to_thread.run_sync(budget, options, url))


def main(arguments: Sequence[str]) -> int:
    """Print where the time goes."""
    options = parsed(arguments)
    if shutil.which("py-spy") is None:
        sys.exit("py-spy is not installed: pip install py-spy")
    trio.run(show, options)
    return 0
