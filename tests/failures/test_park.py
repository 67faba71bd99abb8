"""A failing key is parked: its events wait in order, those of other keys go on, and it is taken up again in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Backoff, ExceptionPolicy, Processor, Record
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware
from runnel_trio.testing import Outcome


class Task(Record):
    key: str
    n: int


class Shop:
    """One partition; events of keys in `broken` fail."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.tasks = app.stream("tasks", Task, "key")
        self.broken: set[str] = set()
        self.done: list[tuple[str, int]] = []
        self.attempts: list[tuple[str, int, int, bool]] = []

    def processor(self, **options: Any) -> Processor[Task]:
        @self.app.processor(self.tasks, **{"exception_policy": "park", **options})
        async def handle(events: Any) -> None:
            async for event in events:
                task = event.record()
                self.attempts.append((task.key, task.n, events.attempt, event.parked))
                if task.key in self.broken:
                    raise ValueError(f"{task.key} is broken")
                self.done.append((task.key, task.n))

        return handle

    def numbers(self, key: str) -> list[int]:
        return [n for found, n in self.done if found == key]


def tasks(keys: Sequence[str], count: int, first: int = 0) -> list[Task]:
    return [Task(key=key, n=n) for n in range(first, first + count) for key in keys]


@pytest.fixture
def shop() -> Shop:
    return Shop(App("test", default_partition_count=1))


both = pytest.mark.parametrize("concurrency", [1, 4])


@both
async def test_only_the_failing_key_waits_and_is_taken_up_in_order(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    handle = shop.processor(concurrency=concurrency)
    shop.broken = {"bad"}
    async with handle.test() as t:
        results = await t.send(*tasks(["a", "bad", "b"], 10))
        assert shop.numbers("a") == shop.numbers("b") == list(range(10))
        assert {x.outcome for x in results if x.record and x.record.key == "bad"} == {Outcome.PARKED}
        (parked,) = t.parked
        assert (parked.key, parked.events, parked.attempts, parked.error) == (
            "bad", 10, 1, "ValueError: bad is broken",
        )  # fmt: skip
        assert "raise ValueError" in parked.traceback
        assert parked.next is None

        await t.send(*tasks(["a", "bad"], 5, first=10))
        assert shop.numbers("a") == list(range(15))
        assert t.parked[0].events == 15

        shop.broken = set()
        assert await handle.unpark() == t.parked
        await t.settled()
        assert shop.numbers("bad") == list(range(15))
        assert not t.parked
        assert {x.outcome for x in t.results} == {Outcome.ACKED}

        await t.send(*tasks(["bad"], 3, first=15))
        assert shop.numbers("bad") == list(range(18))
    assert ("bad", 0, 2, True) in shop.attempts
    assert ("bad", 1, 1, True) in shop.attempts
    assert ("bad", 16, 1, False) in shop.attempts


@both
async def test_a_key_that_fails_again_is_parked_as_before(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    handle = shop.processor(concurrency=concurrency)
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad", "a"], 5))
        for tries in (2, 3):
            await handle.unpark()
            await t.settled()
            assert [(x.events, x.attempts) for x in t.parked] == [(5, tries)]
        await t.send(*tasks(["bad"], 2, first=5))
        assert t.parked[0].events == 7
        shop.broken = set()
        await handle.unpark()
        await t.settled()
        assert shop.numbers("bad") == list(range(7))
        assert not t.parked


@both
async def test_the_first_event_can_be_left_out(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    handle = shop.processor(concurrency=concurrency)
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad"], 4))
        shop.broken = set()
        await handle.unpark(skip_first=True)
        await t.settled()
        assert shop.numbers("bad") == [1, 2, 3]
        assert not t.parked


async def test_a_list_of_one_event_is_free_when_that_is_left_out(
    shop: Shop, autojump_clock: MockClock
) -> None:
    handle = shop.processor()
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad"], 1))
        shop.broken = set()
        await handle.unpark(skip_first=True)
        await t.send(*tasks(["bad"], 2, first=1))
        assert shop.numbers("bad") == [1, 2]
        assert not t.parked


@both
async def test_what_is_dropped_is_not_handled_and_the_key_goes_on(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    handle = shop.processor(concurrency=concurrency)
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad"], 4))
        shop.broken = set()
        assert len(await handle.drop_parked(t.parked)) == 1
        await t.send(*tasks(["bad"], 2, first=4))
        assert shop.numbers("bad") == [4, 5]
        assert not t.parked


@both
async def test_a_key_is_parked_by_hand_and_waits_until_it_is_unparked(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    handle = shop.processor(concurrency=concurrency, exception_policy="halt")
    async with handle.test() as t:
        await t.send(*tasks(["a", "b"], 2))
        held = await handle.park("a", reason="fraud desk", by="eve")
        assert (held.key, held.events, held.reason, held.by) == ("a", 0, "fraud desk", "eve")
        await trio.sleep(1)
        await t.send(*tasks(["a", "b"], 3, first=2))
        assert (shop.numbers("a"), shop.numbers("b")) == ([0, 1], [0, 1, 2, 3, 4])
        assert [(x.key, x.events, x.reason) for x in t.parked] == [("a", 3, "fraud desk")]
        await handle.unpark()
        await t.settled()
        await t.send(*tasks(["a"], 2, first=5))
        assert shop.numbers("a") == list(range(7))
        assert not t.parked


async def test_an_unparked_key_without_events_is_free(shop: Shop, autojump_clock: MockClock) -> None:
    handle = shop.processor()
    async with handle.test() as t:
        await handle.park("a")
        await trio.sleep(1)
        await handle.unpark()
        await trio.sleep(1)
        await t.send(*tasks(["a"], 2))
        assert shop.numbers("a") == [0, 1]
        assert not t.parked
    assert all(not parked for *_, parked in shop.attempts)


@both
async def test_parked_keys_are_tried_again_with_growing_pauses(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    handle = shop.processor(concurrency=concurrency, park_retry=Backoff(delay=60, jitter=False, tries=3))
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad", "a"], 3))
        began = trio.current_time()
        assert t.parked[0].next is not None
        await trio.sleep(50)
        assert [x for x in shop.attempts if x[0] == "bad"] == [("bad", 0, 1, False)]
        await trio.sleep(20)
        assert len([x for x in shop.attempts if x[0] == "bad"]) == 2
        await trio.sleep(2 * 3600)
        await t.settled()
        assert [x for x in shop.attempts if x[0] == "bad"] == [
            ("bad", 0, attempt, attempt > 1) for attempt in (1, 2, 3, 4)
        ]
        assert t.parked[0].next is None
        assert trio.current_time() - began > 7200


async def test_a_retry_by_itself_succeeds_and_the_key_is_free(shop: Shop, autojump_clock: MockClock) -> None:
    handle = shop.processor(park_retry=Backoff(delay=60, jitter=False))
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad", "a"], 3))
        shop.broken = set()
        await trio.sleep(61)
        await t.settled()
        assert shop.numbers("bad") == [0, 1, 2]
        assert not t.parked


async def test_tries_in_place_come_first(shop: Shop, autojump_clock: MockClock) -> None:
    handle = shop.processor(middleware=[RetryMiddleware(attempts=3)])
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad"], 2))
        assert t.parked[0].attempts == 3
        await handle.unpark()
        await t.settled()
        assert t.parked[0].attempts == 4


@both
async def test_a_list_of_events_that_fails_parks_all_its_keys(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    lists: list[list[tuple[str, int]]] = []
    broken = True

    @shop.app.processor(shop.tasks, exception_policy="park", concurrency=concurrency)
    async def handle(events: Any) -> None:
        async for found in events.take(4, within=1).records():
            lists.append([(x.key, x.n) for x in found])
            if broken and any(x.key == "bad" for x in found):
                raise ValueError
            shop.done.extend((x.key, x.n) for x in found)

    async with handle.test() as t:
        await t.send(*tasks(["a", "bad", "b"], 4))
        assert "bad" in {x.key for x in t.parked}
        broken = False
        await handle.unpark()
        await t.settled()
        assert not t.parked
    for key in ("a", "bad", "b"):
        assert shop.numbers(key) == [0, 1, 2, 3]


async def test_an_entry_without_a_key_puts_the_partition_into_quarantine(
    shop: Shop, autojump_clock: MockClock
) -> None:
    handle = shop.processor()
    async with handle.test() as t:
        result = await t.send_entry({"nonsense": b"1"})
        assert result.outcome is Outcome.QUARANTINED
        assert not t.parked


async def test_an_entry_without_a_key_can_be_a_dead_letter(shop: Shop, autojump_clock: MockClock) -> None:
    dead = shop.app.stream("dead", Dead, "xid")
    handle = shop.processor(middleware=[DeadLetterMiddleware(dead)])
    async with handle.test() as t:
        result = await t.send_entry({"nonsense": b"1"})
        assert result.outcome is Outcome.DEAD_LETTERED


async def test_a_replayed_event_can_become_a_dead_letter(shop: Shop, autojump_clock: MockClock) -> None:
    dead = shop.app.stream("dead", Dead, "xid")
    letters = DeadLetterMiddleware(dead)
    handle = shop.processor(exception_policy={ValueError: "park"}, middleware=[SetAsideReplays(letters)])
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad"], 2))
        assert t.parked[0].events == 2
        await handle.unpark()
        await t.settled()
        assert not t.parked
        assert len(await letters.store.read()) == 2


class SetAsideReplays(DeadLetterMiddleware):
    """Makes letters only of what was parked before."""

    def __init__(self, letters: DeadLetterMiddleware) -> None:
        super().__init__(letters.sink)

    def on_failure(self, failure: Any) -> Any:
        return super().on_failure(failure) if failure.events[0].parked else None


@both
async def test_too_many_parked_events_put_the_partition_into_quarantine_and_lose_nothing(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    handle = shop.processor(concurrency=concurrency, max_parked=5)
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad"], 8))
        assert t.parked[0].events == 5
        (standing,) = await handle.quarantined()
        assert "ParkingFull" in standing.error
        assert "max_parked=5" in standing.error
        shop.broken = set()
        await handle.unpark()
        await handle.resume()
        await t.settled()
        assert shop.numbers("bad") == list(range(8))
        assert not t.parked


async def test_a_policy_by_type_parks_only_what_it_names(shop: Shop, autojump_clock: MockClock) -> None:
    handle = shop.processor(exception_policy={ValueError: ExceptionPolicy.PARK, Exception: "ignore"})
    shop.broken = {"bad"}
    async with handle.test() as t:
        results = await t.send(*tasks(["bad"], 2))
        assert [x.outcome for x in results] == [Outcome.PARKED] * 2


async def test_an_unparked_key_without_events_is_free_though_nothing_is_sent(
    autojump_clock: MockClock,
) -> None:
    shop = Shop(App("test", default_partition_count=1, redis_url="memory://"))
    handle = shop.processor()
    async with shop.app.worker():
        await handle.park("a")
        await trio.sleep(10)
        await handle.unpark()
        await trio.sleep(1)
        assert await handle.parked() == []


async def test_a_key_stays_parked_since_it_was_when_its_first_event_is_left_out(
    shop: Shop, autojump_clock: MockClock
) -> None:
    handle = shop.processor()
    shop.broken = {"bad"}
    async with handle.test() as t:
        await t.send(*tasks(["bad"], 3))
        (before,) = t.parked
        await trio.sleep(3600)
        await handle.unpark(skip_first=True)
        await t.settled()
        (after,) = t.parked
    assert (after.events, after.since) == (2, before.since)
