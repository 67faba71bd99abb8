"""The app of the fault matrix: it writes down what it does, and can be frozen at a named point.

In the test's process `declare` makes it; as a process of its own it is ``runnel-trio run fault_app:app``, with

    FAULT_DIARY    the file that it writes to
    FAULT_POINT    ``NAME:COUNT``: where the process stops itself (SIGSTOP), once so many were handled
    FAULT_PAUSE    seconds in each event
    FAULT_BLOCK    seconds for which the thirtieth event holds up the whole Trio thread
    FAULT_MUTANTS  guards that are left out of the scripts, see `MUTANTS`

Points: ``before_handler``, ``after_handler``, ``before_commit``, ``after_commit``, ``poison``.
"""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import trio
from fault_history import Diary

from runnel_trio import App, Events, Record
from runnel_trio._broker._redis._broker import RedisBroker
from runnel_trio._broker._redis._transport import _connection, _scripts

#: Guard → script, what stands in it, and what is put there when the guard is left out.
MUTANTS = {
    "fence": ("commit", "if held[1] ~= ARGV[2] or held[2] ~= ARGV[3] then return 'FENCED' end\n", ""),
    "compare": ("commit", "if group['last-delivered-id'] ~= ARGV[5] then return 'REWOUND' end\n", ""),
    "number": ("commit", "if made ~= number - 1 then return 'REWOUND' end\n", ""),
    "history": ("commit", "if count < 0 or not read or not lag or read + lag < count then", "if false then"),
    "done": ("commit", "if made == number then return 'COMMITTED' end\n", ""),
    "once": ("send", "if sequence == last then return tonumber(stored) end\n", ""),
    "stale": ("send", "if tonumber(sequence) < tonumber(last) then", "if false then"),
    "room": ("send", "take = math.max(0, math.min(offered, room))", "take = offered"),
    "oom": ("*", "#!lua flags=allow-oom\n", "#!lua\n"),
}
#: A name of these, or a guard that is written out.
Mutant = str | tuple[str, str, str]


def mutated(mutants: Sequence[Mutant]) -> Callable[[str], str]:
    """The scripts' texts without those guards."""
    original = _scripts.source

    @cache
    def source(name: str) -> str:
        text = original(name)
        for script, guard, instead in (MUTANTS[x] if isinstance(x, str) else x for x in mutants):
            if script in {name, "*"}:
                assert guard in text or script == "*", f"{name} has another guard than {guard}"
                text = text.replace(guard, instead)
        return text

    return source


def mutate(mutants: Sequence[Mutant], put: Callable[[Any, str, Any], Any] = setattr) -> None:
    """Have this process call the scripts without those guards; ``put`` as `pytest.MonkeyPatch.setattr`."""
    if "noscript" in mutants:
        put(_scripts, "settle", lambda connection, calls, replies: replies)
        put(_connection, "settle", lambda connection, calls, replies: replies)
    source = mutated([mutant for mutant in mutants if mutant != "noscript"])

    @cache
    def digest(name: str) -> str:
        return hashlib.sha1(source(name).encode(), usedforsecurity=False).hexdigest()

    put(_scripts, "source", source)
    put(_scripts, "digest", digest)


@attrs.define(eq=False)
class Point:
    """Where this process stops itself, once."""

    name: str = ""
    after: int = 0
    handled: int = 0

    @classmethod
    def read(cls, text: str) -> Point:
        name, _, after = text.partition(":")
        return cls(name, int(after or 0))

    def reached(self, name: str) -> None:
        if name == self.name and self.handled >= self.after:
            self.name = ""
            signal.raise_signal(signal.SIGSTOP)  # this thread, here, and with it the whole process


def watch_commits(
    diary: Diary, put: Callable[[Any, str, Any], Any] = setattr, point: Point | None = None
) -> None:
    """Write down how every commit of this process is answered."""
    commit, where = RedisBroker.commit, point or Point()

    async def watched(self: RedisBroker, processor: Any, commits: Any) -> Any:
        if commits:
            where.reached("before_commit")
        outcomes = await commit(self, processor, commits)
        if commits:
            where.reached("after_commit")
        for made, outcome in zip(commits, outcomes, strict=True):
            lease = made.lease
            ids = made.previous.decode(), made.last.decode()
            diary.write("committed", lease.partition, lease.epoch, lease.owner, *ids, outcome.value)
        return outcomes

    put(RedisBroker, "commit", watched)


class Order(Record):
    """The record of the fault matrix."""

    key: str
    n: int


async def at_once(order: Order) -> None:
    """Take no time."""


def declare(
    app: App, diary: Diary, owner: str, work: Callable[[Order], Awaitable[Any]] = at_once, **options: Any
) -> Any:
    """Declare stream and processor, whose handler works and then writes it down."""
    point: Point = options.pop("point", None) or Point()
    orders = app.stream("orders", Order, partition_by="key")

    @app.processor(orders, name="note", **options)
    async def note(events: Events[Order]) -> None:
        async for event in events:
            order, where = event.record(), event.partition
            point.reached("before_handler")
            await work(order)
            diary.write("handled", where.number, where.epoch, owner, event.xid.decode(), order.key, order.n)
            point.handled += 1
            point.reached("after_handler")

    return orders


def of_environment(environ: Any) -> App:
    """As a process of its own."""
    diary, point = Diary(Path(environ["FAULT_DIARY"])), Point.read(environ.get("FAULT_POINT", ""))
    mutants: Iterable[str] = environ.get("FAULT_MUTANTS", "").split(",")
    mutate([mutant for mutant in mutants if mutant])
    watch_commits(diary, point=point)
    app = App("faults", default_partition_count=4, default_max_attempts=1000)
    pause = float(environ.get("FAULT_PAUSE", "0.001"))

    block = iter([float(environ.get("FAULT_BLOCK", "0"))])

    async def work(_: Order) -> None:
        if point.handled >= 30:
            time.sleep(next(block, 0))  # noqa: ASYNC251  # what it is about
        await trio.sleep(pause)

    declare(app, diary, str(os.getpid()), work, point=point)
    return app


if "FAULT_DIARY" in os.environ:
    app = of_environment(os.environ)
