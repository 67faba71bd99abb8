"""What commands really print, for the pictures of `screens`: they are run, and what varies is replaced."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

__all__ = ["ERRORS", "HALTED", "Start", "started", "typed"]

#: Starts ``python -m runnel_trio``: arguments, a file for all that it prints, a directory, an environment.
Start = Callable[[Sequence[str], int, Path, Mapping[str, str]], Any]
#: Seconds that a command may take.
PATIENCE = 60.0

SHOP = """
from runnel_trio import App, Record

app = App("shop", default_partition_count=4)

class Order(Record):
    id: int
    customer: str
    amount: float

orders = app.stream("orders", Order, partition_by="customer")
offers = app.stream("offers", Order, partition_by="customer", partition_size=3, overflow="error")

@app.processor(orders)
async def bill(events):
    async for order in events.records():
        if order.amount < 0:
            raise ValueError(f"order {order.id} is for {order.amount:g}")

@app.processor(orders, exception_policy="quarantine")
async def book(events):
    async for order in events.records():
        if order.amount < 0:
            raise LookupError(f"no account for {order.customer!r}")
"""
ORDER = '{"id": 1, "customer": "Ada", "amount": 7.5}'
BAD = '{"id": 3, "customer": "Ada", "amount": -7}'
FILE = f"{ORDER}\n{ORDER}\n" + '{"id": 2, "customer": "Ada", "amount": "much"}\n'


@attrs.frozen
class Step:
    """One command.

    Attributes:
        typed: as a person types it.
        arguments: as it is run, without the server.
        variables: of its environment.
        until: what is waited for before it is stopped; it ends by itself where that is empty.
        silent: it is run, and not shown.
    """

    typed: str
    arguments: Sequence[str]
    variables: Mapping[str, str] = attrs.field(factory=dict)
    until: str = ""
    silent: bool = False


#: One error of each kind.
ERRORS = [
    Step(
        f"runnel-trio send shop:orders '{ORDER}'",
        ["send", "shop:orders", ORDER],
        {"RUNNEL_REDIS_URL": "redis://127.0.0.1:1"},
    ),
    Step(
        "runnel-trio run shop:app", ["run", "shop:app"], {"RUNNEL_REDIS_URL": "unix://SERVER?password=wrong"}
    ),
    Step("runnel-trio run shop:app", ["run", "shop:app"], {"RUNNEL_DEFAULT_LOCK_EXPIRY": "soon"}),
    Step("runnel-trio run shop:app --processors printer", ["run", "shop:app", "--processors", "printer"]),
    Step("runnel-trio sendmany shop:orders orders.jsonl", ["sendmany", "shop:orders", "orders.jsonl"]),
    Step("", ["send", "shop:offers", ORDER, ORDER, ORDER], silent=True),
    Step(f"runnel-trio send shop:offers '{ORDER}'", ["send", "shop:offers", ORDER]),
    Step("runnel-trio status --app shopp --over 0", ["status", "--app", "shopp", "--over", "0"]),
]
#: An event that cannot be handled, under HALT and under QUARANTINE.
HALTED = [
    Step("", ["send", "shop:orders", BAD], silent=True),
    Step(
        "runnel-trio run shop:app --processors bill --log-level error",
        ["run", "shop:app", "--processors", "bill", "--log-level", "error"],
    ),
    Step(
        "runnel-trio run shop:app --processors book --log-level error",
        ["run", "shop:app", "--processors", "book", "--log-level", "error"],
        until="--partition",
    ),
]

#: What differs from run to run → what stands in the picture.
ALIKE = [
    (re.compile(r"unix://\S+?/s\?password=\*\*\*"), "redis://:***@10.0.0.5:6379"),
    (re.compile(r"127\.0\.0\.1:1\b"), "10.0.0.5:6379"),
    (re.compile(r"\d\d:\d\d:\d\d\.\d\d\d"), "03:04:05.006"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "2026-11-25 03:04:05"),
    (re.compile(r"\b\d{13}-(\d+)"), r"1795575845006-\1"),
    (re.compile(r"in \d+\.\d s \([\d,]+/s\)"), "in 0.1 s (20/s)"),
    (re.compile(r'File ".*/shop\.py"'), 'File "/srv/shop/shop.py"'),
]


def typed(steps: Sequence[Step], start: Start, directory: Path) -> Iterator[tuple[str, str]]:
    """Run them, with a server of their own in the directory; each command, and what it printed."""
    from runnel_trio._embedded._server import start as serve

    (directory / "shop.py").write_text(SHOP)
    (directory / "orders.jsonl").write_text(FILE)
    server = serve(f"embedded://{directory / 'data'}")
    place = server.url.removeprefix("unix://").partition("?")[0]
    try:
        for step in steps:
            printed = _run(step, start, directory, {"RUNNEL_REDIS_URL": server.url}, place)
            if not step.silent:
                yield step.typed, printed
    finally:
        server.stop()


def _run(step: Step, start: Start, directory: Path, variables: dict[str, str], place: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RUNNEL_", "PYTHON"))}
    given = {name: value.replace("SERVER", place) for name, value in step.variables.items()}
    output = directory / "output"
    with output.open("wb") as file:
        process = start(step.arguments, file.fileno(), directory, {**kept, **variables, **given})
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None:
        if step.until and step.until in output.read_text():
            process.send_signal(signal.SIGTERM)
            break
        if time.monotonic() > deadline:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.01)
    process.wait()
    text = output.read_text().rstrip()
    for pattern, alike in ALIKE:
        text = pattern.sub(alike, text)
    return text


def started(
    arguments: Sequence[str], output: int, cwd: Path, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """As a process of its own."""
    command = [sys.executable, "-m", "runnel_trio", *arguments]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cwd, env=env)
