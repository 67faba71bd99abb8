"""Events are applied to a user's database: the connection, the transaction, and the user's function in it.

The user's statements are a function that is given to `Progress.apply`, and not the body of a `with`: no
context manager can skip its body, so one forgotten `if` would count events twice. They need a function
anyway, because they block, and so run in a thread.

A late owner waits for its cancellation instead of raising. Its event has not failed: an exception would be
retried, set aside, or end the worker, as the exception policy says.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from types import ModuleType
from typing import Any, Generic, NoReturn, TypeVar, cast, overload

import trio

from runnel_trio._event import Event
from runnel_trio._report._telemetry import report
from runnel_trio.exceptions import Misconfigured
from runnel_trio.sql._driver import Connection, Driver, driver_of, in_transaction, refuse_unfit
from runnel_trio.sql._rows import CREATE, LOOK, Keyed, Replaced, Rows

__all__ = ["Progress"]

C = TypeVar("C", bound=Connection)

#: The connections that have a transaction of ours, by identity: sqlite3's cannot be referenced weakly.
_IN_USE: dict[int, object] = {}
_TABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)?")


class Progress(Generic[C]):
    """Applies events to your own SQL database, each of them once.

    A table in the database holds how far each processor is, for each key. `apply` writes it in the
    transaction that has your statements. So an event that comes again after a crash is left out if it was
    applied, and is applied if it was not: with one lane and with many, with lists, and through
    repartitioning.

    SQLite (3.24 or later) and PostgreSQL (9.5 or later) are supported, with any DB-API 2.0 driver whose calls
    block, such as ``sqlite3`` and ``psycopg``. The calls run in a thread.

    Args:
        connection: a connection, which is used for one transaction at a time; or a function that lends one to
            a ``with`` statement, such as the method ``connection`` of a pool. It must not be in autocommit
            mode.
        table: name of the table, or ``schema.name``.
        driver: the driver's module, if the connection is wrapped in an object of another package.
        limiter: how many transactions may run at a time, as for `trio.to_thread.run_sync`.

    Raises:
        Misconfigured: these arguments cannot work.

    Example:
        >>> import sqlite3, trio
        >>> from runnel_trio import App, Record
        >>> from runnel_trio.sql import Progress
        >>> class Order(Record):
        ...     customer: str
        ...     amount: int
        >>> app = App("example")
        >>> orders = app.stream("orders", Order, partition_by="customer")
        >>> db = sqlite3.connect(":memory:", check_same_thread=False)
        >>> _ = db.execute("CREATE TABLE spent (customer TEXT, amount INTEGER)")
        >>> progress = Progress(db)
        >>> progress.create_table()
        >>> def add(db, event):
        ...     order = event.record()
        ...     db.execute("INSERT INTO spent VALUES (?, ?)", (order.customer, order.amount))
        >>> @app.processor(orders)
        ... async def total(events):
        ...     async for event in events:
        ...         await progress.apply(add, event)
        ...         await progress.apply(add, event)  # again, as after a crash
        >>> async def main():
        ...     async with total.test() as t:
        ...         await t.send(Order(customer="Ada", amount=3), Order(customer="Ada", amount=4))
        >>> trio.run(main)
        >>> db.execute("SELECT count(*), sum(amount) FROM spent").fetchone()
        (2, 7)
        >>> db.close()
    """

    def __init__(
        self,
        connection: C | Callable[[], AbstractContextManager[C]],
        *,
        table: str = "runnel_progress",
        driver: ModuleType | None = None,
        limiter: trio.CapacityLimiter | None = None,
    ) -> None:
        if not _TABLE_NAME.fullmatch(table):
            raise Misconfigured(f"table={table!r} must be a plain name, or schema.name")
        self._table, self._module, self._limiter = table, driver, limiter
        self._lend: Callable[[], AbstractContextManager[C]]
        self._turn: Any
        if hasattr(connection, "cursor"):
            driver_of(connection, driver)  # so that what is wrong with it is said here
            self._lend, self._turn = lambda: nullcontext(cast("C", connection)), trio.Lock()
        elif callable(connection):
            self._lend, self._turn = connection, nullcontext()
        else:
            raise Misconfigured(
                f"Progress({connection!r}): give it a DB-API connection, or a function that lends one"
            )

    def create_table(self) -> None:
        """Create the table, unless it is there. Call it before the first `apply`. It blocks.

        Raises:
            Misconfigured: the connection is not fit, or there is another table of this name.
            Exception: as the driver raises it.
        """
        with self._lend() as connection:
            driver = driver_of(connection, self._module)
            refuse_unfit(connection, driver)
            if self._has_table(connection, driver):
                return
            try:
                with closing(driver.cursor(connection)) as cursor:
                    cursor.execute(CREATE.format(table=self._table))
                connection.commit()
            except Exception:
                connection.rollback()
                # On PostgreSQL, IF NOT EXISTS fails when another worker creates it at this moment.
                if not self._has_table(connection, driver):
                    raise
            if not self._has_table(connection, driver):
                raise Misconfigured(
                    f"there is a table {self._table} with other columns: choose a name, as in "
                    "Progress(connection, table='…')"
                )

    def _has_table(self, connection: C, driver: Driver) -> bool:
        try:
            with closing(driver.cursor(connection)) as cursor:
                cursor.execute(LOOK.format(table=self._table))
        except Exception:  # each driver has classes of its own
            return False
        finally:
            connection.rollback()
        return True

    @overload
    async def apply(self, work: Callable[[C, Event], object], events: Event) -> int: ...

    @overload
    async def apply(self, work: Callable[[C, list[Event]], object], events: Sequence[Event]) -> int: ...

    async def apply(self, work: Callable[[C, Any], object], events: Event | Sequence[Event]) -> int:
        """Call ``work(connection, event)`` in a transaction, unless the event was applied before.

        From a list, ``work`` gets a list of the events that were not applied before, all in one transaction;
        it is not called if there are none. It runs in a thread. It executes statements, and must not end the
        transaction. If it raises, nothing is stored.

        Call it for the events of a key one after another, in the order in which the loop hands them out: an
        event counts as applied when a later one of its key was.

        If another worker owns the partition by now, nothing is stored. The call then waits until the
        processor function is cancelled, which follows.

        Args:
            work: your statements.
            events: the event in hand, or the list (not its records).

        Returns:
            How many events were applied; 0 if all of them had been before.

        Raises:
            Misconfigured: the arguments or the connection are not fit, or ``work`` has ended the transaction.
            DeserializationError: an entry cannot be read, so it has no key.
            Exception: what ``work`` or the driver raises, for example that the database cannot serialize the
                transaction. A `RetryMiddleware` can try again.

        Cancellation: the call waits for the thread, in which the transaction goes on to its end.
        """
        call: Callable[[C, list[Event]], object] = work
        if isinstance(events, Event):
            events, call = [events], lambda connection, new: work(connection, new[0])
        some = list(events)
        _refuse_mistakes(work, some)
        keyed = [Keyed.of(event) for event in some]
        if not keyed:
            await trio.lowlevel.checkpoint()
            return 0
        try:
            async with self._turn:
                return await trio.to_thread.run_sync(self._apply, call, keyed, limiter=self._limiter)
        except Replaced as replaced:
            stored = replaced.epoch
        return await _wait_for_the_end(keyed[0].event, stored)

    def _apply(self, call: Callable[[C, list[Event]], object], keyed: Sequence[Keyed]) -> int:
        """One transaction, with the steps of ``_rows.py``."""
        with self._lend() as connection, _alone(connection):
            driver = driver_of(connection, self._module)
            refuse_unfit(connection, driver)
            try:
                with closing(driver.cursor(connection)) as cursor:
                    rows = Rows(cursor, driver, self._table, keyed[0].event)
                    rows.claim()
                    new = rows.not_applied(keyed)
                    if new:
                        _refuse_unfinished(call(connection, [x.event for x in new]), connection)
                        rows.store(new)
                connection.commit()
            except BaseException:
                with suppress(Exception):  # on a broken connection: what broke it is raised
                    connection.rollback()
                raise
        return len(new)


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Two transactions on one connection at a time would be one, and the end of either that of both.

    Raises:
        Misconfigured: another thread is in here with this connection.
    """
    token = object()
    if _IN_USE.setdefault(id(connection), token) is not token:
        raise Misconfigured(
            "another Progress uses this connection now: share one Progress, which has one transaction at a "
            "time, or give each a connection of its own"
        )
    try:
        yield
    finally:
        del _IN_USE[id(connection)]


def _refuse_mistakes(work: object, events: Sequence[Event]) -> None:
    """Refuse arguments with which nothing is applied, or not what was meant.

    Raises:
        Misconfigured: what is wrong with them.
    """
    if not callable(work) or inspect.iscoroutinefunction(work):
        raise Misconfigured(f"apply({work!r}, …): give it a function that is not async; it runs in a thread")
    for event in events:
        if not isinstance(event, Event):
            raise Misconfigured(
                f"apply() takes events, not {type(event).__name__}: iterate over `events` without "
                "`.records()`, and call `event.record()` in the function"
            )
        if (event.group, event.partition) != (events[0].group, events[0].partition):
            raise Misconfigured("apply() takes events of one partition, as the loop hands them out")


def _refuse_unfinished(returned: Any, connection: Connection) -> None:
    """Refuse a function of the user's that has run only in part, or has ended the transaction.

    Raises:
        Misconfigured: what it has done.
    """
    if inspect.iscoroutine(returned) or inspect.isgenerator(returned):
        returned.close()
        raise Misconfigured(
            "apply(): the function must do its work when it is called, without await or yield"
        )
    if in_transaction(connection) is False:
        raise Misconfigured(
            "apply(): the function has ended the transaction, with commit(), rollback(), executescript() or "
            "`with connection`. Leave that to apply(), which stores the progress in it"
        )


async def _wait_for_the_end(event: Event, stored: int) -> NoReturn:
    """A later owner has the partition, so this function is about to be cancelled."""
    owner = event.partition
    facts = {"partition": owner.key, "epoch": owner.epoch, "stored": stored}
    report(logging.WARNING, "write-refused", processor=event.group.decode(), **facts)
    await trio.sleep_forever()
