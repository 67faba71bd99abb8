"""One contender, in a process of its own: ``python -m benchmarks.child NAME URL COUNT UNIQUE``."""

from __future__ import annotations

import json
import sys

from benchmarks.contenders import named


def main(name: str, url: str, count: str, unique: str) -> None:
    """Print what it finds out, as JSON, in the last line."""
    print(json.dumps(named(name)(url, int(count), int(unique))))


if __name__ == "__main__":
    main(*sys.argv[1:])
