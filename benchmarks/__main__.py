"""The command line; see the package's docstring."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trio
from redis import Redis

from benchmarks import budget, compare, environments, figures, handover, machine, scale, table
from benchmarks.rounds import Rounds
from benchmarks.rows import rows
from benchmarks.scenario import Group
from benchmarks.scenarios import GROUPS, narrowed
from benchmarks.scenarios.peers import among
from runnel_trio._embedded._server import embedded_server

#: What is no comparison with others, by its first word.
COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "compare": compare.main,
    "handover": handover.main,
    "scale": scale.main,
    "budget": budget.main,
}


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="runnel-trio next to loops by hand",
        epilog=f"other measurements have options of their own: {', '.join(COMMANDS)}",
    )
    parser.add_argument("scenarios", nargs="*", help="names of groups, or parts of titles (default: all)")
    parser.add_argument("--events", type=int, default=60_000, help="in each contender (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs")
    parser.add_argument("--json", type=Path, help="where to write the table, as docs/benchmarks.json")
    parser.add_argument("--peers", default="", metavar="NAME,...", help="other frameworks beside it, or all")
    parser.add_argument("--list", action="store_true", help="say what there is, and with which bar")
    options = parser.parse_args(arguments)
    if options.quick:
        options.events, options.rounds = 1200, 1
    return options


def listed(groups: Sequence[Group]) -> None:
    for group in groups:
        print(f"\n{group.name}: {group.about}")
        for scenario in group.scenarios:
            print(f"  {scenario.title:<54}{scenario.bar:>11}")


def measured(url: str, groups: Sequence[Group], options: argparse.Namespace) -> dict[str, Any]:
    """Everything that is in the JSON file."""
    peers, pythons, versions = environments.ready(environments.chosen(options.peers))
    groups = [*groups, *(narrowed(among(peers), options.scenarios) if peers else [])]
    rounds = Rounds(url, options.events, groups, pythons)
    rounds.run(options.rounds)
    with Redis.from_url(url) as redis:
        about = {**machine.described(redis), "events": options.events, "rounds": options.rounds}
    if versions:
        about["peers"] = ", ".join(f"{title} {version}" for title, version in versions.items())
    headings = [{"name": group.name, "title": group.title, "about": group.about} for group in groups]
    found: dict[str, Any] = {"about": about, "groups": headings, "rows": rows(rounds)}
    print("; ".join(f"{key} {value}" for key, value in about.items() if value))
    print("\n".join(table.lines(groups, found["rows"])))
    return found


def failures(found: dict[str, Any]) -> int:
    """How many of our own rows have no figure: a peer that does not run is no fault of ours."""
    return sum("failed" in row and not row["peer"] for row in found["rows"])


async def run(groups: Sequence[Group], options: argparse.Namespace) -> int:
    async with embedded_server("embedded://") as url:
        found = await trio.to_thread.run_sync(measured, url, groups, options)
    print(f"\n{table.summary(found['rows'])}")
    if options.json is not None:
        path = trio.Path(options.json)
        if await path.exists():
            order = [group.name for group in [*GROUPS, *among(environments.chosen("all"))]]
            found = figures.merged(json.loads(await path.read_text()), found, order)
        await path.write_text(json.dumps(found, indent=1) + "\n")
    return int(failures(found) > 0)


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]](arguments[1:])
    options = parsed(arguments)
    groups = narrowed(GROUPS, options.scenarios)
    if options.list:
        listed([*groups, *narrowed(among(environments.chosen("all")), options.scenarios)])
        return 0
    return trio.run(run, groups, options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
