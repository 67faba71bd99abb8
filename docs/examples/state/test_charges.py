import signal
import sqlite3
from pathlib import Path

import charges
import pytest
import serve
import trio
from charges import Order, add, app, charge, ledger_at, orders, owed

from runnel_trio import Event
from runnel_trio.testing import Outcome, drained

CUSTOMERS = [f"customer-{number}" for number in range(40)]


async def test_a_retry_and_a_dead_letter_leave_the_sum_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [sqlite3.OperationalError("database is locked")]

    def unsteady(db: sqlite3.Connection, event: Event) -> None:
        add(db, event)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(charges, "add", unsteady)
    async with ledger_at(tmp_path / "ledger.db") as db, charge.test() as t:
        results = await t.send(*(Order(customer="Ada", amount=amount) for amount in (700, 700, 200)))
        assert [x.outcome for x in results] == [Outcome.ACKED, Outcome.DEAD_LETTERED, Outcome.ACKED]
        assert results[0].attempts == 2
        assert owed(db, "Ada") == 900


async def test_what_is_counted_and_comes_again_is_counted_once(tmp_path: Path) -> None:
    with app.use_server("memory://"):
        async with ledger_at(tmp_path / "ledger.db") as db, app.session():
            await orders.send(Order(customer="Ada", amount=7))
            for _ in range(2):
                async with app.worker():
                    await drained(app)
                await charge.reset()  # as if the worker had died before the order was acknowledged
            assert owed(db, "Ada") == 7


async def test_a_partition_that_moves_takes_its_sums_along(tmp_path: Path) -> None:
    with app.use_server("memory://"):
        async with ledger_at(tmp_path / "ledger.db") as db, app.worker():
            await orders.send(*(Order(customer=x, amount=1) for x in CUSTOMERS))
            await drained(app)
            async with app.worker():  # and half of the partitions have another owner
                await orders.send(*(Order(customer=x, amount=1) for x in CUSTOMERS))
                await drained(app)
            assert db.execute("SELECT count(*), sum(amount) FROM owed").fetchone() == (40, 80)


async def test_the_ledger_is_open_until_the_worker_has_ended(tmp_path: Path) -> None:
    with app.use_server("memory://"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve.main, tmp_path / "ledger.db")
            await orders.send(*(Order(customer=x, amount=1) for x in CUSTOMERS))
            await drained(app)
            signal.raise_signal(signal.SIGTERM)
