"""Ways to end that are rarer than those in `test_processing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Stream
from runnel_trio._broker._memory._broker import MemoryBroker

Wait = Callable[[Any], Awaitable[None]]
Count = Callable[[Any], Awaitable[int]]


async def test_a_timeout_of_the_users_while_the_source_holds_back_is_no_idling(
    app: App,
    orders: Stream[Any],
    order: Any,
    drained: Wait,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    commit = MemoryBroker.commit

    async def slow(self: MemoryBroker, *arguments: Any) -> Any:
        await trio.sleep(1)
        return await commit(self, *arguments)

    monkeypatch.setattr(MemoryBroker, "commit", slow)
    seen: list[int] = []

    @app.processor(orders, max_unacked=1)
    async def impatient(events: Any) -> None:
        with trio.move_on_after(0.1):
            async for record in events.records():
                seen.append(record.n)

    await orders.send(*(order(key="a", n=n) for n in range(3)))
    async with app.worker():
        await drained(impatient)
    assert seen == [0, 1, 2]


async def test_without_any_grace_what_was_handled_is_committed_and_the_leases_are_given_up(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    @app.processor(orders, grace_period=0)
    async def quick(events: Any) -> None:
        async for record in events.records():
            if record.n == 3:
                await trio.sleep_forever()

    await orders.send(*(order(key="a", n=n) for n in range(5)))
    async with app.session():
        async with app.worker():
            await trio.sleep(0.001)
        assert await lag(quick) == 2
        async with app._shared.used() as broker:
            number = orders.partition_of(order(key="a", n=0))
            lease = broker.store.log(broker.log_key(orders.spec, number)).leases["quick"]  # type: ignore[attr-defined]
            assert lease.owner == ""
            assert (await broker.members(quick.spec)).members == ()


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
async def test_what_is_no_exception_leaves_as_it_is_too(
    error: BaseException, app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def leaver(events: Any) -> None:
        async for record in events.records():
            if record.n == 2:
                raise error

    await orders.send(*(order(key="a", n=n) for n in range(5)))
    async with app.session():
        with pytest.raises(type(error)) as caught:
            await app.run()
        assert caught.value is error
        assert await lag(leaver) == 3
        with pytest.raises(type(error)) as caught:
            async with app.worker():
                await trio.sleep_forever()
        assert caught.value is error


async def test_a_group_of_the_users_own_leaves_as_it_is(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    async def child(n: int) -> None:
        raise ValueError(n)

    @app.processor(orders)
    async def concurrent(events: Any) -> None:
        async for _ in events:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, 1)
                nursery.start_soon(child, 2)

    await orders.send(order(key="a", n=1))
    with pytest.raises(ExceptionGroup) as caught:
        await app.run()
    assert {error.args[0] for error in caught.value.exceptions} <= {1, 2}
    assert all(type(error) is ValueError for error in caught.value.exceptions)


async def test_a_second_failure_while_stopping_is_a_note_on_the_first(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    keys = {orders.partition_of(order(key=key, n=0)): key for key in "abcdefgh"}
    first, second = list(keys.values())[:2]

    @app.processor(orders)
    async def fragile(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(1 if record.key == first else 2)
            raise ValueError(record.key)

    await orders.send(order(key=first, n=1), order(key=second, n=1))
    with pytest.raises(ValueError, match=first) as caught:
        await app.run()
    assert [f"ValueError('{second}')" in note for note in caught.value.__notes__] == [True]


async def test_what_all_partitions_fail_with_is_told_once(
    app: App, orders: Stream[Any], autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    @app.processor(orders)
    async def broken(events: Any) -> None:
        await trio.sleep(1)
        raise ValueError("no database" if events.partition.number < 3 else "no file")

    with pytest.raises(ValueError, match="no") as caught:
        await app.run()
    assert len(caught.value.__notes__) == 1
    assert [getattr(x, "fact", "") for x in caplog.records].count("failed-too") == 1


async def test_a_function_that_raises_before_it_takes_anything_halts_under_ignore_too(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    """There is no event to be ignored, and calling it again would only raise again."""

    @app.processor(orders, exception_policy=ExceptionPolicy.IGNORE)
    async def broken(events: Any) -> None:
        raise ValueError("no database")

    await orders.send(order(key="a", n=1))
    with pytest.raises(ValueError, match="no database"):
        await app.run()
    assert await lag(broken) in {0, 1}


async def test_what_is_raised_while_a_cancelled_worker_drains_is_not_lost(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def fragile(events: Any) -> None:
        async for _ in events:
            await trio.sleep(2)
            raise ValueError("late")

    await orders.send(order(key="a", n=1))
    with pytest.raises(ValueError, match="late"), trio.move_on_after(1):
        await app.run()
    assert trio.current_time() == pytest.approx(2, abs=0.1)
    with pytest.raises(ValueError, match="late"), trio.move_on_after(1):
        async with app.worker():
            await trio.sleep_forever()
    assert await lag(fragile) == 1


async def test_an_error_of_the_body_wins_and_names_that_of_the_processor(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    @app.processor(orders)
    async def fragile(events: Any) -> None:
        async for _ in events:
            await trio.sleep(2)
            raise ValueError("late")

    await orders.send(order(key="a", n=1))
    with pytest.raises(KeyError, match="mine") as caught:
        async with app.worker():
            await trio.sleep(1)
            raise KeyError("mine")
    assert caught.value.__notes__ == [
        "While the worker was stopping, this was raised too: ValueError('late')"
    ]
