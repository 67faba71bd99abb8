"""What a worker leaves behind that is ended by an exception."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, BrokerUnavailable, Misconfigured, Record, Stream
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._seen import Ending
from runnel_trio._broker._values import AppSpec


async def endings(app: App) -> list[Ending]:
    async with app._shared.used() as broker:
        return list((await broker.muster(AppSpec(app.name))).endings)


async def test_it_names_exception_place_and_event(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def strict(events: Any) -> None:
        async for record in events.records():
            assert record.n == 0
            raise ValueError(f"no\nsuch redis://:secret@x/ {'y' * 1000}")

    async with app.session():
        with pytest.raises(ValueError, match="such"):
            async with app.worker() as worker:
                await orders.send(order(key="a", n=0))
                await trio.sleep_forever()
        (found,) = await endings(app)
    assert found.error.startswith(r"ValueError: no\nsuch redis://:***@x/ yyy")
    assert len(found.error) < 400
    assert (found.member, found.stream, found.processor) == (worker.member, "orders", "strict")
    assert found.partition == orders.partition_of(order(key="a", n=0))
    assert found.xid
    assert found.pid


async def test_what_ends_it_outside_of_a_function_is_kept_without_a_place(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.task
    async def failing() -> None:
        raise LookupError("no file")

    async with app.session():
        with pytest.raises(LookupError):
            async with app.worker():
                await trio.sleep_forever()
        (found,) = await endings(app)
    assert (found.error, found.processor, found.partition, found.xid) == (
        "LookupError: no file",
        "",
        None,
        "",
    )


async def test_a_worker_that_cannot_begin_leaves_word_too(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    class Other(Record):
        key: str

    other = App(app.name, redis_url=app.settings.redis_url)

    @other.processor(other.stream("orders", Other, "key", partition_count=orders.partition_count))
    async def never(events: Any) -> None:
        raise AssertionError

    async with app.session():
        await orders.send(order(key="a", n=0))
        with pytest.raises(Misconfigured):
            await other.run()
        (found,) = await endings(app)
    assert found.error.startswith("Misconfigured: stream 'orders'")


async def test_who_is_stopped_or_cancelled_leaves_nothing(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def quiet(events: Any) -> None:
        async for _ in events:
            await trio.sleep_forever()

    async with app.session():
        await orders.send(order(key="a", n=0))
        async with app.worker():
            await trio.sleep(1)
        with trio.move_on_after(1):
            await app.run()
        assert await endings(app) == []


@pytest.mark.parametrize("how", ["refused", "hangs", "fails"])
async def test_the_worker_ends_as_it_does_without_whatever_becomes_of_it(
    how: str,
    app: App,
    orders: Stream[Any],
    order: Any,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    async def ended(self: MemoryBroker, app: str, ending: Ending) -> None:
        if how == "hangs":
            await trio.sleep_forever()
        raise BrokerUnavailable("away") if how == "refused" else RuntimeError("a bug")

    monkeypatch.setattr(MemoryBroker, "ended", ended)

    @app.processor(orders)
    async def strict(events: Any) -> None:
        async for _ in events:
            raise ValueError("no")

    async with app.session():
        await orders.send(order(key="a", n=0))
        began = trio.current_time()
        with pytest.raises(ValueError, match="^no$") as raised:
            async with app.worker():
                await trio.sleep_forever()
    assert trio.current_time() - began <= 1.1, "in Trio's time, which goes on only when all wait"
    assert not hasattr(raised.value, "__notes__")


async def test_a_server_that_is_away_does_not_keep_a_worker_from_ending(server: Any, on_server: App) -> None:
    @on_server.task
    async def failing() -> None:
        server.kill()
        raise LookupError("no file")

    with trio.fail_after(30), pytest.raises(LookupError, match="no file"):
        await on_server.run()
