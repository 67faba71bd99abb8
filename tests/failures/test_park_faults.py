"""Parked keys in the cases that are easy to get wrong: what an operator does while their events are replayed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Processor, Record
from runnel_trio._event import Event
from runnel_trio._rules._parked import Facts, Head
from runnel_trio._worker._member import _parked_keys
from runnel_trio._worker._member._parked_keys import Failed, ParkedKeys

KEY = b"sAda"


class Task(Record):
    key: str
    n: int


def event(number: int) -> Event:
    origin: Any = None
    return Event(origin, b"%d-0" % (number + 1), (b"data", b"x"), number)


def failed(again: int = 0) -> Failed:
    return Failed(Facts(key="Ada", hash=7, error="ValueError: x"), 2, again)


def keys_with(head: Head | None) -> ParkedKeys:
    keys = ParkedKeys(describe=lambda _: Facts(key="Ada", hash=7), most=100)
    keys.refresh({KEY: head} if head else {})
    return keys


def now(keys: ParkedKeys) -> Any:
    """What becomes of the list with the next commit."""
    return [(change.seen, change.now) for change in keys.changes(lambda _: True)]


def test_an_event_that_joins_a_list_is_not_removed_for_one_of_a_list_that_was_dropped() -> None:
    keys = keys_with(Head(1, 20, next=1))
    keys.move_aside(50, KEY, event(50))
    keys.pop(-9, KEY, 1)
    keys.refresh({})
    ((seen, head),) = now(keys)
    assert (seen, head.count) == (None, 1)


def test_a_list_that_was_held_while_its_last_event_was_handled_stays_held() -> None:
    keys = keys_with(Head(3, 3, next=1))
    keys.follow(KEY)
    keys.pop(-9, KEY, 3)
    keys.refresh({KEY: Head(3, 3)})
    assert now(keys) == [(Head(3, 3), Head(4, 3))]
    assert KEY in keys.aside


def test_an_empty_list_that_is_held_anew_is_not_freed() -> None:
    keys = keys_with(Head(1, 0, next=1))
    keys.follow(KEY)
    keys.free(-9, KEY)
    keys.refresh({KEY: Head(1, 0)})
    assert now(keys) == [(Head(1, 0), Head(1, 0))]


def test_a_key_that_was_held_while_it_was_replayed_is_not_tried_again_by_itself() -> None:
    keys = keys_with(Head(1, 3, next=1))
    keys.keep(-9, KEY, 1, failed(again=1764330000000))
    keys.refresh({KEY: Head(1, 3)})
    ((_, head),) = now(keys)
    assert (head.next, head.attempts) == (0, 2)


class Shop:
    """One partition; each event waits until it may go on, if its key is slow, and fails while its key is broken."""

    def __init__(self, **options: Any) -> None:
        self.app = App("test", redis_url="memory://", default_partition_count=1)
        self.tasks = self.app.stream("tasks", Task, "key")
        self.broken: set[str] = set()
        self.slow: set[str] = set()
        self.begun: list[tuple[str, int]] = []
        self.done: list[tuple[str, int]] = []
        self.handle: Processor[Task] = self.app.processor(
            self.tasks, **{"exception_policy": "park", "lock_expiry": 4, **options}
        )(self._handle)

    async def _handle(self, events: Any) -> None:
        async for task in events.records():
            self.begun.append((task.key, task.n))
            if task.key in self.slow:
                await trio.sleep(1)
            if task.key in self.broken:
                raise ValueError(task.key)
            self.done.append((task.key, task.n))

    async def send(self, key: str, *numbers: int) -> None:
        await self.tasks.send(*(Task(key=key, n=n) for n in numbers))

    def numbers(self, key: str) -> list[int]:
        return [n for found, n in self.done if found == key]

    async def until(self, condition: Callable[[], Any]) -> None:
        with trio.fail_after(60):
            while not condition():
                await trio.sleep(0.01)

    async def until_parked(self, count: int) -> None:
        with trio.fail_after(60):
            while sum(x.events for x in await self.handle.parked()) != count:
                await trio.sleep(0.01)


many = pytest.mark.parametrize("concurrency", [1, 4])


@many
async def test_what_waits_behind_a_replay_stays_before_what_comes_while_the_key_is_held(
    autojump_clock: MockClock, concurrency: int
) -> None:
    shop = Shop(concurrency=concurrency)
    shop.broken = {"a"}
    async with shop.app.worker():
        await shop.send("a", 0)
        await shop.until_parked(1)
        shop.broken, shop.slow = set(), {"a"}
        await shop.handle.unpark()
        await shop.until(lambda: len(shop.begun) == 2)
        await shop.send("a", 1, 2)  # wait behind what is in hand
        await trio.sleep(0.1)
        await shop.handle.park("a")
        await trio.sleep(0.1)
        await shop.send("a", 3)
        await shop.until_parked(3)
        assert shop.numbers("a") == [0]
        await shop.handle.unpark()
        await shop.until(lambda: len(shop.done) == 4)
    assert shop.numbers("a") == [0, 1, 2, 3]


async def test_a_key_whose_first_event_was_left_out_while_it_failed_goes_on(
    autojump_clock: MockClock,
) -> None:
    shop = Shop()
    shop.broken = {"a"}
    async with shop.app.worker():
        await shop.send("a", 0, 1, 2)
        await shop.until_parked(3)
        shop.slow = {"a"}
        await shop.handle.unpark()
        await shop.until(lambda: len(shop.begun) == 2)
        await shop.handle.unpark(skip_first=True)
        await trio.sleep(0.5)
        await trio.sleep(0.51)
        shop.broken = set()
        await shop.until(lambda: len(shop.done) == 2)
    assert shop.numbers("a") == [1, 2]


async def test_what_found_no_room_stays_first_when_its_list_is_dropped(autojump_clock: MockClock) -> None:
    shop = Shop(max_parked=2)
    shop.broken = {"a"}
    async with shop.app.worker():
        await shop.send("a", 0, 1)
        await shop.until_parked(2)
        shop.broken, shop.slow = set(), {"a"}
        await shop.handle.unpark()
        await shop.until(lambda: len(shop.begun) == 2)
        await shop.send("a", 2, 3)  # the list is known to the end, so they wait behind it
        await shop.handle.park("a")
        await trio.sleep(0.1)
        await shop.handle.unpark()
        await trio.sleep(0.1)
        await shop.handle.drop_parked(await shop.handle.parked())
        await shop.send("a", 4)
        await shop.until(lambda: (shop.done or [0])[-1] == ("a", 4))
    assert shop.numbers("a") == [0, 2, 3, 4]


async def test_an_unparked_key_without_events_is_free_at_once(autojump_clock: MockClock) -> None:
    shop = Shop()
    async with shop.app.worker():
        await shop.handle.park("a")
        await trio.sleep(1)
        await shop.handle.unpark()
        await trio.sleep(1)
        assert await shop.handle.parked() == []


async def test_many_short_lists_and_the_log_are_handed_out_beside_each_other(
    autojump_clock: MockClock,
) -> None:
    shop = Shop(concurrency=4)
    shop.broken = {"a", "b", "c", "d"}
    async with shop.app.worker():
        for n in range(3):
            for key in "abcdxy":
                await shop.send(key, n)
        await shop.until_parked(12)
        shop.broken, shop.slow = set(), {"b", "x"}
        await shop.handle.unpark()
        for n in range(3, 8):
            for key in "abcdxy":
                await shop.send(key, n)
        await shop.until(lambda: len(shop.done) == 48)
    for key in "abcdxy":
        assert shop.numbers(key) == list(range(8)), key


async def test_a_key_that_is_held_while_its_last_parked_event_is_handled_waits(
    autojump_clock: MockClock,
) -> None:
    shop = Shop()
    shop.broken = {"a"}
    async with shop.app.worker():
        await shop.send("a", 0)
        await shop.until_parked(1)
        shop.broken, shop.slow = set(), {"a"}
        await shop.handle.unpark()
        await shop.until(lambda: len(shop.begun) == 2)
        await shop.handle.park("a", reason="fraud desk")
        await shop.send("a", 1)
        await shop.until(lambda: len(shop.done) == 1)
        await trio.sleep(5)
        assert [(x.key, x.events, x.reason) for x in await shop.handle.parked()] == [("a", 1, "fraud desk")]
        assert shop.numbers("a") == [0]


def test_what_was_handled_and_is_not_committed_is_not_read_again() -> None:
    keys = keys_with(Head(1, 20, next=1))
    keys.pop(-9, KEY, 1)
    keys.pop(-8, KEY, 2)
    keys.refresh({KEY: Head(1, 20)})
    keys.refresh({KEY: Head(1, 20, next=1)})
    assert keys.next_entry(KEY) == 3
    keys.changes(lambda _: True)
    keys.forget(lambda _: True)
    assert (keys.heads[KEY].first, keys.next_entry(KEY)) == (3, 3)
    keys.refresh({KEY: Head(1, 1)})  # another list
    assert keys.next_entry(KEY) == 1


def test_what_joins_a_list_that_was_dropped_meanwhile_is_followed_by_what_comes_later() -> None:
    keys = keys_with(Head(1, 20, next=1))
    keys.refresh({})
    keys.move_aside(50, KEY, event(50))
    assert KEY in keys.aside


@pytest.mark.parametrize("guarded", [True, False])
def test_an_entry_is_removed_only_for_itself(monkeypatch: pytest.MonkeyPatch, guarded: bool) -> None:
    """An operator has left out the first event while it was in hand: the second one stays, unless nobody looks."""
    if not guarded:
        apply = _parked_keys._Draft.apply

        def blindly(draft: Any, effect: Any) -> None:
            apply(draft, attrs.evolve(effect, entry=draft.head.first))

        monkeypatch.setattr(_parked_keys._Draft, "apply", blindly)
    parked = ParkedKeys()
    parked.refresh({b"sAda": Head(1, 3, next=1)})
    parked.pop(-5, b"sAda", 1)
    parked.heads[b"sAda"] = Head(2, 3, next=1)
    (change,) = parked.changes(lambda number: number == -5)
    assert change.now is not None
    assert change.now.first == (2 if guarded else 3)
