"""Waiting in a test until an app has done something, with a limit and an error that says what is missing."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from runnel_trio._app import App
from runnel_trio._names import name_of
from runnel_trio._operate._positions import Position, positions
from runnel_trio._processor import Processor
from runnel_trio._report._words import counted
from runnel_trio._rules._schedule import Crontab
from runnel_trio.exceptions import Misconfigured

__all__ = ["NotDrained", "advance_to", "drained"]

#: Seconds between two checks.
_LOOK = 0.02
#: Seconds after a run was due, so that the run is woken first.
_AFTER = 0.001
#: How many partitions a message names at most.
_NAMED = 8


class NotDrained(AssertionError):
    """Processors did not finish in time; the message says which, and with which partitions."""


async def drained(*of: App | Processor[Any], within: float = 5.0) -> None:
    """Wait until processors have acknowledged everything in their streams.

    Args:
        *of: processors, or an app for all of its processors. They must be running: inside ``app.worker()``,
            or with the fixture ``runnel_worker``.
        within: seconds on Trio's clock.

    Raises:
        NotDrained: they have not; the message names each processor and partition that is behind, and each one
            in quarantine.

    Example:
        >>> import trio
        >>> from runnel_trio import App, Record
        >>> from runnel_trio.testing import drained
        >>> class Order(Record):
        ...     amount: int
        >>> app = App("shop", redis_url="memory://")
        >>> orders = app.stream("orders", Order, partition_by="amount")
        >>> seen = []
        >>> @app.processor(orders)
        ... async def remember(events):
        ...     async for order in events.records():
        ...         seen.append(order.amount)
        >>> async def main():
        ...     async with app.worker():
        ...         await orders.send(Order(amount=7))
        ...         await drained(app)
        >>> trio.run(main)
        >>> seen
        [7]
    """
    deadline = trio.current_time() + within
    chosen = [x for one in of for x in (one.processors.values() if isinstance(one, App) else [one])]
    while behind := [line for processor in chosen for line in await _behind(processor)]:
        if trio.current_time() >= deadline:
            raise NotDrained(f"not drained within {within:g} s:\n  " + "\n  ".join(behind))
        await trio.sleep(_LOOK)


async def _behind(processor: Processor[Any]) -> list[str]:
    """A line for each partition that is behind, and a last one for those that are not named."""
    async with processor.stream.connect(processor.stream) as broker:
        found = await positions(broker, processor.spec)
    lines = [_line(processor, position) for position in found if position.lag]
    more = len(lines) - _NAMED
    rest = [f"and {counted(more, 'more partition')} of processor {processor.name!r}"] if more > 0 else []
    return [*lines[:_NAMED], *rest]


def _line(processor: Processor[Any], position: Position) -> str:
    why = position.standing
    said = f", stands in quarantine at {why.first}: {why.error}" if why else ""
    said += "" if position.begun else ", which no worker has taken yet"
    where = f"{processor.stream.name}[{position.partition}] of processor {processor.name!r}"
    return f"{where}: {counted(position.lag, 'event')} behind{said}"


async def advance_to(app: App, function: Callable[[], Awaitable[Any]]) -> datetime:
    """Let virtual time pass until a crontab is next due and has run as far as it can.

    Args:
        app: with ``redis_url="memory://"``, running in this run of Trio, whose clock is a
            `trio.testing.MockClock` (the fixtures ``autojump_clock`` and ``mock_clock`` of pytest-trio).
        function: the function decorated with ``@app.crontab``.

    Returns:
        When it was due, in the crontab's time zone.

    Raises:
        Misconfigured: the clock cannot be moved, or the function is not a crontab of the app.

    Example:
        >>> import trio
        >>> from trio.testing import MockClock
        >>> from runnel_trio import App
        >>> from runnel_trio.testing import advance_to
        >>> app = App("shop", redis_url="memory://")
        >>> runs = []
        >>> @app.crontab("45 17 * * *")
        ... async def report():
        ...     runs.append(trio.current_time())
        >>> async def main():
        ...     async with app.worker():
        ...         due = await advance_to(app, report)
        ...         return due.strftime("%H:%M"), len(runs)
        >>> trio.run(main, clock=MockClock(autojump_threshold=0))
        ('17:45', 1)
    """
    clock = trio.lowlevel.current_clock()
    if not isinstance(clock, MockClock):
        raise Misconfigured(
            "advance_to moves virtual time: run the test with a trio.testing.MockClock (pytest-trio: the "
            "fixture autojump_clock)"
        )
    crontab = _crontab(app, function)
    async with app.operator() as op:
        now = op.wall()
        due = crontab.after(now)
        ahead = due - now + _AFTER
        if clock.autojump_threshold == math.inf and clock.rate == 0:
            await wait_all_tasks_blocked()  # it may not have begun to wait
            clock.jump(ahead)
        else:
            await trio.sleep(ahead)
        await wait_all_tasks_blocked()
    return datetime.fromtimestamp(due, crontab.zone)


def _crontab(app: App, function: Callable[[], Awaitable[Any]]) -> Crontab:
    for work in app.background:
        if work.function is function and work.spec is not None and work.timezone is not None:
            return Crontab(work.spec, work.timezone)
    known = ", ".join(work.name for work in app.background if work.spec is not None) or "none"
    raise Misconfigured(
        f"{name_of(function)} is no crontab of app {app.name!r}, which has: {known}. A timer needs no more "
        "than `await trio.sleep(interval)`"
    )
