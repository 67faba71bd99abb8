"""What is looked at, and done, through `App.operator`: by name, with the app's code and without."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import (
    App,
    BrokerRefused,
    Events,
    ExceptionPolicy,
    Misconfigured,
    Processor,
    Record,
    Stream,
    WorkersAlive,
)
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio.middleware import Dead, DeadLetterMiddleware
from runnel_trio.operating import Misfit, Surveyed, Weight, troubles

URL = "memory://desk"


class Order(Record):
    key: str
    n: int


class Shop:
    """An app with a processor, and one with the same name that knows nothing but its server."""

    def __init__(self) -> None:
        self.app = App("test", redis_url=URL, default_partition_count=4)
        self.orders: Stream[Order] = self.app.stream("orders", Order, partition_by="key")
        self.dead: Stream[Dead] = self.app.stream("dead", Dead, partition_by="xid")
        self.link = DeadLetterMiddleware(self.dead, by_hand=True)
        self.seen: list[int] = []
        self.book: Processor[Order] = self.app.processor(
            self.orders,
            name="book",
            middleware=[self.link],
            exception_policy=ExceptionPolicy.QUARANTINE,
            join_delay=0,
        )(self._book)
        self.elsewhere = App("test", redis_url=URL)

    async def _book(self, events: Events[Order]) -> None:
        async for order in events.records():
            if order.key == "bad":
                raise LookupError("no such customer")
            self.seen.append(order.n)

    async def send(self, numbers: Iterable[int], key: str = "") -> None:
        await self.orders.send(*(Order(key=key or str(n), n=n) for n in numbers))


@pytest.fixture
def shop() -> Shop:
    return Shop()


async def test_looking_declares_nothing(autojump_clock: MockClock, shop: Shop) -> None:
    async with shop.app.operator() as op, shop.elsewhere.operator() as stranger:
        assert op.server == stranger.server
        (trouble,) = troubles(await op.overview())
        assert (trouble.kind, trouble.weight) == ("unknown", Weight.STANDING)
        assert [x.lag for x in await op.positions("book")] == [0, 0, 0, 0]
        assert await op.quarantined("book") == []
        assert await op.partitions("book") == [0, 1, 2, 3]
        assert await op.letters("book") == []
        assert (await op.layouts("orders")).current == shop.orders.spec
        assert await op.streams() == []
        assert await stranger.streams() == []


async def test_positions_tell_what_is_behind_and_what_nobody_has_begun(
    autojump_clock: MockClock, shop: Shop
) -> None:
    async with shop.app.operator() as op:
        await shop.send(range(20))
        found = await op.positions("book")
        assert sum(x.lag for x in found) == 20
        assert not any(x.begun or x.standing for x in found)
        await op.pause("book", [2], reason="moving house", by="ops")
        found = await op.positions("book", [1, 2])
        assert [(x.partition, x.layout, x.begun) for x in found] == [(1, 1, True), (2, 1, True)]
        assert [x.standing and x.standing.error for x in found] == [None, "moving house"]


@pytest.mark.parametrize("name", ["book", "orders/book"])
async def test_a_processor_is_named_as_in_the_code_or_as_status_shows_it(
    autojump_clock: MockClock, shop: Shop, name: str
) -> None:
    async with shop.app.operator() as op:
        await shop.send(range(8))
        assert (await op.processor(name)).name == "book"
        assert await op.pause(name, [0, 1], reason="why") == [0, 1]
        assert [(x.partition, x.error) for x in await op.quarantined(name)] == [(0, "why"), (1, "why")]
        assert [x.partition for x in await op.resume(name)] == [0, 1]
        assert sum(x.lag_after for x in await op.reset(name, "0", dry_run=True)) == 8
        assert sum(x.lag_after for x in await op.reset(name, "$")) == 0
        assert await op.forget(name) == 4


async def test_one_that_only_the_server_knows_needs_no_code(autojump_clock: MockClock, shop: Shop) -> None:
    async with shop.app.worker(), shop.elsewhere.operator() as op:
        await shop.send([1, 2])
        (processor,) = (await op.overview()).processors
        assert await op.pause(processor.full_name) == [0, 1, 2, 3]
        await trio.sleep(1)
        await shop.send([3], key="1")
        assert sum(x.lag for x in await op.positions("orders/book")) == 1
        assert len(await op.resume("orders/book")) == 4
        await trio.sleep(5)
        assert sorted(shop.seen) == [1, 2, 3]
        with pytest.raises(WorkersAlive):
            await op.forget("orders/book")


async def test_a_name_that_is_none_is_refused_and_makes_nothing(
    autojump_clock: MockClock, shop: Shop
) -> None:
    async with shop.app.operator() as op, shop.elsewhere.operator() as stranger:
        await shop.send([1])
        for name in ("totals", "orders/totals"):
            with pytest.raises(
                Misconfigured, match=rf"no cursor of {name} .*it knows none; the code has book"
            ):
                await op.pause(name)
        await op.pause("book", [0])
        with pytest.raises(Misconfigured, match=r"no cursor of book .*: it knows orders/book$"):
            await stranger.pause("book")
        with pytest.raises(Misconfigured, match="has no partition 4"):
            await op.positions("book", [4])
        with pytest.raises(Misconfigured, match="declares no processor 'orders/book'"):
            await stranger.letters("orders/book")
        for look in (op.survey, op.layouts):
            with pytest.raises(Misconfigured, match=r"no stream 'items': it has orders"):
                await look("items")
        with pytest.raises(Misconfigured, match="declares no stream 'orders': it has none"):
            stranger.events("orders")
        assert [x.name for x in (await op.overview()).processors] == ["book"]


async def test_what_failed_becomes_a_letter_and_comes_back(autojump_clock: MockClock, shop: Shop) -> None:
    async with shop.app.worker(), shop.app.operator() as op:
        await shop.send([7], key="bad")
        await trio.sleep(5)
        assert [x.count for x in await op.resume("book", dead_letter=True)] == [1]
        (letter,) = await op.letters("orders/book")
        assert op.dead_letter_stream("book") == "dead"
        assert isinstance(letter.record, Dead)
        assert letter.record.error == "LookupError: no such customer"
        assert await op.replay("book", [letter]) == 1
        assert await op.replay("book", [letter]) == 0
        await trio.sleep(5)
        assert len(await op.resume("orders/book", dead_letter=True)) == 1
        assert await op.drop("book", await op.letters("book")) == 1
        assert await op.letters("book") == []


async def test_parked_keys_are_seen_and_go_on(autojump_clock: MockClock, shop: Shop) -> None:
    async with shop.app.worker(), shop.app.operator() as op, shop.elsewhere.operator() as stranger:
        held = await op.park("book", "good", reason="a look first", by="eve")
        await op.park("book", "other")
        await trio.sleep(1)
        await shop.send(range(3), key="good")
        await trio.sleep(1)
        assert held.key == "good"
        one, other = await op.parked("book")
        assert (one.key, one.events, one.reason, one.by, other.events) == (
            "good",
            3,
            "a look first",
            "eve",
            0,
        )
        assert [x.record().n for x in await op.parked_events("book", one)] == [0, 1, 2]
        elsewhere = [number for number in range(4) if number != one.partition]
        assert one not in await op.parked("book", elsewhere)
        (trouble,) = troubles(await op.overview())
        assert (trouble.kind, trouble.text) == ("parked", "2 keys are parked, with 3 events")
        assert await stranger.parked("orders/book") == [one, other]
        with pytest.raises(Misconfigured, match="declares no processor"):
            await stranger.parked_events("orders/book", one)
        assert await stranger.drop_parked("orders/book", [other]) == [other]
        assert await stranger.unpark("orders/book") == [one]
        await trio.sleep(1)
        assert shop.seen == [0, 1, 2]
        assert await op.parked("book") == []
        assert await op.drop_parked("book", [one]) == []


async def test_events_come_by_their_ids_and_of_some_keys_alone(autojump_clock: MockClock, shop: Shop) -> None:
    async def numbers(**which: Any) -> list[int]:
        async with op.events("orders", **which) as events:
            return [event.record().n async for event in events]

    async with shop.app.operator() as op:
        for n in range(12):
            await trio.sleep(0.01)
            await shop.send([n], key="abc"[n % 3])
        assert await numbers() == list(range(12))
        assert await numbers(keys=["b"]) == [1, 4, 7, 10]
        assert await numbers(keys=[]) == []
        home = shop.orders.partition_of(Order(key="b", n=0))
        assert set(await numbers(partitions=[home])) >= {1, 4, 7, 10}
        assert await numbers(start="$") == []
        await op.repartition("orders").begin(6)
        await shop.send([12], key="b")
        assert await numbers(keys=["b"]) == [1, 4, 7, 10, 12]


async def test_events_are_followed_until_the_block_is_left(
    autojump_clock: MockClock, shop: Shop, nursery: trio.Nursery
) -> None:
    async with shop.app.operator() as op:
        await shop.send([1])
        async with op.events("orders", "$", follow=True) as events:
            nursery.start_soon(shop.send, [2, 3])
            found = [await anext(events), await anext(events)]
    assert sorted(event.record().n for event in found) == [2, 3]


async def test_a_change_of_partitions_is_waited_for(autojump_clock: MockClock, shop: Shop) -> None:
    told: list[int] = []
    async with shop.app.worker(), shop.app.operator() as op:
        await shop.send(range(50))
        change = op.repartition("orders")
        await change.begin(6)
        assert [x.partition_count for x in await op.survey("orders")] == [4, 6]
        await change.wait(lambda progress: told.append(progress.lag))
        assert [x.partition_count for x in await op.survey("orders")] == [6]
    assert told[-1] == 0
    assert sorted(shop.seen) == list(range(50))


async def test_a_misfit_is_no_partition(
    autojump_clock: MockClock, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def survey(*_: Any) -> list[Surveyed]:
        return [Surveyed(number=0, misfits=[Misfit("test:0:orders:log", "string", "stream")])]

    monkeypatch.setattr(MemoryBroker, "survey", survey)
    async with shop.app.operator() as op:
        with pytest.raises(BrokerRefused, match="is a string, and must be a stream"):
            await op.survey("orders")


async def test_it_says_what_it_is(autojump_clock: MockClock, shop: Shop) -> None:
    async with shop.app.operator() as op:
        assert repr(op) == "<Operator of test>"
        before = op.wall()
        await trio.sleep(100)
        assert op.wall() - before == pytest.approx(100, rel=1e-3)
