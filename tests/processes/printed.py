"""What the guide prints, as a reader has it: copied into a directory, with a guard taken out where a test wants that."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

STATE = Path(__file__).parents[2] / "docs" / "examples" / "state"
CUSTOMERS = 20
#: A guard and what stands in its place, by file.
Mutation = Mapping[str, Iterable[tuple[str, str]]]

#: More transactions, with less in each. In one of them that is about to fail, there is time for another's commit.
SLOW = """import sqlite3
import time

COMMITTED: list[int] = []


def wait_for_another(some) -> None:
    before, until = len(COMMITTED), time.monotonic() + 1
    while any(x.customer == "c7" for x in some) and len(COMMITTED) == before and time.monotonic() < until:
        time.sleep(0.001)

"""
MANY_TRANSACTIONS: Mutation = {
    "totals.py": [
        ("take(500", "take(5"),
        ("import sqlite3\n", SLOW),
        ("    db.executemany(", "    wait_for_another(found)\n    db.executemany("),
        ("progress.apply(add, some)", "progress.apply(add, some)\n            COMMITTED.append(1)"),
    ],
}
#: All partitions of a worker use one connection, and one `Progress`.
ONE_CONNECTION: Mutation = {
    "totals.py": [
        *MANY_TRANSACTIONS["totals.py"],
        ("@app.processor(orders)", "SHARED = Progress(connect())\n\n\n@app.processor(orders)"),
        ("with closing(await trio.to_thread.run_sync(connect)) as db:", "if True:"),
        ("progress = Progress(db)", "progress = SHARED"),
    ],
}
_ROWS = "from runnel_trio.sql._rows import Rows\n\n"
_WITHOUT_IDS = f"import sqlite3\n{_ROWS}Rows.not_applied = lambda self, keyed: list(keyed)\n"
_WITHOUT_EPOCH = f"{_WITHOUT_IDS}Rows.claim = lambda self: None\n"
WITHOUT_IDS: Mutation = {name: [("import sqlite3\n", _WITHOUT_IDS)] for name in ("totals.py", "charges.py")}
WITHOUT_BOTH: Mutation = {
    name: [("import sqlite3\n", _WITHOUT_EPOCH)] for name in ("totals.py", "charges.py")
}
WITHOUT_KEY: Mutation = {
    "invoices.py": [(", PRIMARY KEY (source, xid)", ""), (" ON CONFLICT (source, xid) DO NOTHING", "")],
}


def printed_in(directory: Path, mutation: Mutation | None = None) -> Path:
    """The files, with that much changed in them."""
    shutil.copytree(STATE, directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name, changes in (mutation or {}).items():
        text = (directory / name).read_text()
        for guard, other in changes:
            assert guard in text, f"{name} has changed: {guard}"
            text = text.replace(guard, other)
        (directory / name).write_text(text)
    return directory


def some_orders(count: int, first: int = 0) -> list[dict[str, object]]:
    """Orders of many customers, who differ in what they pay."""
    return [{"customer": f"c{n % CUSTOMERS}", "amount": 1 + n % 3} for n in range(first, first + count)]


def written(path: Path, orders: Iterable[object]) -> Path:
    """A file for `sendmany`."""
    path.write_text("".join(json.dumps(order) + "\n" for order in orders))
    return path


def recounted(orders: Iterable[Mapping[str, object]]) -> dict[str, int]:
    """What each customer has paid, from what was sent."""
    sums: Counter[str] = Counter()
    for order in orders:
        sums[str(order["customer"])] += int(str(order["amount"]))
    return dict(sums)


def in_postgresql(dsn: str, query: str) -> dict[str, int]:
    """As `in_database`."""
    import psycopg

    with psycopg.connect(dsn) as db:
        return dict(db.execute(query).fetchall())


def in_database(path: Path, query: str) -> dict[str, int]:
    """What it says of each customer; nothing where there is no such table yet."""
    if not path.exists():
        return {}
    with closing(sqlite3.connect(path, timeout=30)) as db:
        try:
            return dict(db.execute(query).fetchall())
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return {}
            raise
