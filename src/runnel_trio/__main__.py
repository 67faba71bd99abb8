"""``python -m runnel_trio`` is the command line, like the console script ``runnel-trio``."""

from __future__ import annotations

from runnel_trio._cli import main

if __name__ == "__main__":
    main()
