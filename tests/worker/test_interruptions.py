"""A function that keeps its cancellation to itself: what was interrupted is never acknowledged."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Middleware, Stream, Worker
from runnel_trio.exceptions import LeaseLost
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

pytestmark = pytest.mark.usefixtures("lanes")

Count = Callable[[Any], Awaitable[int]]
Facts = Callable[[str], list[dict[str, Any]]]
Handle = Callable[[Any], Awaitable[None]]
Interrupted = Callable[..., AbstractAsyncContextManager[None]]
GRACE = 2.0


async def swallow() -> None:
    with suppress(BaseException):
        await trio.sleep(60)


async def asks_for_the_next(events: Any) -> None:
    async for _ in events:
        await swallow()


async def returns(events: Any) -> None:
    async for _ in events:
        await swallow()
        return


async def breaks(events: Any) -> None:
    async for _ in events:
        await swallow()
        break


async def closes(events: Any) -> None:
    async for _ in events:
        await swallow()
        await events.aclose()


async def swallows_again_and_again(events: Any) -> None:
    async for _ in events:
        for _ in range(20):
            await swallow()


async def asks_by_hand(events: Any) -> None:
    async for _ in events:
        await swallow()
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def is_too_busy_to_see_it(events: Any) -> None:
    async for _ in events:
        with trio.CancelScope(shield=True):
            await trio.sleep(GRACE + 1)


async def raises_another(events: Any) -> None:
    async for _ in events:
        try:
            await trio.sleep(60)
        except trio.Cancelled:
            raise ValueError("hidden") from None


async def raises_another_after_the_loop(events: Any) -> None:
    seen = [await swallow() async for _ in events]
    if seen:
        raise ValueError("the rest")


async def swallows_a_list(events: Any) -> None:
    async for _ in events.take(2, within=0):
        await swallow()


SILENT = [
    asks_for_the_next,
    returns,
    breaks,
    closes,
    swallows_again_and_again,
    asks_by_hand,
    swallows_a_list,
    is_too_busy_to_see_it,
]
RAISING = [raises_another, raises_another_after_the_loop]


async def in_hand(worker: Worker) -> Any:
    """The backlog of the partition that has something in hand."""
    with trio.fail_after(30):
        while True:
            for succession in worker._members:
                for executor in succession.member._assignment.running.values():  # type: ignore[union-attr]
                    if executor.backlog.in_hand:
                        return executor.backlog
            await trio.sleep(0.01)


async def outlast(worker: Worker, how: str) -> None:
    """Cancel what is in hand, in one of three ways."""
    backlog = await in_hand(worker)
    if how == "lease-lost":
        backlog.lose()
    elif how == "aborted":
        worker.abort()
    else:
        worker.stop()


@pytest.fixture
def interrupted(app: App, orders: Stream[Any], order: Any) -> Interrupted:
    """In the block, a worker that had three events to handle has been interrupted, and has ended.

    With ``seen``, a condition, it is aborted once that holds: what is interrupted may go on for ever.
    """

    @asynccontextmanager
    async def interrupted(
        how: str = "grace-over", seen: Callable[[], Any] | None = None
    ) -> AsyncIterator[None]:
        async with app.session():
            await orders.send(*(order(key="a", n=n) for n in range(3)))
            async with app.worker() as worker:
                await outlast(worker, how)
                if seen is not None:
                    with trio.fail_after(10):
                        while not seen():
                            await trio.sleep(0.01)
                    worker.abort()
                await worker.ended.wait()
            yield

    return interrupted


@pytest.mark.parametrize("why", ["grace-over", "aborted", "lease-lost"])
@pytest.mark.parametrize("policy", list(ExceptionPolicy))
@pytest.mark.parametrize("handle", SILENT)
async def test_what_was_interrupted_is_not_acknowledged_and_told_when_the_function_swallows_that(
    handle: Handle,
    policy: ExceptionPolicy,
    why: str,
    app: App,
    orders: Stream[Any],
    interrupted: Interrupted,
    lag: Count,
    facts: Facts,
    autojump_clock: MockClock,
) -> None:
    processor = app.processor(orders, exception_policy=policy, grace_period=GRACE)(handle)
    async with interrupted(why, seen=lambda: facts("not-acknowledged")):
        assert await lag(processor) == 3
        assert facts("not-acknowledged")[0]["why"] == why
        assert facts("not-acknowledged")[0]["count"] == (2 if handle is swallows_a_list else 1)
        assert not await processor.quarantined()


@pytest.mark.parametrize("policy", [ExceptionPolicy.IGNORE, ExceptionPolicy.QUARANTINE])
@pytest.mark.parametrize("handle", RAISING)
async def test_what_it_raises_in_place_of_the_cancellation_is_no_failure_of_the_event(
    handle: Handle,
    policy: ExceptionPolicy,
    app: App,
    orders: Stream[Any],
    interrupted: Interrupted,
    lag: Count,
    facts: Facts,
    autojump_clock: MockClock,
) -> None:
    dead = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))
    links = [dead, RetryMiddleware(attempts=2)]
    options: Any = {"exception_policy": policy, "grace_period": GRACE, "middleware": links}
    processor = app.processor(orders, **options)(handle)
    async with interrupted():
        assert await lag(processor) == 3
        assert facts("failed-when-cancelled")
        assert not await dead.letters()
        assert not await processor.quarantined()


async def test_what_ends_within_the_grace_period_is_acknowledged_also_when_it_swallows_everything(
    app: App,
    orders: Stream[Any],
    interrupted: Interrupted,
    lag: Count,
    facts: Facts,
    autojump_clock: MockClock,
) -> None:
    @app.processor(orders, grace_period=GRACE)
    async def in_time(events: Any) -> None:
        async for _ in events:
            with suppress(BaseException):
                await trio.sleep(GRACE - 0.5)

    async with interrupted():
        assert await lag(in_time) == 2
        assert not facts("not-acknowledged")


async def test_what_a_scope_of_the_functions_own_has_cancelled_is_acknowledged(
    app: App,
    orders: Stream[Any],
    interrupted: Interrupted,
    lag: Count,
    facts: Facts,
    autojump_clock: MockClock,
) -> None:
    @app.processor(orders, grace_period=GRACE)
    async def impatient(events: Any) -> None:
        async for _ in events:
            with trio.move_on_after(1):
                await swallow()

    async with interrupted():
        assert await lag(impatient) == 2
        assert not facts("not-acknowledged")


class Watching(Middleware):
    """Takes three events before it yields the first, and sees how the call ended."""

    def __init__(self) -> None:
        self.asked = 0
        self.saw: list[BaseException | None] = []

    async def handler(self, parent: AsyncIterator[Any], *, events: Any, **kwargs: Any) -> AsyncIterator[Any]:
        ahead: list[Any] = []
        async for event in parent:
            ahead.append(event)
            if len(ahead) < 3:
                continue
            try:
                for one in ahead:
                    yield one
                    self.asked += 1
            except GeneratorExit:
                self.saw.append(events.exception)
                raise


@pytest.mark.parametrize("why", ["grace-over", "lease-lost"])
async def test_a_link_sees_the_cancellation_that_the_function_swallows_and_is_asked_for_nothing_more(
    why: str,
    app: App,
    orders: Stream[Any],
    interrupted: Interrupted,
    lag: Count,
    facts: Facts,
    autojump_clock: MockClock,
) -> None:
    link = Watching()

    @app.processor(orders, grace_period=GRACE, middleware=[link])
    async def deaf(events: Any) -> None:
        async for _ in events:
            await swallow()

    async with interrupted(why, seen=lambda: link.saw):
        assert await lag(deaf) == 3
    expected = LeaseLost if why == "lease-lost" else trio.Cancelled
    assert isinstance(link.saw[0], expected)
    assert link.asked == 0


async def test_a_link_that_swallows_its_cancellation_has_nothing_acknowledged(
    app: App,
    orders: Stream[Any],
    interrupted: Interrupted,
    lag: Count,
    facts: Facts,
    autojump_clock: MockClock,
) -> None:
    class Deaf(Middleware):
        async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
            async for event in parent:
                await swallow()
                yield event

    @app.processor(orders, grace_period=GRACE, middleware=[Deaf()])
    async def quick(events: Any) -> None:
        async for _ in events:
            pass

    async with interrupted():
        assert await lag(quick) == 3
        assert facts("not-acknowledged")
