"""What a function emits is stored with the acknowledgement of its event: once, in order, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Middleware, Misconfigured, Processor, Record, RecordInvalid, Stream, StreamFull
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._operate._repartition import Repartition
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware
from runnel_trio.testing import Outcome, drained


class Order(Record):
    key: str
    n: int


class Invoice(Record):
    key: str
    n: int
    part: int = 0


class Shop:
    def __init__(self, **settings: Any) -> None:
        self.app = App("test", redis_url="memory://", **{"default_partition_count": 3, **settings})
        self.orders = self.app.stream("orders", Order, "key")
        self.invoices = self.app.stream("invoices", Invoice, "key", partition_count=5)
        self.attempts: list[tuple[str, int]] = []

    def processor(
        self, act: Callable[[Any, Order, int], Any] | None = None, each: int = 2, **options: Any
    ) -> Processor[Order]:
        @self.app.processor(self.orders, **{"outputs": [self.invoices], **options})
        async def bill(events: Any) -> None:
            async for order in events.records():
                self.attempts.append((order.key, order.n))
                for part in range(each):
                    events.emit(self.invoices, Invoice(key=order.key, n=order.n, part=part))
                if act is not None:
                    await act(events, order, self.attempts.count((order.key, order.n)))

        return bill


def orders(keys: str, count: int, first: int = 0) -> list[Order]:
    return [Order(key=key, n=n) for n in range(first, first + count) for key in keys]


def of_key(emitted: list[Any], key: str) -> list[tuple[int, int]]:
    return [(x.n, x.part) for x in emitted if x.key == key]


lanes = pytest.mark.parametrize("concurrency", [1, 8])


@pytest.fixture(autouse=True, params=["one server", "cluster"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything holds as well where records go by an outbox."""
    if request.param == "cluster":
        monkeypatch.setattr(MemoryBroker, "clustered", property(lambda _: True, lambda *_: None))
    return str(request.param)


@lanes
async def test_each_event_emits_once_and_in_the_order_of_its_key(
    autojump_clock: MockClock, concurrency: int
) -> None:
    shop = Shop()
    async with shop.processor(concurrency=concurrency).test() as t:
        await t.send(*orders("abcdef", 20))
        for key in "abcdef":
            assert of_key(t.emitted[shop.invoices], key) == [
                (n, part) for n in range(20) for part in range(2)
            ]
        assert t.sent[shop.invoices] == t.emitted[shop.invoices]


@lanes
async def test_what_a_failed_turn_has_emitted_is_dropped(autojump_clock: MockClock, concurrency: int) -> None:
    async def fail_twice(events: Any, order: Order, tries: int) -> None:
        if order.n % 3 == 0 and tries < 3:
            raise ConnectionError

    shop = Shop()
    bill = shop.processor(fail_twice, concurrency=concurrency, middleware=[RetryMiddleware(attempts=3)])
    async with bill.test() as t:
        await t.send(*orders("ab", 9))
        for key in "ab":
            assert of_key(t.emitted[shop.invoices], key) == [(n, part) for n in range(9) for part in range(2)]


@pytest.mark.parametrize("policy", ["ignore", "park", "quarantine", "dead letter"])
async def test_an_event_that_fails_for_good_emits_nothing(autojump_clock: MockClock, policy: str) -> None:
    async def fail(events: Any, order: Order, tries: int) -> None:
        if order.n == 2:
            raise ValueError

    shop = Shop()
    dead = DeadLetterMiddleware(shop.app.stream("dead", Dead, "xid"))
    options: dict[str, Any] = (
        {"middleware": [dead]} if policy == "dead letter" else {"exception_policy": policy}
    )
    async with shop.processor(fail, **options).test() as t:
        await t.send(*orders("a", 4))
        emitted = {n for n, _ in of_key(t.emitted[shop.invoices], "a")}
        assert emitted == ({0, 1, 3} if policy in {"ignore", "dead letter"} else {0, 1})


async def test_break_and_return_keep_what_was_emitted(autojump_clock: MockClock) -> None:
    shop = Shop()

    @shop.app.processor(shop.orders, outputs=[shop.invoices])
    async def one_by_one(events: Any) -> None:
        async for order in events.records():
            events.emit(shop.invoices, Invoice(key=order.key, n=order.n))
            break
        else:
            return
        events.emit(shop.invoices, Invoice(key=order.key, n=order.n, part=1))

    async with one_by_one.test() as t:
        await t.send(*orders("a", 3))
        assert of_key(t.emitted[shop.invoices], "a") == [(n, part) for n in range(3) for part in range(2)]


async def test_a_list_emits_as_a_whole(autojump_clock: MockClock) -> None:
    shop, failed = Shop(), []

    @shop.app.processor(shop.orders, outputs=[shop.invoices], middleware=[RetryMiddleware()])
    async def by_lists(events: Any) -> None:
        async for found in events.take(4, within=1).records():
            events.emit(shop.invoices, *(Invoice(key=x.key, n=x.n) for x in found))
            if not failed:
                failed.append(found)
                raise ConnectionError

    async with by_lists.test() as t:
        await t.send(*orders("a", 10))
        assert of_key(t.emitted[shop.invoices], "a") == [(n, 0) for n in range(10)]


async def test_a_replayed_event_of_a_parked_key_emits_when_it_is_handled(autojump_clock: MockClock) -> None:
    async def fail_once(events: Any, order: Order, tries: int) -> None:
        if order.n == 1 and tries == 1:
            raise ValueError

    shop = Shop()
    bill = shop.processor(fail_once, exception_policy="park")
    async with bill.test() as t:
        await t.send(*orders("ab", 4))
        assert of_key(t.emitted[shop.invoices], "a") == [(0, 0), (0, 1)]
        await bill.unpark()
        await t.settled()
        assert of_key(t.emitted[shop.invoices], "a") == [(n, part) for n in range(4) for part in range(2)]


async def test_a_full_target_makes_its_partition_wait_and_no_other(autojump_clock: MockClock) -> None:
    shop = Shop()
    small = shop.app.stream("small", Invoice, "key", partition_count=1, partition_size=4)
    other = shop.app.stream("others", Order, "key", partition_count=1)

    @shop.app.processor(shop.orders, outputs=[small])
    async def bill(events: Any) -> None:
        async for order in events.records():
            events.emit(small, Invoice(key=order.key, n=order.n))

    done: list[int] = []

    @shop.app.processor(other)
    async def beside(events: Any) -> None:
        async for order in events.records():
            done.append(order.n)

    read: list[int] = []

    @shop.app.processor(small, name="reader")
    async def reader(events: Any) -> None:
        async for invoice in events.records():
            await trio.sleep(10)
            read.append(invoice.n)

    async with shop.app.worker():
        await shop.orders.send(*orders("a", 10))
        await other.send(*orders("a", 10))
        await trio.sleep(1)
        assert done == list(range(10))
        with trio.fail_after(600):
            while len(read) < 10:
                await trio.sleep(1)
        await drained(bill, within=60)
    assert read == list(range(10))


async def test_more_than_ever_fits_is_refused_at_the_line(autojump_clock: MockClock) -> None:
    shop, errors = Shop(), []
    small = shop.app.stream("small", Invoice, "key", partition_count=1, partition_size=3)

    @shop.app.processor(shop.orders, outputs=[small])
    async def bill(events: Any) -> None:
        async for _ in events:
            events.emit(small, Invoice(key="a", n=0), Invoice(key="a", n=1))
            try:
                events.emit(small, Invoice(key="a", n=2), Invoice(key="a", n=3))
            except StreamFull as error:
                errors.append(error)

    async with bill.test() as t:
        await t.send(*orders("a", 1))
        assert len(errors) == 1
        assert of_key(t.emitted[small], "a") == [(0, 0), (1, 0)]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda events, shop: events.emit(shop.orders, Order(key="a", n=1)), Misconfigured),
        (lambda events, shop: events.emit(shop.invoices, Order(key="a", n=1)), RecordInvalid),
        (lambda events, shop: events.emit(shop.invoices, Invoice(key="a", n="x")), RecordInvalid),
    ],
)
async def test_what_cannot_be_stored_is_refused_at_the_line_and_nothing_of_the_call_is_kept(
    autojump_clock: MockClock, wrong: Any, error: type[Exception]
) -> None:
    shop, caught = Shop(), []

    async def refuse(events: Any, order: Order, tries: int) -> None:
        with pytest.raises(error):
            wrong(events, shop)
        caught.append(order)

    async with shop.processor(refuse, each=1).test() as t:
        await t.send(*orders("a", 2))
        assert len(caught) == 2
        assert of_key(t.emitted[shop.invoices], "a") == [(0, 0), (1, 0)]


async def test_without_an_event_in_hand_nothing_can_be_emitted(autojump_clock: MockClock) -> None:
    shop = Shop()

    @shop.app.processor(shop.orders, outputs=[shop.invoices])
    async def early(events: Any) -> None:
        with pytest.raises(Misconfigured, match="in hand"):
            events.emit(shop.invoices, Invoice(key="a", n=0))
        async for _ in events:
            pass

    async with early.test() as t:
        await t.send(*orders("a", 1))
        assert not t.emitted[shop.invoices]


@pytest.mark.parametrize("outputs", [["invoices"], [App("other").stream("s", Invoice, "key")], [Invoice]])
def test_outputs_are_streams_of_the_app(outputs: Any) -> None:
    with pytest.raises(Misconfigured, match="outputs are streams"):
        Shop().processor(outputs=outputs)


@lanes
async def test_a_target_that_gets_other_partitions_is_followed_in_order(
    autojump_clock: MockClock, concurrency: int
) -> None:
    shop, got = Shop(), []
    bill = shop.processor(concurrency=concurrency)

    @shop.app.processor(shop.invoices, name="reader")
    async def reader(events: Any) -> None:
        async for invoice in events.records():
            got.append(invoice)

    async with shop.app.worker(), shop.app._shared.used() as broker:
        for round_, count in enumerate([2, 7, 1]):
            await shop.orders.send(*orders("abcdef", 10, first=10 * round_))
            change = Repartition(broker, shop.invoices.declared_spec)
            await change.begin(count)
            await shop.orders.send(*orders("abcdef", 10, first=10 * round_ + 1000))
            await drained(bill, within=60)
            with trio.fail_after(60):
                while len(got) < 2 * 6 * 20 * (round_ + 1):
                    await trio.sleep(0.1)
                while not await change.finish(await change.look()):
                    await trio.sleep(0.1)
    for key in "abcdef":
        numbers = [n for n, part in of_key(got, key) if part == 0]
        sent = [n for r in range(3) for first in (10 * r, 10 * r + 1000) for n in range(first, first + 10)]
        assert numbers == sent
    assert len(got) == 2 * 6 * 60


async def test_a_link_may_emit_for_the_event_in_hand(autojump_clock: MockClock) -> None:
    shop = Shop()

    class Audit(Middleware):
        async def handler(self, parent: Any, *, events: Any, **kwargs: Any) -> Any:
            async for item in parent:
                yield item

        def on_failure(self, failure: Any) -> None:
            return None

    async with shop.processor(middleware=[Audit()]).test() as t:
        results = await t.send(*orders("a", 2))
        assert {x.outcome for x in results} == {Outcome.ACKED}
        assert len(t.emitted[shop.invoices]) == 4


async def test_a_crash_repeats_an_event_and_not_what_it_emitted(autojump_clock: MockClock) -> None:
    """A worker that ends before its commit has emitted nothing; the next one does."""
    shop = Shop()

    async def hang(events: Any, order: Order, tries: int) -> None:
        if order.n == 3 and tries == 1:
            await trio.sleep_forever()

    bill = shop.processor(hang, grace_period=0.1)
    stream: Stream[Any] = shop.invoices
    async with shop.app.session():
        for _ in range(2):
            with trio.move_on_after(5):
                async with shop.app.worker():
                    if not shop.attempts:
                        await shop.orders.send(*orders("a", 6))
                    await trio.sleep(4)
        await drained(bill, within=5)
        async with shop.app._shared.used() as broker:
            found = [
                stream.codec.decode(fields)
                for number in range(stream.partition_count)
                for _, fields in await broker.entries(stream.spec, number)
            ]
    assert of_key(found, "a") == [(n, part) for n in range(6) for part in range(2)]
