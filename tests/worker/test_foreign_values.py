"""What somebody else puts at a key of ours, or takes out of it: each error says which key it is, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio

from runnel_trio import App, BrokerRefused, Stream
from runnel_trio.middleware import Dead, DeadLetterMiddleware

PARTY, LEADER = "runnel:{test/orders/collect}", "runnel:{test}:leader"
OF_PARTITION = [
    f"runnel:{{test:0}}:orders:{x}" for x in ("log", "producers", "lease:collect", "quarantine:collect")
]
OF_MEMBERS = [f"{party}:{x}" for party in (PARTY, LEADER) for x in ("members", "assignment", "control")]
META = "runnel:{test}:orders:meta"
KEYS = [META, *OF_PARTITION, *OF_MEMBERS, "runnel:{test:0}:dead:log", "runnel:{test}:dead:meta"]


@pytest.fixture
def app(server: Any) -> App:
    return App("test", redis_url=server.url, default_partition_count=1, leadership_poll_interval=200)


@pytest.fixture
def orders(app: App, order: Any) -> Stream[Any]:
    orders = app.stream("orders", order, partition_by="key")
    box = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))

    @app.processor(orders, lock_expiry=0.8, middleware=[box])
    async def collect(events: Any) -> None:
        async for record in events.records():
            if record.n % 2:
                raise ValueError("for the dead letters")

    @app.task(on_leader=True)
    async def lead() -> None:
        await trio.sleep_forever()

    return orders


@pytest.fixture
def replace(server: Any) -> Callable[[str], None]:
    """Put something of another type there."""

    def put(key: str) -> None:
        with server.client.pipeline() as together:
            together.delete(key)
            together.rpush(key, "something else")
            together.execute()

    return put


def named(key: str) -> str:
    kept = "string" if ":quarantine:" in key else "stream" if key.endswith(("log", "control")) else "hash"
    return f"WRONGTYPE {key} is a list, and runnel-trio keeps a {kept} there. Something else writes to this key. "


@pytest.mark.parametrize("key", [x for x in KEYS if "producers" not in x and "dead:log" not in x])
async def test_what_is_there_when_a_worker_starts_is_named(
    app: App, orders: Stream[Any], replace: Callable[[str], None], key: str
) -> None:
    replace(key)
    with trio.fail_after(60), pytest.raises(BrokerRefused) as caught:
        await app.run()
    assert named(key) in str(caught.value)


@pytest.mark.parametrize("key", [x for x in KEYS if "quarantine" not in x and "dead:meta" not in x])
async def test_what_is_put_there_under_a_running_worker_is_named_by_worker_or_sender(
    server: Any, app: App, orders: Stream[Any], order: Any, replace: Callable[[str], None], key: str
) -> None:
    async def go_on() -> None:
        for n in range(1_000_000):
            await orders.send(order(key="a", n=n))
            await trio.sleep(0.01)

    with trio.fail_after(60), pytest.raises(BaseException) as caught:
        async with app.worker(), trio.open_nursery() as nursery:
            await orders.send(order(key="a", n=0))
            await server.drained()
            replace(key)
            nursery.start_soon(go_on)
    told = [str(x) for x in leaves(caught.value)]
    assert any(named(key) in text for text in told), told


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves(inner)]
    return [error]


@pytest.mark.parametrize("key", [OF_PARTITION[0], OF_PARTITION[1], META])
async def test_what_is_there_when_somebody_sends_is_named(
    app: App, orders: Stream[Any], order: Any, replace: Callable[[str], None], key: str
) -> None:
    replace(key)
    with trio.fail_after(60), pytest.raises(BrokerRefused) as caught:
        await orders.send(order(key="a", n=0))
    assert named(key) in str(caught.value)


async def test_a_quarantine_is_not_written_over_what_somebody_else_put_there(
    server: Any, app: App, order: Any, replace: Callable[[str], None]
) -> None:
    orders = app.stream("orders", order, partition_by="key")

    @app.processor(orders, name="collect", exception_policy="quarantine")
    async def collect(events: Any) -> None:
        async for _ in events.records():
            await trio.to_thread.run_sync(replace, OF_PARTITION[3])
            raise ValueError("to be set aside")

    await orders.send(order(key="a", n=0))
    with trio.fail_after(60), pytest.raises(BrokerRefused) as caught:
        await app.run()
    assert named(OF_PARTITION[3]) in str(caught.value)
    assert server.client.lrange(OF_PARTITION[3], 0, -1) == [b"something else"]


OF_PARTY = [x for x in OF_MEMBERS if x.startswith(PARTY)]
#: What to put a stranger's value at, and which verb comes upon it.
DELETIONS = [
    *[("forget", x) for x in (*OF_PARTITION, *OF_PARTY) if "producers" not in x],
    *[("discard", x) for x in (OF_PARTITION[0], OF_PARTITION[2], *OF_PARTY)],
]


@pytest.mark.parametrize(("verb", "key"), DELETIONS)
async def test_a_processor_is_not_deleted_with_what_somebody_else_put_there(
    server: Any, app: App, orders: Stream[Any], replace: Callable[[str], None], verb: str, key: str
) -> None:
    async with app.worker():
        pass
    replace(key)
    server.client.hset(OF_PARTITION[1], "layout", 2)  # so that layout 1 may be discarded
    collect = app.processors["collect"].spec
    before = {x: server.client.dump(x) for x in (*OF_PARTITION, key)}
    with trio.fail_after(60), pytest.raises(BrokerRefused) as caught:
        async with app._shared.used() as broker:
            await (
                broker.forget(collect) if verb == "forget" else broker.discard(collect.stream, ["collect"])
            )
    assert named(key) in str(caught.value)
    assert server.client.lrange(key, 0, -1) == [b"something else"]
    if key in OF_PARTITION:
        assert {x: server.client.dump(x) for x in (*OF_PARTITION, key)} == before


async def test_a_running_worker_writes_again_what_the_server_has_lost_of_a_stream(
    server: Any, app: App, orders: Stream[Any], order: Any
) -> None:
    async with app.worker():
        await orders.send(order(key="a", n=0))
        await server.drained()
        before = server.client.hgetall(META)
        for lost in (b"partition_count", b"record", b"hasher"):
            server.client.hdel(META, lost)
            with trio.fail_after(60):
                while await trio.to_thread.run_sync(server.client.hgetall, META) != before:
                    await trio.sleep(0.02)
        await orders.send(order(key="a", n=2))
        await server.drained()


async def test_a_worker_that_starts_writes_what_the_server_has_lost_of_a_stream(
    server: Any, app: App, orders: Stream[Any], order: Any
) -> None:
    async with app.worker():
        before = server.client.hgetall(META)
    server.client.hdel(META, "partition_count", "hasher")
    async with app.worker():
        assert server.client.hgetall(META) == before
