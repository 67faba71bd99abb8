"""Workers on a real server, and what the server may do to them."""

from __future__ import annotations

import itertools
import logging
import signal
from collections.abc import Callable
from typing import Any

import pytest
import trio

from runnel_trio import App, Processor, Stream

KEYS = [f"key {n}" for n in range(10)]


class Journal:
    """What a processor was given, by key and in order."""

    def __init__(self) -> None:
        self.seen: dict[str, list[int]] = {}
        self.count = 0

    def note(self, record: Any) -> None:
        self.seen.setdefault(record.key, []).append(record.n)
        self.count += 1

    async def reaches(self, count: int) -> None:
        with trio.fail_after(30):
            while self.count < count:
                await trio.sleep(0.002)

    def is_exactly(self, count: int) -> bool:
        """Each of the records of `records` once, in order."""
        return self.seen == {key: list(range(at, count, len(KEYS))) for at, key in enumerate(KEYS)}

    def repeats(self, count: int) -> int:
        """How many came again, if otherwise all came in order; each step back is to what came before."""
        again = 0
        for at, key in enumerate(KEYS):
            wanted = list(range(at, count, len(KEYS)))
            seen = self.seen[key]
            assert list(dict.fromkeys(seen)) == wanted
            for before, after in itertools.pairwise(seen):
                assert after <= before + len(KEYS)
            again += len(seen) - len(wanted)
        return again


def records(order: Any, count: int, start: int = 0) -> list[Any]:
    return [order(key=KEYS[n % len(KEYS)], n=n) for n in range(start, count)]


@pytest.fixture
def stream(on_server: App, order: Any) -> Stream[Any]:
    return on_server.stream("orders", order, partition_by="key")


Facts = Callable[[str], list[dict[str, Any]]]
Collector = Callable[..., tuple[Processor, Journal]]


@pytest.fixture
def collector(on_server: App, stream: Stream[Any]) -> Collector:
    """A processor that keeps a journal."""

    def declare(*, app: App = on_server, pause: float = 0.0, **options: Any) -> tuple[Processor, Journal]:
        journal = Journal()

        @app.processor(app.streams["orders"], **{"name": "collect", **options})
        async def collect(events: Any) -> None:
            async for record in events.records():
                journal.note(record)
                await trio.sleep(pause)

        return collect, journal

    return declare


async def test_everything_is_handled_in_order_and_acknowledged(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector()
    await stream.send(*records(order, 1000))
    async with on_server.worker():
        await stream.send(*records(order, 2000, 1000))
        await server.drained()
    assert journal.is_exactly(2000)
    assert [(x["lag"], x["pending"]) for x in server.groups()] == [(0, 0)] * 4
    assert sum(x["entries-read"] for x in server.groups()) == 2000


async def test_a_killed_server_that_comes_back_loses_and_repeats_nothing(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector(pause=0.0005, lock_expiry=2)

    async def send() -> None:
        for n in range(0, 2000, 20):
            await stream.send(*records(order, n + 20, n))
            await trio.sleep(0.005)

    async with on_server.worker(), trio.open_nursery() as nursery:
        nursery.start_soon(send)
        for wanted in (300, 900):
            await journal.reaches(wanted)
            server.kill()
            await trio.sleep(0.5)
            await server.start()
        await journal.reaches(2000)
        await server.drained()
    assert journal.is_exactly(2000)
    assert [x["pending"] for x in server.groups()] == [0] * 4


async def test_a_server_away_for_longer_than_the_leases_last(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector(pause=0.001, lock_expiry=0.5, max_unacked=5)
    await stream.send(*records(order, 1000))
    async with on_server.worker():
        await journal.reaches(200)
        server.kill()
        await trio.sleep(1.2)
        await server.start()
        await server.drained()
    assert journal.repeats(1000) <= 4 * (5 + 1)


@pytest.mark.usefixtures("impatient")
async def test_a_frozen_server_is_waited_for_and_nothing_is_yielded_on_old_trust(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector(pause=0.002, lock_expiry=1)
    await stream.send(*records(order, 3000))
    async with on_server.worker():
        await journal.reaches(100)
        server.send_signal(signal.SIGSTOP)
        await trio.sleep(1.0)
        at_the_end_of_trust = journal.count
        await trio.sleep(1.0)
        # At most what each of the four had in hand.
        assert journal.count <= at_the_end_of_trust + 4
        server.send_signal(signal.SIGCONT)
        await server.drained()
    assert journal.repeats(3000) <= 3000


@pytest.mark.usefixtures("impatient")
async def test_a_frozen_server_does_not_hold_up_the_end_for_ever(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector(pause=0.001, grace_period=1, lock_expiry=2)
    await stream.send(*records(order, 1000))
    try:
        with trio.fail_after(60):  # the grace period, and the timeouts of what was under way
            async with on_server.worker():
                await journal.reaches(100)
                server.send_signal(signal.SIGSTOP)
    finally:
        server.send_signal(signal.SIGCONT)
    async with on_server.worker():
        await server.drained()
    assert journal.repeats(1000) <= 1000


async def test_connections_that_are_killed_again_and_again_do_no_harm(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector(pause=0.0002)
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while True:
            killed += await trio.to_thread.run_sync(
                lambda: server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            )
            await trio.sleep(0.03)

    with trio.fail_after(60):
        async with on_server.worker(), trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            for n in range(0, 3000, 50):
                await stream.send(*records(order, n + 50, n))
            await journal.reaches(3000)
            nursery.cancel_scope.cancel()
    assert killed > 5
    assert journal.is_exactly(3000)
    assert [(x["lag"], x["pending"]) for x in server.groups()] == [(0, 0)] * 4


async def test_after_flushall_the_worker_begins_anew(
    server: Any,
    on_server: App,
    stream: Stream[Any],
    order: Any,
    collector: Collector,
    facts: Facts,
) -> None:
    _, journal = collector(lock_expiry=1)
    async with on_server.worker():
        await stream.send(*records(order, 100))
        await server.drained()
        server.client.flushall()
        with trio.fail_after(60):
            while len(facts("cursor-gone")) + len(facts("log-rewritten")) < 4:
                await trio.sleep(0.02)
        await stream.send(*records(order, 200, 100))
        await journal.reaches(200)
        await server.drained()
    assert journal.is_exactly(200)


async def test_after_flushall_in_the_middle_of_work_what_is_sent_then_is_handled(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector(pause=0.001, lock_expiry=1)
    async with on_server.worker():
        await stream.send(*records(order, 1000))
        await journal.reaches(100)
        server.client.flushall()
        await stream.send(*records(order, 2000, 1000))
        await server.drained()
    for at, key in enumerate(KEYS):
        latter = [n for n in journal.seen[key] if n >= 1000]
        assert list(dict.fromkeys(latter)) == list(range(1000 + at, 2000, len(KEYS)))


async def test_what_an_operator_trims_unprocessed_is_counted_and_told(
    server: Any, on_server: App, stream: Stream[Any], order: Any, facts: Facts
) -> None:
    seen: list[int] = []
    go = trio.Event()

    @on_server.processor(stream, lock_expiry=0.8, prefetch_count=10)
    async def slow(events: Any) -> None:
        async for record in events.records():
            await go.wait()
            seen.append(record.n)

    await stream.send(*(order(key="a", n=n) for n in range(100)))
    async with on_server.worker():
        (key,) = [key for key in server.logs() if server.client.xlen(key)]
        with trio.fail_after(60):
            while (found := server.client.xinfo_groups(key)) and found[0]["lag"] != 100:
                await trio.sleep(0.02)
            await trio.sleep(0.1)  # the read-ahead is there
        server.client.xtrim(key, maxlen=20, approximate=False)
        with trio.fail_after(60):
            while not facts("events-lost"):
                await trio.sleep(0.02)
        go.set()
        await server.drained()
    ahead = len(seen) - 20
    assert 0 < ahead <= 15
    assert seen == [*range(ahead), *range(80, 100)]
    assert sum(x["count"] for x in facts("events-lost")) == 80 - ahead


async def test_what_was_trimmed_while_nobody_worked_is_counted_and_told(
    server: Any,
    on_server: App,
    stream: Stream[Any],
    order: Any,
    collector: Collector,
    facts: Facts,
) -> None:
    _, journal = collector()
    async with on_server.worker():
        await stream.send(order(key="a", n=0))
        await server.drained()
    await stream.send(*(order(key="a", n=n) for n in range(1, 101)))
    (key,) = [key for key in server.logs() if server.client.xlen(key)]
    server.client.xtrim(key, maxlen=10, approximate=False)
    async with on_server.worker():
        await server.drained()
    assert journal.seen == {"a": [0, *range(91, 101)]}
    assert [x["count"] for x in facts("events-lost")] == [90]


async def test_an_operators_rewind_is_followed(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector(lock_expiry=1)
    async with on_server.worker():
        await stream.send(*(order(key="a", n=n) for n in range(5)))
        await server.drained()
        (key,) = [key for key in server.logs() if server.client.xlen(key)]
        server.client.xgroup_setid(key, "collect", "0", entries_read=0)
        await journal.reaches(10)
        await server.drained()
    assert journal.seen == {"a": [0, 1, 2, 3, 4] * 2}


async def test_processors_of_one_stream_each_see_everything(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, one = collector(name="one")
    _, two = collector(name="two", pause=0.001)
    async with on_server.worker():
        await stream.send(*records(order, 500))
        await server.drained()
    assert one.is_exactly(500)
    assert two.is_exactly(500)


async def test_apps_of_one_server_know_nothing_of_each_other(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    other = App("other", redis_url=server.url, default_partition_count=3)
    others = other.stream("orders", order, partition_by="key")
    _, mine = collector()
    _, theirs = collector(app=other)
    async with on_server.worker(), other.worker():
        await stream.send(*records(order, 100))
        await others.send(*records(order, 200))
        await server.drained()
    assert mine.is_exactly(100)
    assert theirs.is_exactly(200)


async def test_a_second_worker_is_given_its_share_and_takes_over_the_rest_when_the_first_stops(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    second = App("test", redis_url=server.url, default_partition_count=4)
    second.stream("orders", order, partition_by="key")
    _, mine = collector(lock_expiry=2)
    _, theirs = collector(app=second, lock_expiry=2)
    async with trio.open_nursery() as nursery:
        first = await nursery.start(on_server.run)
        async with second.worker():
            await stream.send(*records(order, 400))
            await server.drained()
            assert mine.seen
            assert len(theirs.seen) == len(KEYS) - len(mine.seen) > 0
            first.stop()
            await stream.send(*records(order, 800, 400))
            await server.drained()
    assert theirs.count > mine.count
    joined = {key: mine.seen.get(key, []) + theirs.seen.get(key, []) for key in KEYS}
    assert joined == {key: list(range(at, 800, len(KEYS))) for at, key in enumerate(KEYS)}


async def test_a_stall_limit_that_is_shorter_than_a_look_at_trio_stops_no_heartbeats(
    server: Any, order: Any, collector: Collector, facts: Facts
) -> None:
    app = App("brief", redis_url=server.url, stall_limit=0.1, default_lock_expiry=0.4)
    app.stream("orders", order, partition_by="key", partition_count=4)
    collector(app=app)

    def beats() -> int:
        (seat,) = [value for field, value in server.client.hgetall(key).items() if field.startswith(b"m:")]
        return int(seat.split(b" ")[1])

    async with app.worker():
        (key,) = server.client.keys("*brief*:members")
        with trio.fail_after(60):
            while await trio.to_thread.run_sync(beats) < 15:
                await trio.sleep(0.02)
    assert facts("stall-limit") == []
    assert facts("was-removed") == []


async def test_a_server_that_is_full_can_still_be_drained(
    server: Any, on_server: App, stream: Stream[Any], order: Any, collector: Collector
) -> None:
    _, journal = collector()
    await stream.send(*records(order, 500))
    server.client.config_set("maxmemory", "1mb")
    with trio.move_on_after(0.5) as scope:
        await stream.send(*records(order, 501, 500))
    assert scope.cancelled_caught
    async with on_server.worker():
        await server.drained()
    assert journal.is_exactly(500)
    assert logging.getLogger("runnel_trio").handlers
