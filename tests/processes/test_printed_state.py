"""The programs of docs/guide/state.rst are exact where they say so: with many busy partitions, two workers, a kill,
a repartition, and an owner that wakes up late. Each guard is taken out of them, and the sums are wrong."""

from __future__ import annotations

import importlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from printed import (
    MANY_TRANSACTIONS,
    ONE_CONNECTION,
    WITHOUT_BOTH,
    WITHOUT_IDS,
    WITHOUT_KEY,
    Mutation,
    in_database,
    in_postgresql,
    printed_in,
    recounted,
    some_orders,
    written,
)
from redis import Redis
from tutorial import blocks

from runnel_trio.sql._rows import Rows
from runnel_trio.testing import drained

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "state.rst"
SPENT = "SELECT customer, amount FROM spent"
OWED = "SELECT customer, amount FROM owed"
BOOKED = "SELECT customer, sum(amount) FROM booked GROUP BY customer"
#: A failing write, in the middle of a list.
BROKEN = """CREATE TRIGGER broken BEFORE INSERT ON spent WHEN NEW.customer = 'c7'
BEGIN SELECT RAISE(ABORT, 'broken'); END"""


# In one process, on the memory broker


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Import a printed module, in a directory of its own."""
    before = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNNEL_DEFAULT_GRACE_PERIOD", "1")
    monkeypatch.syspath_prepend(str(tmp_path))

    def load(name: str, mutation: Mutation | None = None) -> Any:
        printed_in(tmp_path, mutation)
        importlib.invalidate_caches()
        found = importlib.import_module(name)
        found.app.use_server("memory://")
        return found

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


async def summed(totals: Any, *, twice: bool = False) -> bool:
    """Whether the sums are right, of events that come twice if a worker has died before they were acknowledged."""
    orders = some_orders(400)
    async with totals.app.session():
        await totals.orders.send(*(totals.Order(**order) for order in orders))
        for _ in range(2 if twice else 1):
            async with totals.app.worker():
                await drained(totals.app, within=60)
            await totals.totals.reset()
    return in_database(Path("totals.db"), SPENT) == recounted(orders)


async def test_what_comes_again_is_counted_once(module: Any) -> None:
    assert await summed(module("totals"), twice=True)


async def test_gate_without_the_ids_it_is_counted_twice(module: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Rows, "not_applied", Rows.not_applied)  # the mutation's is taken back
        assert not await summed(module("totals", WITHOUT_IDS), twice=True)


async def test_what_an_operator_goes_back_to_counts_again_when_the_page_is_followed(module: Any) -> None:
    (forget,) = [x.text for x in blocks(PAGE.read_text()) if x.language == "sql" and "totals" in x.text]
    totals = module("totals")
    assert await summed(totals, twice=True)
    with closing(sqlite3.connect("totals.db")) as db:
        db.executescript(f"DELETE FROM spent; {forget}")
    async with totals.app.session(), totals.app.worker():
        await drained(totals.app, within=60)
    assert in_database(Path("totals.db"), SPENT) == recounted(some_orders(400))


async def summed_after_a_failure(totals: Any) -> bool:
    """Whether the sums are right when a write has failed in the middle of a list, and the worker begins again."""
    totals.connect().close()
    orders = some_orders(160)
    async with totals.app.session():
        with closing(sqlite3.connect("totals.db")) as db:
            db.execute(BROKEN)
            await totals.orders.send(*(totals.Order(**order) for order in orders))
            with pytest.raises(sqlite3.IntegrityError, match="broken"):
                await totals.app.run()
            db.execute("DROP TRIGGER broken")
        async with totals.app.worker():
            await drained(totals.app, within=60)
    return in_database(Path("totals.db"), SPENT) == recounted(orders)


@pytest.mark.parametrize("mutation", [MANY_TRANSACTIONS, ONE_CONNECTION], ids=["many", "one connection"])
async def test_lists_of_many_busy_partitions_are_counted_once_though_one_fails(
    module: Any, mutation: Mutation
) -> None:
    assert await summed_after_a_failure(module("totals", mutation))


async def booked(invoices: Any) -> bool:
    """Whether each order is booked once, although the processor in the middle has sent all invoices twice."""
    orders = some_orders(600)
    async with invoices.app.session():
        await invoices.orders.send(*(invoices.Order(**order) for order in orders))
        for _ in range(2):
            async with invoices.app.worker():
                await drained(invoices.app, within=60)
            await invoices.write.reset()  # as if it had died before the orders were acknowledged
        async with invoices.app.operator() as op:
            streams = {x.spec.name: x for x in (await op.overview()).streams}
        assert streams["invoices"].added == 1200
    return in_database(Path("invoices.db"), BOOKED) == recounted(orders)


async def test_an_invoice_that_is_sent_twice_is_booked_once(module: Any) -> None:
    assert await booked(module("invoices"))


async def test_gate_without_the_key_of_its_source_it_is_booked_twice(module: Any) -> None:
    assert not await booked(module("invoices", WITHOUT_KEY))


# With processes


@attrs.define
class Shop:
    """A directory with the printed files, its workers, and what it is about.

    Attributes:
        name: the module.
        database: the file that its workers write.
        query: what each customer has, there.
        sent: the orders.
    """

    start: Callable[..., Any]
    until: Callable[..., Awaitable[Any]]
    redis: Redis
    directory: Path
    name: str = "totals"
    database: str = "totals.db"
    query: str = SPENT
    partitions: int = 4
    sent: list[dict[str, object]] = attrs.field(factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(self.directory),
            "DATABASE": self.database,
            "RUNNEL_DEFAULT_LOCK_EXPIRY": "1",
            "RUNNEL_DEFAULT_MAX_ATTEMPTS": "100",
            "RUNNEL_DEFAULT_MAX_UNACKED": "50",
            "RUNNEL_DEFAULT_PARTITION_COUNT": str(self.partitions),
        }

    def worker(self) -> Any:
        """As the page says that one is started."""
        if self.name == "charges":
            return self.start("serve.py", self.database, **self.environment)
        return self.start("run", f"{self.name}:app", **self.environment)

    async def done(self, *command: str) -> None:
        """A command, to its end."""
        process = self.start(*command, **self.environment)
        assert await self.until(lambda: process.poll() is not None)
        assert process.returncode == 0

    async def send(self, count: int) -> None:
        orders = some_orders(count, len(self.sent))
        self.sent += orders
        path = written(self.directory / f"orders-{len(self.sent)}.jsonl", orders)
        await self.done("sendmany", f"{self.name}:orders", str(path))

    async def repartition(self, to: int) -> None:
        await self.done("stream", "repartition", f"{self.name}:orders", "--to", str(to))

    def found(self) -> dict[str, int]:
        if self.name == "bills":
            return in_postgresql(self.database, self.query)
        return in_database(self.directory / self.database, self.query)

    def total(self) -> int:
        return sum(self.found().values())

    def lag(self) -> int:
        """Events that are not acknowledged, or that nobody has begun to read."""
        logs: Any = [key for key in self.redis.scan_iter(_type="stream") if key.endswith(b":log")]
        behind = 0
        for key in logs:
            groups: Any = self.redis.xinfo_groups(key)
            behind += sum(group["lag"] for group in groups) if groups else int(self.redis.xlen(key))
        return behind

    async def drained(self) -> None:
        """Until everything is acknowledged: seen twice, since what one stream led to is in another one by then."""
        await self.until(lambda: self.lag() == 0 and self.lag() == 0)

    def is_exact(self) -> bool:
        return self.found() == recounted(self.sent)


@pytest.fixture
def shop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Any, until: Any, redis: Redis
) -> Iterator[Callable[..., Shop]]:
    """Makes one."""
    directory = tmp_path / "shop"
    serving: list[subprocess.Popen[bytes]] = []

    def begin(*arguments: str, **environment: str) -> Any:
        if not arguments[0].endswith(".py"):
            return start(*arguments, **environment)
        with (tmp_path / f"serve-{len(serving)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments], env={**os.environ, **environment}, stdout=log, stderr=log
            )
        serving.append(process)
        return process

    def make(mutation: Mutation | None = None, **options: Any) -> Shop:
        printed_in(directory, mutation)
        monkeypatch.chdir(directory)
        return Shop(begin, until, redis, directory, **options)

    yield make
    for process in serving:
        process.kill()
        process.wait()


CHARGES = {"name": "charges", "database": "ledger.db", "query": OWED}
INVOICES = {"name": "invoices", "database": "invoices.db", "query": BOOKED}
BILLS = {"name": "bills", "query": "SELECT customer, amount FROM billed"}


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 4000), (CHARGES, 150), (INVOICES, 2000)],
    ids=["totals", "charges", "invoices"],
)
async def test_the_sums_are_exact_through_kills_and_a_repartition(
    shop: Any, options: dict[str, Any], count: int
) -> None:
    await go_through_kills_and_a_repartition(shop(**options), count)


async def test_the_sums_are_exact_with_lanes_and_postgresql(shop: Any, postgres: str) -> None:
    it: Shop = shop(**BILLS, database=postgres)
    await it.done("bills.py")
    await go_through_kills_and_a_repartition(it, 1500)


async def go_through_kills_and_a_repartition(it: Shop, count: int) -> None:
    await it.send(count)
    workers = [it.worker(), it.worker()]
    goal = sum(recounted(it.sent).values())
    await it.until(lambda: it.total() > goal // 10)
    workers[0].kill()
    workers.append(it.worker())
    await it.repartition(8)
    await it.send(count)
    goal = sum(recounted(it.sent).values())
    await it.until(lambda: it.total() > goal * 6 // 10)
    workers[1].kill()
    await it.drained()
    assert it.is_exact()


#: Right before a transaction, a process stops itself, the first one that finds the file. The signal goes to the thread
#: that sends it: sent to the process, it would leave this thread the time to take a lock of the database along.
REACHED = """import os, signal, threading
from contextlib import contextmanager

def reached():
    try:
        os.remove("freeze")
    except FileNotFoundError:
        return
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

@contextmanager
def late(db):
    reached()
    yield db

"""
LATE: dict[str, tuple[dict[str, Any], tuple[str, str]]] = {
    "totals": ({}, ("        progress = Progress(db)", "        progress = Progress(lambda: late(db))")),
    "charges": (
        CHARGES,
        # One transaction at a time, since the connection is shared.
        ("(Progress(db))", "(Progress(lambda: late(db), limiter=trio.CapacityLimiter(1)))"),
    ),
    "bills": (BILLS, ("progress = Progress(connect)", "progress = Progress(lambda: late(connect()))")),
}


async def wakes_up_late(it: Shop) -> str:
    """A worker is frozen right before a write, and finds its partitions taken; what it logs."""
    late = it.worker()
    await it.send(40)
    await it.drained()
    (it.directory / "freeze").touch()
    await it.send(40)
    await it.until(lambda: " T " in Path(f"/proc/{late.pid}/stat").read_text())
    it.worker()
    await it.drained()
    late.send_signal(signal.SIGCONT)
    late.terminate()
    assert await it.until(lambda: late.poll() is not None)
    assert late.returncode == 0, "it was told to stop, and nothing else"
    logs = [path.read_text() for path in sorted(it.directory.parent.glob("*.log"))]
    return "".join(logs)


def late_shop(shop: Any, name: str, mutation: Mutation, **options: Any) -> Shop:
    """With a worker that can be frozen."""
    given, change = LATE[name]
    file = f"{name}.py"
    first = "import os\n" if name == "bills" else "import sqlite3\n"
    changes = [change, *mutation.get(file, ()), (first, f"{REACHED}{first}")]
    logging = ("import signal\n", "import logging\nimport signal\n\nlogging.basicConfig()\n")
    made: Shop = shop({file: changes, "serve.py": [logging]}, partitions=2, **given, **options)
    return made


@pytest.mark.parametrize("name", ["totals", "charges"])
async def test_a_worker_that_wakes_up_late_writes_nothing(shop: Any, name: str) -> None:
    it = late_shop(shop, name, {})
    assert "write-refused" in await wakes_up_late(it)
    assert it.is_exact()


async def test_a_lane_that_wakes_up_late_writes_nothing(shop: Any, postgres: str) -> None:
    it = late_shop(shop, "bills", {}, database=postgres)
    await it.done("bills.py")
    assert "write-refused" in await wakes_up_late(it)
    assert it.is_exact()


@pytest.mark.parametrize("name", ["totals", "charges"])
async def test_gate_without_the_epoch_and_the_ids_it_writes(shop: Any, name: str) -> None:
    it = late_shop(shop, name, WITHOUT_BOTH)
    await wakes_up_late(it)
    assert not it.is_exact()
