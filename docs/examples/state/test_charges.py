import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import serve
import trio
from charges import Order, app, charge, ledger_at, orders

from runnel_trio.testing import Outcome, drained

CUSTOMERS = [f"customer-{number}" for number in range(40)]


async def test_a_retry_and_a_dead_letter_leave_the_sum_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ledger_at(tmp_path / "ledger.db") as ledger, charge.test() as t:
        failures, store = [sqlite3.OperationalError("database is locked")], ledger.store

        async def unsteady(*arguments) -> bool:
            if failures:
                raise failures.pop()
            return await store(*arguments)

        monkeypatch.setattr(ledger, "store", unsteady)
        results = await t.send(*(Order(customer="Ada", amount=amount) for amount in (700, 700, 200)))
        assert [x.outcome for x in results] == [Outcome.ACKED, Outcome.DEAD_LETTERED, Outcome.ACKED]
        assert results[0].attempts == 2
        assert await ledger.owed("Ada") == 900


async def test_what_is_counted_and_comes_again_is_counted_once(tmp_path: Path) -> None:
    with app.use_server("memory://"):
        async with ledger_at(tmp_path / "ledger.db") as ledger, app.session():
            await orders.send(Order(customer="Ada", amount=7))
            for _ in range(2):
                async with app.worker():
                    await drained(app)
                await charge.reset()  # as if the worker had died before the order was acknowledged
            assert await ledger.owed("Ada") == 7


async def test_a_partition_that_moves_takes_its_sums_along(tmp_path: Path) -> None:
    with app.use_server("memory://"):
        async with ledger_at(tmp_path / "ledger.db"), app.worker():
            await orders.send(*(Order(customer=x, amount=1) for x in CUSTOMERS))
            await drained(app)
            async with app.worker():  # and half of the partitions have another owner
                await orders.send(*(Order(customer=x, amount=1) for x in CUSTOMERS))
                await drained(app)
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
            assert db.execute("SELECT count(*), sum(amount) FROM owed").fetchone() == (40, 80)


async def test_the_ledger_is_open_until_the_worker_has_ended(tmp_path: Path) -> None:
    with app.use_server("memory://"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve.main, tmp_path / "ledger.db")
            await orders.send(*(Order(customer=x, amount=1) for x in CUSTOMERS))
            await drained(app)
            signal.raise_signal(signal.SIGTERM)
