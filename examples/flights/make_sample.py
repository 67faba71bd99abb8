"""Cut a sample out of a month of flights, and compute what is expected of it, with nothing of runnel-trio.

    python -m examples.flights.make_sample flights-2013-01.jsonl.gz 2013-01-08

writes the flights before that day to sample.jsonl.gz and the expected histories to sample.expected.json, both
in the package, where `runnel-trio demo` has them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parents[2] / "src" / "runnel_trio" / "_demo"


def expected(lines: list[str]) -> dict[str, Any]:
    """The histories, straight from the lines."""
    planes: dict[str, dict[str, Any]] = {}
    for line in lines:
        x = json.loads(line)
        plane = planes.setdefault(x["tailnum"], {"delayed": 0, "digest": "", "flights": 0, "miles": 0})
        leg = f"{plane['digest']}|{x['carrier']}{x['flight']}|{x['time_hour']}|{x['origin']}|{x['dest']}"
        plane["digest"] = hashlib.sha256(leg.encode()).hexdigest()[:16]
        plane["delayed"] += 1 if x["arr_delay"] is not None and x["arr_delay"] >= 15 else 0
        plane["flights"] += 1
        plane["miles"] += x["distance"]
    return {"by_plane": planes, "events": len(lines), "planes": len(planes)}


def main(month: str, until: str) -> None:
    """Write both files."""
    with gzip.open(month, "rt", encoding="utf-8") as file:
        lines = [line for line in file if json.loads(line)["time_hour"] < until]
    with (PACKAGE / "sample.jsonl.gz").open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as packed:
        packed.write("".join(lines).encode())
    text = json.dumps(expected(lines), sort_keys=True, indent=None, separators=(",", ":"))
    (PACKAGE / "sample.expected.json").write_text(text.replace("},", "},\n") + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
