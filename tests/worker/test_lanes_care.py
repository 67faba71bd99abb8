"""After a process has died with many keys in hand, each suspect is tried alone, and then all lanes are used again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import trio
from sim_line import Ledger, Line, is_complete
from trio.testing import MockClock

from runnel_trio import App, Processor, Record, Stream, Worker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._memory._store import Store
from runnel_trio._broker._values import Batch


class Task(Record):
    key: int
    n: int


@attrs.define(eq=False)
class Crew:
    """Workers over one partition; one at a time, and the next one when it has died."""

    store: Store = attrs.field(factory=Store)
    stream: Stream[Any] = attrs.field(init=False)
    processor: Processor[Any] = attrs.field(init=False)
    deaths: int = 0
    line: Any = None
    worker: Any = None
    log: list[tuple[str, int, int, int]] = attrs.field(factory=list)

    def declare(self, handle: Callable[[Crew, Any], Awaitable[None]], **options: Any) -> None:
        app = App("crew", redis_url="memory://")
        self.stream = app.stream("tasks", Task, "key", partition_count=1)

        @app.processor(self.stream, lock_expiry=1, join_delay=0, exception_policy="ignore", **options)
        async def work(events: Any) -> None:
            async for task in events.records():
                self.log.append(("begin", self.deaths, task.key, task.n))
                await handle(self, task)
                self.log.append(("end", self.deaths, task.key, task.n))

        self.processor = work

    async def send(self, *tasks: tuple[int, int]) -> None:
        rows = [b'{"key":%d,"n":%d}' % task for task in tasks]
        await MemoryBroker(store=self.store).append(self.stream.spec, {0: Batch((b"data",), rows)})

    async def die(self) -> None:
        """The process ends: nothing of it reaches the server any more."""
        self.deaths += 1
        self.line.die()
        self.worker.abort()
        await trio.sleep_forever()

    async def run(self, most: int) -> None:
        """Until all is handled.

        Raises:
            AssertionError: so many have died before that.
        """
        while self.deaths < most:
            before = self.deaths
            self.line = Line(self.store, Ledger(), random.Random(1))
            self.worker = Worker(broker=self.line, processors=[self.processor], member=f"w{before}")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.worker.run)
                while self.deaths == before:
                    await trio.sleep(0.5)
                    if is_complete(MemoryBroker(store=self.store), self.processor.spec, self.store):
                        self.worker.stop()
                        return
        raise AssertionError(f"{most} have died")

    def at_a_time(self, deaths: int) -> dict[tuple[int, int], int]:
        """How many were in hand when each event began, after so many deaths."""
        found, level = {}, 0
        for what, after, key, n in self.log:
            if after == deaths:
                level += 1 if what == "begin" else -1
                if what == "begin":
                    found[key, n] = level
        return found


async def test_each_event_that_was_in_hand_is_tried_alone_and_then_all_lanes_are_used(
    autojump_clock: MockClock,
) -> None:
    async def handle(crew: Crew, task: Task) -> None:
        await trio.sleep(1)
        if not crew.deaths:
            await crew.die()

    crew = Crew()
    crew.declare(handle, concurrency=20, max_unacked=20)
    await crew.send(*((n % 40, n // 40) for n in range(200)))
    with trio.fail_after(1000):
        await crew.run(2)
    beside = crew.at_a_time(1)
    assert len(beside) == 200
    assert [beside[n, 0] for n in range(20)] == [1] * 20
    assert max(beside.values()) == 20


@pytest.mark.parametrize("max_attempts", [1, 2, 3])
async def test_the_event_that_ends_the_process_is_found_among_many_in_hand(
    autojump_clock: MockClock, max_attempts: int
) -> None:
    async def handle(crew: Crew, task: Task) -> None:
        await trio.sleep(0.1)
        if task.key == 13:
            await crew.die()
        await trio.sleep(0.3)

    crew = Crew()
    crew.declare(handle, concurrency=20, max_unacked=20, max_attempts=max_attempts)
    await crew.send(*((n % 40, n // 40) for n in range(40)))
    with trio.fail_after(1000):
        await crew.run(max_attempts + 1)
    handled = {key for what, _, key, _ in crew.log if what == "end"}
    assert handled == set(range(40)) - {13}, "nothing else was given up"
    assert crew.deaths == max_attempts


async def test_the_last_suspect_is_alone_until_it_is_through(autojump_clock: MockClock) -> None:
    """Whoever ends the process beside it would be taken for it."""
    in_hand: set[int] = set()
    beside: list[int] = []

    async def handle(crew: Crew, task: Task) -> None:
        in_hand.add(task.key)
        if crew.deaths and len(in_hand) > 1:
            log = crew.store.log(MemoryBroker(store=crew.store).log_key(crew.stream.spec, 0))
            marked = log.leases["work"].attempts[0]
            keys = [key for key, (xid, _) in enumerate(log.entries) if xid == marked]
            beside.extend(in_hand.intersection(keys))
        await trio.sleep(1)
        if not crew.deaths:
            in_hand.clear()
            await crew.die()
        in_hand.discard(task.key)

    crew = Crew()
    crew.declare(handle, concurrency=3, max_unacked=3)
    await crew.send(*((n, 0) for n in range(12)))
    with trio.fail_after(1000):
        await crew.run(2)
    assert max(crew.at_a_time(1).values()) == 3
    assert beside == []


async def test_an_event_far_behind_those_that_wait_for_their_key_is_found_too(
    autojump_clock: MockClock,
) -> None:
    async def handle(crew: Crew, task: Task) -> None:
        await trio.sleep(0.1 if task.key else 1)
        if task.key == 9:
            await crew.die()

    crew = Crew()
    crew.declare(handle, concurrency=3, max_unacked=3, max_attempts=2)
    await crew.send(*((0, n) for n in range(500)), (9, 0), (1, 0), (2, 0))
    with trio.fail_after(10_000):
        await crew.run(10)
    handled = {(key, n) for what, _, key, n in crew.log if what == "end"}
    assert handled == {*((0, n) for n in range(500)), (1, 0), (2, 0)}
