"""What `flown_app` wrote down, and whether it is right."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from redis import Redis

#: As in `flown_app`.
MAX_UNACKED = 50


@attrs.frozen
class Line:
    """One handled event, as `flown_app` writes it down."""

    partition: int
    epoch: int
    xid: tuple[int, ...]
    tailnum: str
    leg: str

    @classmethod
    def read(cls, text: str) -> Line:
        partition, epoch, xid, tailnum, leg = text.split(" ")
        return cls(int(partition), int(epoch), tuple(map(int, xid.split("-"))), tailnum, leg)


def lines(log: Path) -> list[Line]:
    return [Line.read(text) for text in log.read_text().splitlines()]


def count(log: Path) -> int:
    return log.read_bytes().count(b"\n")


def owners(log: Path) -> Iterator[tuple[int, list[list[Line]]]]:
    """For each partition, what each of its owners handled, by rising epoch."""
    by_partition: dict[int, dict[int, list[Line]]] = {}
    for line in lines(log):
        by_partition.setdefault(line.partition, {}).setdefault(line.epoch, []).append(line)
    for partition, found in by_partition.items():
        yield partition, [found[epoch] for epoch in sorted(found)]


def check(log: Path, expected: dict[str, Any]) -> int:
    """Every aircraft's flights are there, in order; how many events were handled twice."""
    digests: dict[str, str] = {}
    repeated = 0
    for partition, lives in owners(log):
        handled: list[Line] = []
        for life in lives:
            assert all(a.xid < b.xid for a, b in itertools.pairwise(life)), (
                f"partition {partition}: out of order"
            )
            again = [line for line in life if handled and line.xid <= handled[-1].xid]
            at = [x.xid for x in handled].index(again[0].xid) if again else len(handled)
            assert len(handled) - at <= MAX_UNACKED, f"partition {partition}"
            before = handled[at:]
            # Who is killed again before it has come to something new has repeated a part of it.
            part = before if len(life) > len(again) else before[: len(again)]
            assert [x.xid for x in again] == [x.xid for x in part], (
                f"partition {partition}: not what came last"
            )
            handled += life[len(again) :]
            repeated += len(again)
        for line in handled:
            text = f"{digests.get(line.tailnum, '')}|{line.leg}"
            digests[line.tailnum] = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert digests == {tailnum: plane["digest"] for tailnum, plane in expected.items()}
    return repeated


def done(groups: Callable[[], list[dict[str, Any]]]) -> bool:
    found = groups()
    return len(found) == 16 and all(group["lag"] == 0 and group["pending"] == 0 for group in found)


def members(redis: Redis) -> dict[int, int]:
    """Process → how many partitions the plan gives it, for all members of the present plan."""
    keys = {key.rpartition(b":")[2]: key for key in redis.scan_iter("*written_down}*")}
    if {b"members", b"assignment"} - keys.keys():
        return {}
    there, plan = redis.hgetall(keys[b"members"]), redis.hgetall(keys[b"assignment"])
    if there.get(b"generation") != plan.get(b"generation"):
        return {}
    return {
        json.loads(value.split(b" ", 5)[5])["pid"]: len(plan.get(field, b"").split())
        for field, value in there.items()
        if field.startswith(b"m:")
    }
