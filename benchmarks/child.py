"""One contender, in a process of its own: ``python -m benchmarks.child NAME URL COUNT UNIQUE``."""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks.workload import Contender


def main(name: str, url: str, count: str, unique: str) -> None:
    """Print what it finds out, as JSON."""
    module = "benchmarks.by_hand" if "by-hand" in name else "benchmarks.ours"
    contender: Contender = importlib.import_module(module).CONTENDERS[name]
    print(json.dumps(contender(url, int(count), int(unique))))


if __name__ == "__main__":
    main(*sys.argv[1:])
