"""Send a file of flights through two workers on a server of their own, show what came out, and check it.

    python -m examples.flights [FILE]

This is `runnel-trio demo`. FILE has one flight a line, as JSON, and may be gzipped; without it, it is the
sample in the package. What is expected stands in a file of the same name that ends in .expected.json instead
of .jsonl or .jsonl.gz.
"""

from __future__ import annotations

import sys

from runnel_trio._cli import main

if __name__ == "__main__":
    main(["demo", *sys.argv[1:]])
