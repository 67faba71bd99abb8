"""One contender, in a process of its own: ``python -m benchmarks.child NAME URL COUNT UNIQUE``."""

from __future__ import annotations

import gc
import json
import sys

from benchmarks.contenders import named


def main(name: str, url: str, count: str, unique: str) -> None:
    """Print what it finds out, as JSON, in the last line.

    Every contender gets the garbage collector as `runnel-trio run` sets it: full collections are rare.
    """
    contender = named(name)
    gc.collect()
    gc.freeze()
    gc.set_threshold(*gc.get_threshold()[:2], 100)
    print(json.dumps(contender(url, int(count), int(unique))))


if __name__ == "__main__":
    main(*sys.argv[1:])
