"""Tables in a processor: what a turn writes is read by those after it, and stored with its event or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import (
    App,
    DeserializationError,
    Misconfigured,
    NotLoaded,
    Processor,
    Record,
    RecordInvalid,
    Stream,
    Table,
    TableFull,
    WrongPartition,
)
from runnel_trio._broker._values import CommitOutcome
from runnel_trio._worker._member import _owned_tables
from runnel_trio._worker._member._partition import _loading
from runnel_trio.middleware import RetryMiddleware


class Order(Record):
    customer: str
    amount: int


class Account(Record):
    spent: int = 0
    orders: int = 0


class Shop:
    """Sums up orders; those of an amount in `broken` fail after they were written."""

    def __init__(self, app: App, **options: Any) -> None:
        self.app = app
        self.orders: Stream[Order] = app.stream("orders", Order, "customer")
        self.accounts: Table[Account] = app.table("accounts", Account, **options)
        self.broken: set[int] = set()
        self.pause = 0.0
        self.seen: list[tuple[str, int, int]] = []

    def processor(self, **options: Any) -> Processor[Order]:
        @self.app.processor(self.orders, **{"tables": [self.accounts], **options})
        async def total(events: Any) -> None:
            mine = events.table(self.accounts)
            async for order in events.records():
                self.book(mine, order)
                await trio.sleep(self.pause)
                if order.amount in self.broken:
                    raise ValueError(order.amount)

        return total

    def book(self, mine: Any, order: Order) -> None:
        account = mine.get(order.customer) or Account()
        self.seen.append((order.customer, order.amount, account.spent))
        mine[order.customer] = Account(spent=account.spent + order.amount, orders=account.orders + 1)

    async def spent(self) -> dict[str, int]:
        return {key: account.spent async for key, account in self.accounts.items()}


@pytest.fixture
def shop(app: App) -> Shop:
    return Shop(app)


def some(count: int, customers: str = "abc") -> list[Order]:
    return [Order(customer=key, amount=n) for n in range(1, count + 1) for key in customers]


def sums(orders: Iterable[Order]) -> dict[str, int]:
    found: dict[str, int] = {}
    for order in orders:
        found[order.customer] = found.get(order.customer, 0) + order.amount
    return found


lanes = pytest.mark.parametrize("concurrency", [1, 8])


@lanes
async def test_sums_are_those_of_the_log(shop: Shop, autojump_clock: MockClock, concurrency: int) -> None:
    total, sent = shop.processor(concurrency=concurrency), some(30)
    async with total.test() as t:
        await t.send(*sent)
        assert await shop.spent() == sums(sent)
        assert await shop.accounts.get("a") == Account(spent=sums(sent)["a"], orders=30)
        assert await shop.accounts.get("nobody") is None
        assert await shop.accounts.count() == 3
    by_customer = [amount for customer, amount, _ in shop.seen if customer == "b"]
    assert by_customer == list(range(1, 31))


@lanes
@pytest.mark.parametrize("policy", ["ignore", "park", "dead_letter"])
async def test_what_a_turn_that_fails_has_written_is_gone(
    shop: Shop, autojump_clock: MockClock, concurrency: int, policy: str
) -> None:
    from runnel_trio.middleware import Dead, DeadLetterMiddleware

    links: list[Any] = []
    if policy == "dead_letter":
        dead = shop.app.stream("dead", Dead, "xid")
        links = [DeadLetterMiddleware(dead)]
    policies = {} if links else {"exception_policy": policy}
    total, sent = shop.processor(concurrency=concurrency, middleware=links, **policies), some(9)
    shop.broken = {4, 7}
    async with total.test() as t:
        await t.send(*sent)
        failed = shop.broken if policy != "park" else range(4, 10)
        assert await shop.spent() == sums(x for x in sent if x.amount not in failed)
        if policy == "park":
            shop.broken = set()
            await total.unpark()
            await t.settled()
            assert await shop.spent() == sums(sent)
    for _, amount, before in shop.seen[:9]:
        assert before <= sum(range(amount)), "a later turn has not read it"


@lanes
@pytest.mark.parametrize("hold", [None, "key"])
async def test_a_retry_begins_with_what_was_there_before(
    shop: Shop, autojump_clock: MockClock, concurrency: int, hold: Any
) -> None:
    total = shop.processor(
        concurrency=concurrency,
        middleware=[RetryMiddleware(attempts=5, delay=1, **({"hold": hold} if hold else {}))],
    )
    shop.broken, sent = {3}, some(5)

    async def mended() -> None:
        await trio.sleep(2.5)
        shop.broken = set()

    async with total.test() as t, trio.open_nursery() as nursery:
        nursery.start_soon(mended)
        await t.send(*sent)
        assert await shop.spent() == sums(sent)


async def test_with_take_a_list_is_one_turn(shop: Shop, autojump_clock: MockClock) -> None:
    @shop.app.processor(shop.orders, tables=[shop.accounts], exception_policy="ignore")
    async def total(events: Any) -> None:
        mine = events.table(shop.accounts)
        async for orders in events.take(10, within=1).records():
            for order in orders:
                shop.book(mine, order)
            if any(order.amount == 10 for order in orders):
                raise ValueError

    async with total.test() as t:
        good = [Order(customer="a", amount=n) for n in range(1, 10)]
        await t.send(*good)
        assert await shop.spent() == {"a": 45}
        await t.send(Order(customer="a", amount=9), Order(customer="a", amount=10))
        assert await shop.spent() == {"a": 45}, "all of the list has failed"


async def test_break_and_return_store_what_was_written(shop: Shop, autojump_clock: MockClock) -> None:
    @shop.app.processor(shop.orders, tables=[shop.accounts])
    async def total(events: Any) -> None:
        mine = events.table(shop.accounts)
        async for order in events.records():
            shop.book(mine, order)
            break

    async with total.test() as t:
        await t.send(*some(5))
        assert await shop.spent() == sums(some(5))


async def test_entries_are_deleted_and_set_by_default_and_have_subkeys(
    app: App, autojump_clock: MockClock
) -> None:
    orders, accounts = app.stream("orders", Order, "customer"), app.table("accounts", Account)
    found: list[Any] = []

    @app.processor(orders, tables=[accounts])
    async def total(events: Any) -> None:
        mine = events.table(accounts)
        async for order in events.records():
            key = order.customer
            if order.amount == 1:
                found.append((key in mine, mine.get(key), mine.setdefault(key, Account(spent=5))))
                mine[key, 7] = Account(spent=7)
                found.append((mine[key, 7], key in mine))
            elif order.amount == 2:
                found.append(mine[key])
                del mine[key]
                found.append((key in mine, mine.pop(key, None)))
                with pytest.raises(KeyError):
                    del mine[key]
                with pytest.raises(KeyError):
                    mine[key]
            else:
                found.append((key in mine, await mine.load((key, 7)), await mine.load((key, 8))))

    async with total.test() as t:
        await t.send(Order(customer="a", amount=1))
        assert await accounts.get_many(["a", ("a", 7), "b"]) == {
            "a": Account(spent=5),
            ("a", 7): Account(spent=7),
        }
        assert {key async for key, _ in accounts.items()} == {"a", ("a", 7)}
        await t.send(Order(customer="a", amount=2))
        assert await accounts.get_many(["a", ("a", 7)]) == {("a", 7): Account(spent=7)}
        await t.send(Order(customer="a", amount=3))
    assert found == [
        (False, None, Account(spent=5)), (Account(spent=7), True), Account(spent=5), (False, None),
        (False, Account(spent=7), None),
    ]  # fmt: skip


async def test_a_record_that_is_changed_and_not_assigned_is_not_stored(
    shop: Shop, autojump_clock: MockClock
) -> None:
    @shop.app.processor(shop.orders, tables=[shop.accounts])
    async def total(events: Any) -> None:
        mine = events.table(shop.accounts)
        async for order in events.records():
            account = mine.setdefault(order.customer, Account())
            account.spent = 99
            assert mine[order.customer].spent == 0

    async with total.test() as t:
        await t.send(*some(2))
        assert await shop.spent() == {"a": 0, "b": 0, "c": 0}


def keys_of(stream: Stream[Order], number: int) -> list[str]:
    names = [f"k{n}" for n in range(100)]
    return [x for x in names if stream.partition_of(Order(customer=x, amount=0)) == number]


async def test_wrong_uses_are_refused_at_their_line(shop: Shop, autojump_clock: MockClock) -> None:
    mine_own, neighbour = keys_of(shop.orders, 0)[:2]
    foreign = keys_of(shop.orders, 1)[0]
    other = shop.app.table("other", Account)
    told: list[BaseException] = []

    def tries(kind: type[Exception], act: Any) -> None:
        with pytest.raises(kind) as caught:
            act()
        told.append(caught.value)

    @shop.app.processor(shop.orders, tables=[shop.accounts])
    async def total(events: Any) -> None:
        with pytest.raises(Misconfigured, match="does not list it"):
            events.table(other)
        mine = events.table(shop.accounts)
        tries(Misconfigured, lambda: mine.__setitem__(mine_own, Account()))
        async for _ in events.records():
            tries(WrongPartition, lambda: mine.get(foreign))
            tries(WrongPartition, lambda: mine.__setitem__(foreign, Account()))
            with pytest.raises(WrongPartition):
                await mine.load(foreign)
            tries(NotLoaded, lambda: mine.get(neighbour))
            tries(NotLoaded, lambda: mine.get((mine_own, 1)))
            assert await mine.load(neighbour) is None
            assert mine.get(neighbour) is None
            tries(RecordInvalid, lambda: mine.__setitem__(mine_own, Order(customer="", amount=0)))
            tries(RecordInvalid, lambda: mine.__setitem__(mine_own, Account(spent="x")))  # type: ignore[arg-type]
            tries(Misconfigured, lambda: mine.get((1, 2, 3)))
            tries(TypeError, lambda: list(mine))
            tries(TypeError, lambda: len(mine))
            assert mine

    async with total.test() as t:
        await t.send(Order(customer=mine_own, amount=1))
        assert await shop.spent() == {}
    assert {type(x) for x in told} == {Misconfigured, NotLoaded, RecordInvalid, TypeError, WrongPartition}
    assert "await mine.load" in str(next(x for x in told if isinstance(x, NotLoaded)))


async def test_a_table_that_is_full_refuses_new_entries_and_no_others(
    app: App, autojump_clock: MockClock
) -> None:
    app = App("test", default_partition_count=1)
    shop = Shop(app, max_entries=2)
    total = shop.processor(exception_policy="ignore")
    async with total.test() as t:
        results = await t.send(*some(1), *some(1, "ab"))
        assert [type(x.error) for x in results] == [type(None), type(None), TableFull, type(None), type(None)]
        assert await shop.spent() == {"a": 2, "b": 2}
        await shop.accounts.delete("a")
        await t.send(*some(1, "c"))
        assert await shop.spent() == {"b": 2, "c": 1}


async def test_an_entry_that_is_too_large_is_refused_where_it_is_written(
    app: App, autojump_clock: MockClock
) -> None:
    shop = Shop(app, max_entry_bytes=20)
    async with shop.processor(exception_policy="ignore").test() as t:
        (result,) = await t.send(Order(customer="a", amount=10**30))
        assert isinstance(result.error, RecordInvalid)


async def test_entries_are_over_by_the_servers_clock(app: App, autojump_clock: MockClock) -> None:
    shop = Shop(app, ttl=timedelta(seconds=90))
    async with shop.processor().test() as t:
        await t.send(*some(1))
        await trio.sleep(89)
        await t.send(*some(1, "a"))
        assert await shop.spent() == {"a": 2, "b": 1, "c": 1}
        await trio.sleep(2)
        assert await shop.spent() == {"a": 2}
        assert await shop.accounts.get("b") is None
        await t.send(*some(1, "b"))
        assert await shop.spent() == {"a": 2, "b": 1}, "the owner has not read what it had in memory"
        await trio.sleep(100)
        await t.send(*some(1, "abc"))
        assert await shop.accounts.count() == 3, "those that were over have gone"


@lanes
async def test_writes_from_outside_and_those_of_the_processor_are_all_there(
    shop: Shop, autojump_clock: MockClock, concurrency: int
) -> None:
    """Who puts what he has read plus a thousand does it after or before each commit, and never over one."""
    total, sent = shop.processor(concurrency=concurrency, lock_expiry=2), some(60)
    shop.pause = 0.03

    async def put(key: str) -> None:
        await trio.sleep(0.5)
        await shop.accounts.put(key, Account(spent=100_000))

    async with total.test() as t, trio.open_nursery() as nursery:
        for key in "abc":
            nursery.start_soon(put, key)
        await t.send(*sent)
        found = await shop.spent()
    for key in "abc":
        handled = list(range(1, 61))
        tails = {100_000 + sum(handled[n:]) for n in range(61)}
        assert found[key] in tails, "what was put, and every event after that once"


async def test_a_deleted_key_is_gone_with_its_subkeys(shop: Shop, autojump_clock: MockClock) -> None:
    shop.processor()
    async with shop.app.session():
        for key in ["a", ("a", 1), ("a", 2), ("b", 1), "b"]:
            await shop.accounts.put(key, Account(spent=1))
        await shop.accounts.delete("a")
        assert {key async for key, _ in shop.accounts.items()} == {"b", ("b", 1)}
        await shop.accounts.delete(("b", 1))
        assert {key async for key, _ in shop.accounts.items()} == {"b"}


def test_code_outside_of_trio_reads_and_writes(shop: Shop) -> None:
    shop.processor()
    accounts = shop.accounts
    accounts.put_sync("a", Account(spent=3))
    assert accounts.get_sync("a") == Account(spent=3)
    assert accounts.get_many_sync(["a", "b"]) == {"a": Account(spent=3)}
    assert dict(accounts.items_sync()) == {"a": Account(spent=3)}
    assert accounts.count_sync() == 1
    accounts.delete_sync("a")
    assert accounts.get_sync("a") is None


async def test_a_table_belongs_to_one_processor_of_its_app(shop: Shop) -> None:
    with pytest.raises(Misconfigured, match="belongs to no processor"):
        await shop.accounts.get("a")
    shop.processor()
    with pytest.raises(Misconfigured, match="belongs to processor 'total'"):
        shop.app.processor(shop.orders, name="other", tables=[shop.accounts])(_nothing)
    with pytest.raises(Misconfigured, match="its own app"):
        shop.app.processor(shop.orders, name="other", tables=[App("x").table("accounts", Account)])(_nothing)
    with pytest.raises(Misconfigured, match="twice"):
        two = shop.app.table("two", Account)
        shop.app.processor(shop.orders, name="other", tables=[two, two])(_nothing)
    with pytest.raises(Misconfigured, match="accounts"):
        shop.app.table("accounts", Account)
    for wrong in ({"ttl": 0}, {"ttl": "x"}, {"max_entries": 0}, {"max_entry_bytes": 0}):
        with pytest.raises(Misconfigured):
            shop.app.table("wrong", Account, **wrong)  # type: ignore[arg-type]


async def _nothing(events: Any) -> None:
    """Takes nothing."""


async def test_what_does_not_fit_the_class_any_more_fails_the_event(
    app: App, autojump_clock: MockClock
) -> None:
    shop = Shop(app)
    total = shop.processor(exception_policy="ignore")
    async with total.test() as t:
        field = shop.accounts.field_of("a")
        number = shop.orders.partition_of(Order(customer="a", amount=0))
        from runnel_trio._broker._values import TableWrites
        from runnel_trio._rules._tables import TableValue

        bad = TableValue((b"data", b'{"spent":"x"}')).packed
        async with app._shared.used() as broker:
            assert await broker.write_table(total.spec, number, TableWrites("accounts", {field: bad})) is (
                CommitOutcome.COMMITTED
            )
        (result,) = await t.send(Order(customer="a", amount=1))
        assert isinstance(result.error, DeserializationError)
        assert "table accounts" in str(result.error)


@lanes
@pytest.mark.parametrize("most", [1, 3000])
async def test_a_small_cache_keeps_what_waits(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, concurrency: int, most: int
) -> None:
    monkeypatch.setattr(_loading, "_AHEAD", 16)
    app = App("test", default_partition_count=2, table_cache_bytes=most)
    caches: list[_owned_tables.TableCache] = []
    real = _owned_tables.TableCache.put

    def put(self: Any, key: Any, value: Any) -> None:
        caches.append(self)
        real(self, key, value)

    monkeypatch.setattr(_owned_tables.TableCache, "put", put)
    shop = Shop(app)
    shop.pause = 0.001
    sent = [Order(customer=f"c{n % 97}", amount=n) for n in range(1, 1000)]
    async with shop.processor(concurrency=concurrency, max_unacked=20).test() as t:
        await t.send(*sent)
        assert await shop.spent() == sums(sent)
        assert len(set(map(id, caches))) == 1
        assert caches[0].used < 60_000


async def test_an_owner_before_is_followed_from_what_it_has_committed(
    app: App, autojump_clock: MockClock
) -> None:
    shop = Shop(app)
    total = shop.processor(concurrency=4, lock_expiry=2)
    sent = some(40)
    shop.pause = 0.05
    async with app.worker():
        await shop.orders.send(*sent)
        await trio.sleep(0.7)
    shop.pause = 0
    async with app.worker():
        with trio.fail_after(60):
            while await shop.spent() != sums(sent):
                await trio.sleep(0.1)
    assert total.by_key


async def test_a_trial_begins_with_given_entries_and_shows_what_is_committed(
    app: App, autojump_clock: MockClock
) -> None:
    shop = Shop(app)
    names = app.table("names", Account)

    @app.processor(shop.orders, tables=[names])
    async def name(events: Any) -> None:
        """Only has the table that the other one reads."""

    @app.processor(shop.orders, tables=[shop.accounts], exception_policy="ignore")
    async def total(events: Any) -> None:
        mine = events.table(shop.accounts)
        async for order in events.records():
            shop.book(mine, order)
            assert await names.get(order.customer) == Account(orders=7)
            if order.amount > 5:
                raise ValueError

    given: Any = {shop.accounts: {"a": Account(spent=100)}, names: {"a": Account(orders=7)}}
    async with total.test(tables=given) as t:
        await t.send(Order(customer="a", amount=1), Order(customer="a", amount=9))
        assert t.tables[shop.accounts] == {"a": Account(spent=101, orders=1)}
        assert t.tables[names] == {"a": Account(orders=7)}
        assert [x.attempts for x in t.results] == [1, 1]
    async with total.test() as t:
        await t.settled()
        assert t.tables == {shop.accounts: {}}


async def test_in_a_task_of_trio_the_methods_for_others_say_what_to_await(shop: Shop) -> None:
    shop.processor()
    with pytest.raises(Misconfigured, match=r"get_sync would block Trio: use `await table\.get\(…\)`"):
        shop.accounts.get_sync("a")
