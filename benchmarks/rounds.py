"""Contenders in turn: each in a process of its own, against one server, round after round.

A round has each contender of a group once; the next round has them in the opposite order. What they are
compared with is what ran in the same round.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis

from benchmarks.contenders.ours import fill
from benchmarks.scenario import Group
from benchmarks.workload import Result

#: Seconds after which a contender is given up.
PATIENCE = 120


@dataclasses.dataclass
class Rounds:
    """What takes part, and what was found.

    Attributes:
        url: the server's.
        events: how many each contender sends or handles; some take a fixed share of it.
        groups: of scenarios.
        pythons: by peer, the interpreter of its environment.
        found: a result by group and contender, for each round.
        failed: by group and contender, the last line of what it said.
    """

    url: str
    events: int
    groups: Sequence[Group]
    pythons: Mapping[str, str] = dataclasses.field(default_factory=dict)
    found: list[dict[tuple[str, str], Result]] = dataclasses.field(default_factory=list)
    failed: dict[tuple[str, str], str] = dataclasses.field(default_factory=dict)

    def warm_up(self) -> None:
        """Bytecode is compiled and files are read before anything is timed."""
        sides = dict.fromkeys((self._python(group, name), name) for group, name in self._all())
        seen = set()
        for python, name in sides:
            if (python, name.split("/")[0]) not in seen:
                seen.add((python, name.split("/")[0]))
                command = [python, "-c", f"from benchmarks.contenders import named; named({name!r})"]
                subprocess.run(command, check=False, capture_output=True)

    def _all(self) -> list[tuple[Group, str]]:
        return [(group, name) for group in self.groups for name in group.contenders()]

    def run(self, count: int) -> None:
        """So many rounds."""
        self.warm_up()
        for number in range(count):
            print(f"round {number + 1} of {count}", file=sys.stderr, flush=True)
            self.found.append({})
            for group in self.groups:
                self._play(group, number)

    def _play(self, group: Group, number: int) -> None:
        with Redis.from_url(self.url) as redis:
            redis.flushall()
            if group.backlog:
                fill(self.url, self.events)
            names = group.contenders()
            for place, name in enumerate(reversed(names) if number % 2 else names):
                print(f"  {group.name}: {name:<60}\r", end="", file=sys.stderr, flush=True)
                if group.fresh:
                    redis.flushall()
                self._meet(redis, group, name, number * 100 + place)
            redis.flushall()

    def _meet(self, redis: Redis, group: Group, name: str, unique: int) -> None:
        """What one contender finds out, and what it cost the server for each event."""
        before = server_seconds(redis)
        command = [self._python(group, name), "-m", "benchmarks.child", name, self.url]
        try:
            result = measured([*command, str(self.events), str(unique)])
        except Failed as error:
            self.failed[group.name, name] = str(error)
            return
        if "events" in result:
            result["server_time"] = (server_seconds(redis) - before) / result["events"]
        self.found[-1][group.name, name] = result

    def _python(self, group: Group, name: str) -> str:
        return self.pythons.get(group.peer_of(name), sys.executable)


class Failed(Exception):
    """A contender ended without a result."""


def measured(command: Sequence[str]) -> Result:
    """What a contender prints in its last line."""
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise Failed(f"no result after {PATIENCE} s") from None
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Failed(said[-1].strip())
    found: Result = json.loads(lines[-1])
    return found


def server_seconds(redis: Redis) -> float:
    """CPU time that the server has used so far."""
    used: dict[str, Any] = redis.info("cpu")
    return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])
