"""Under the rules of docs/howto/acl: real sends, workers and operators, and reads that cannot be unblocked."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from acl_roles import BILL, ORDERS, rows, rules

from runnel_trio import App, Record, Stream
from runnel_trio._broker._redis._broker import open_redis
from runnel_trio._broker._values import ServerConfig
from runnel_trio._rules._cursor import ORIGIN
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware
from runnel_trio.testing import drained

RULES = rules()


class Order(Record):
    key: str
    n: int


def shop(url: str, handled: list[tuple[str, int]]) -> tuple[App, Stream[Order], DeadLetterMiddleware]:
    app = App("shop", redis_url=url, default_partition_count=4)
    orders = app.stream("orders", Order, partition_by="key")
    letters = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))

    @app.processor(orders, middleware=[letters, RetryMiddleware(attempts=2, delay=0.01)])
    async def bill(events: Any) -> None:
        async for order in events.records():
            if order.key == "bad":
                raise ValueError("bad")
            handled.append((order.key, order.n))

    @app.processor(orders, exception_policy="quarantine")
    async def check(events: Any) -> None:
        async for order in events.records():
            if order.key == "bad":
                raise ValueError("bad")

    return app, orders, letters


async def until(condition: Any) -> None:
    while not await condition():
        await trio.sleep(0.01)


@pytest.mark.parametrize("leave_out", ["", "+client|unblock"], ids=["as-written", "without-unblock"])
async def test_senders_workers_and_operators_share_an_app(leave_out: str, admin: Any, login: Any) -> None:
    handled: list[tuple[str, int]] = []
    worker = login([word for word in RULES["worker"] if word != leave_out], "worker")
    _, to, _ = shop(login(RULES["sender"], "sender"), [])
    operator, _, _ = shop(login(RULES["operator"], "operator"), [])
    with trio.fail_after(30):
        async with operator.session(), shop(worker, handled)[0].worker():
            await to.send(*(Order(key=str(n % 9), n=n) for n in range(40)))
            async with shop(worker, handled)[0].worker():
                await until(lambda: _shared(operator, 2))
                await to.send(*(Order(key=str(n % 9), n=n) for n in range(40, 80)), Order(key="bad", n=0))
                await until(lambda: _has(operator.processors["check"].quarantined))
            await drained(operator.processors["bill"], within=60)
            await _operate(operator)
    assert sorted(n for _, n in handled) == list(range(80))
    for key in map(str, range(9)):
        assert [n for k, n in handled if k == key] == list(range(int(key), 80, 9))


async def _shared(app: App, workers: int) -> bool:
    async with app.operator() as op:
        (found,) = (await op.survey("orders")).values()
    owners = [x.processors[name].owner for x in found for name in ("bill", "check") if name in x.processors]
    return "" not in owners and len(set(owners)) == workers


async def _has(found: Any) -> bool:
    return bool(await found())


async def _operate(operator: App) -> None:
    bill, check = operator.processors["bill"], operator.processors["check"]
    async with operator.session():
        (why,) = await check.quarantined()
        assert await check.resume(skip=True)
        assert why.error == "ValueError: bad"
        assert await bill.pause(reason="a look")
        assert await bill.resume()
        letters = bill.middleware[0]
        assert isinstance(letters, DeadLetterMiddleware)
        (letter,) = await letters.letters()
        await letters.drop([letter])


async def test_a_read_that_may_not_be_unblocked_gives_its_connection_up_and_goes_on(
    admin: Any, login: Any
) -> None:
    url = login([word for word in RULES["worker"] if word != "+client|unblock"])
    async with open_redis(ServerConfig(url)) as broker:
        reader = broker.reader(BILL, 600.0)
        for number in (0, 1):
            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(woken, reader, admin)
                    assert await reader.read({number: ORIGIN}, 10) == {}
        assert reader.interruptions == 0
        await broker.append(ORDERS, {1: rows("a")})
        with trio.fail_after(60):
            assert len((await reader.read({0: ORIGIN, 1: ORIGIN}, 10))[1]) == 1
        await reader.aclose()
    refused = [entry for entry in admin.acl_log() if entry["object"] == "client|unblock"]
    assert sum(entry["count"] for entry in refused) == 1, "it is asked once"


async def woken(reader: Any, admin: Any) -> None:
    """Wake a reader once the server blocks it."""

    def blocked() -> int:
        return int(admin.info("clients")["blocked_clients"])

    while not await trio.to_thread.run_sync(blocked):
        await trio.sleep(0.005)
    reader.wake()
