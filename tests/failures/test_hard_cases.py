"""Failures where two rules meet: links that read ahead, the end of a stop, care after a crash, a full sink."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, ExceptionPolicy, Middleware, Misconfigured, Record, Stream
from runnel_trio._broker._values import Acquired, Batch, Beat, Held
from runnel_trio._rules._cursor import ORIGIN
from runnel_trio.middleware import Dead, DeadLetterMiddleware, RetryMiddleware

Facts = Callable[[str], list[dict[str, Any]]]
Drained = Callable[[Any], Awaitable[None]]
Count = Callable[[Any], Awaitable[int]]


class Point(Record, primitive=True):
    """A primitive record."""

    key: str
    n: int


class ReadsAhead(Middleware):
    """Takes three events before it yields the first of them."""

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        ahead: list[Any] = []
        async for event in parent:
            ahead.append(event)
            if len(ahead) == 3:
                for one in ahead:
                    yield one
                ahead = []


class Bundles(Middleware):
    """Makes lists of three."""

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        bundle: list[Any] = []
        async for event in parent:
            bundle.append(event)
            if len(bundle) == 3:
                yield bundle
                bundle = []


class Breaks(Middleware):
    """Fails itself, at its third event, with two in its hands."""

    async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
        held: list[Any] = []
        async for event in parent:
            held.append(event)
            if len(held) == 3:
                raise OSError("link")
            if len(held) > 3:
                yield event


@pytest.fixture
def letterbox(app: App) -> DeadLetterMiddleware:
    return DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid"))


async def numbers(orders: Stream[Any], box: DeadLetterMiddleware) -> list[int]:
    """Of the records in the letters."""
    letters: list[Any] = await box.letters()
    return [orders.codec.decode([b"data", letter.record.data["data"]]).n for letter in letters]


async def crashed(app: App, processor: Any, number: int, xid: bytes, count: int) -> None:
    """An owner has died over an entry that it had marked."""
    async with app._shared.used() as broker:
        (granted,) = await broker.acquire(processor.spec, "dead", {number: None})
        assert isinstance(granted, Acquired)
        if count:
            assert await broker.mark_attempt(processor.spec, granted.lease, xid, count)


async def stored(app: App, orders: Stream[Any], number: int) -> list[bytes]:
    """The ids of what is in a partition."""
    async with app.operator() as op, op.events(orders.name, partitions=[number]) as events:
        return [event.xid async for event in events]


# Links that read ahead


async def test_ignore_ignores_the_event_in_hand_and_not_what_a_link_has_read_ahead(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    seen: list[int] = []

    @app.processor(orders, exception_policy=ExceptionPolicy.IGNORE, middleware=[ReadsAhead()])
    async def fragile(events: Any) -> None:
        async for record in events.records():
            if record.n == 1:
                raise ValueError("one")
            seen.append(record.n)

    await orders.send(*(order(key="a", n=n) for n in range(8)))
    async with app.worker():
        await drained(fragile)
    assert seen == [0, 2, 3, 4, 5, 6, 7]


async def test_a_link_that_reads_ahead_loses_nothing_when_the_function_leaves_its_loop(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock
) -> None:
    seen: list[int] = []

    @app.processor(orders, middleware=[ReadsAhead()])
    async def leaver(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)
            break

    await orders.send(*(order(key="a", n=n) for n in range(8)))
    async with app.worker():
        await trio.sleep(1)
    assert seen == [0, 1, 2, 3, 4, 5], "the last two wait for a third"


# What is a letter, and what is not


@pytest.mark.parametrize("link", [ReadsAhead(), Bundles()], ids=lambda link: type(link).__name__)
async def test_the_letter_is_of_the_event_in_hand_whatever_later_links_have_read(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock, link: Middleware,
) -> None:  # fmt: skip
    seen: list[int] = []

    @app.processor(orders, middleware=[letterbox, link])
    async def handle(events: Any) -> None:
        async for item in events.records():
            numbers_in = [record.n for record in (item if isinstance(item, list) else [item])]
            if 0 in numbers_in:
                raise ValueError
            seen.extend(numbers_in)

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(7 if isinstance(link, ReadsAhead) else 6)))
        await drained(handle)
    failed = await numbers(orders, letterbox)
    assert sorted(failed + seen) == list(range(len(failed) + len(seen)))
    assert failed == ([0] if isinstance(link, ReadsAhead) else [0, 1, 2])


async def test_when_a_link_fails_all_that_it_was_given_are_letters(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock,
) -> None:  # fmt: skip
    @app.processor(orders, middleware=[letterbox, Breaks()])
    async def handle(events: Any) -> None:
        async for _ in events.records():
            pass

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(6)))
        await drained(handle)
    assert await numbers(orders, letterbox) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("policy", [ExceptionPolicy.IGNORE, ExceptionPolicy.QUARANTINE])
@pytest.mark.parametrize("letters", [False, True], ids=["plain", "letters"])
async def test_what_is_raised_on_being_cancelled_is_no_failure_of_the_event(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, lag: Count,
    autojump_clock: MockClock, policy: ExceptionPolicy, letters: bool,
) -> None:  # fmt: skip
    @app.processor(
        orders, exception_policy=policy, grace_period=0.5, middleware=[letterbox] if letters else []
    )
    async def handle(events: Any) -> None:
        async for _ in events.records():
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("on the way out")

    async with app.session(), app._shared.used() as broker:
        async with app.worker():
            await orders.send(order(key="a", n=1))
            await trio.sleep(1)
        assert await lag(handle) == 1, "it is the next owner's"
        assert await broker.quarantined(handle.spec, range(4)) == [None] * 4
    assert await letterbox.letters() == []


async def test_a_worker_that_waits_for_room_stops_at_once_and_gives_its_lease_up(
    app: App, orders: Stream[Any], order: Any, lag: Count, autojump_clock: MockClock
) -> None:
    box = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid", partition_size=1))

    @app.processor(orders, middleware=[box], grace_period=8)
    async def handle(events: Any) -> None:
        async for record in events.records():
            raise ValueError(record.n)

    async with app.session(), app._shared.used() as broker:
        await orders.send(*(order(key="a", n=n) for n in range(3)))
        async with app.worker():
            await trio.sleep(5)
            began = trio.current_time()
        assert trio.current_time() - began < 1
        assert await lag(handle) == 2
        answers = await broker.acquire(handle.spec, "next", dict.fromkeys(range(4)))
        assert not [answer for answer in answers if isinstance(answer, Held)]
        assert all(answer.clean for answer in answers if isinstance(answer, Acquired))


async def test_a_batch_that_no_sink_could_hold_is_left_to_the_policy(
    app: App, orders: Stream[Any], order: Any, autojump_clock: MockClock, facts: Facts
) -> None:
    box = DeadLetterMiddleware(app.stream("dead", Dead, partition_by="xid", partition_size=2))

    @app.processor(orders, middleware=[box])
    async def handle(events: Any) -> None:
        async for _ in events.take(3, within=1).records():
            raise ValueError("all three")

    await orders.send(*(order(key="a", n=n) for n in range(3)))
    with trio.fail_after(30), pytest.raises(ValueError, match="all three"):
        await app.run()
    (told,) = facts("not-set-aside")
    assert "partition_size" in str(told["reason"])


# Letters that are odd


async def test_a_primitive_entry_that_cannot_be_read_is_shown_and_moved_as_it_is(
    app: App, drained: Drained, autojump_clock: MockClock
) -> None:
    points = app.stream("points", Point, partition_by="key")
    box = DeadLetterMiddleware(app.stream("dead-points", Point, partition_by="key"))

    @app.processor(points, middleware=[box])
    async def handle(events: Any) -> None:
        async for _ in events.records():
            pass

    async with app.worker(), app._shared.used() as broker:
        await broker.append(points.spec, {2: Batch((b"key", b"n"), [b"a", b"many"])})
        await drained(handle)
        (letter,) = await box.letters()
        assert letter.record is None
        assert letter.fields == (b"key", b"a", b"n", b"many")
        assert await box.replay([letter]) == 1
        await drained(handle)
        (again,) = await box.letters()
        assert again.partition == 2
        assert await box.drop([again]) == 1


async def test_letters_to_the_stream_that_they_come_from_are_refused(app: App) -> None:
    points = app.stream("points", Point, partition_by="key")
    with pytest.raises(Misconfigured, match="itself"):

        @app.processor(points, middleware=[DeadLetterMiddleware(points)])
        async def handle(events: Any) -> None: ...


async def test_a_sink_of_plain_records_serves_one_stream(app: App) -> None:
    box = DeadLetterMiddleware(app.stream("dead", Point, partition_by="key"))
    one, two = (app.stream(name, Point, partition_by="key") for name in ("one", "two"))

    @app.processor(one, middleware=[box])
    async def first(events: Any) -> None: ...

    with pytest.raises(Misconfigured, match="record=Dead"):

        @app.processor(two, middleware=[box])
        async def second(events: Any) -> None: ...


# Care after a crash


@pytest.mark.parametrize("max_unacked", [1, 100])
async def test_only_the_event_that_ended_processes_is_refused(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock, max_unacked: int,
) -> None:  # fmt: skip
    seen: list[int] = []

    @app.processor(orders, middleware=[letterbox], max_unacked=max_unacked, lock_expiry=2)
    async def handle(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    async with app.session():
        await orders.send(*(order(key="a", n=n) for n in range(5)))
        number = orders.partition_of(order(key="a", n=0))
        await crashed(app, handle, number, (await stored(app, orders, number))[0], 3)
        async with app.worker():
            await drained(handle)
        assert await numbers(orders, letterbox) == [0]
    assert seen == [1, 2, 3, 4]


async def test_a_link_that_reads_ahead_does_not_let_another_event_be_blamed(
    app: App, orders: Stream[Any], order: Any, letterbox: DeadLetterMiddleware, drained: Drained,
    autojump_clock: MockClock,
) -> None:  # fmt: skip
    seen: list[int] = []

    @app.processor(orders, middleware=[letterbox, ReadsAhead()], lock_expiry=2)
    async def handle(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    async with app.session():
        await orders.send(*(order(key="a", n=n) for n in range(6)))
        number = orders.partition_of(order(key="a", n=0))
        await crashed(app, handle, number, (await stored(app, orders, number))[2], 3)
        async with app.worker():
            await drained(handle)
        assert await numbers(orders, letterbox) == [2]
    assert seen == [0, 1, 3, 4, 5]


async def test_an_event_that_ends_processes_even_so_is_kept_from_the_links_too(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    passed: list[bytes] = []
    seen: list[int] = []

    class Deadly(Middleware):
        async def handler(self, parent: AsyncIterator[Any], **kwargs: Any) -> AsyncIterator[Any]:
            async for event in parent:
                passed.append(event.xid)
                yield event

    @app.processor(
        orders, middleware=[Deadly()], exception_policy=ExceptionPolicy.IGNORE, max_attempts=2, lock_expiry=2
    )
    async def handle(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    async with app.session():
        await orders.send(*(order(key="a", n=n) for n in range(3)))
        number = orders.partition_of(order(key="a", n=0))
        ids = await stored(app, orders, number)
        await crashed(app, handle, number, ids[1], 3)
        async with app.worker():
            await drained(handle)
    assert passed == [ids[0], ids[2]]
    assert seen == [0, 2]


async def test_what_was_sent_after_the_crash_needs_no_care(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    sizes: list[int] = []

    @app.processor(orders, lock_expiry=2)
    async def handle(events: Any) -> None:
        async for records in events.take(5, within=0.1).records():
            sizes.append(len(records))

    async with app.session():
        await orders.send(*(order(key="a", n=n) for n in range(3)))
        await crashed(app, handle, orders.partition_of(order(key="a", n=0)), b"", 0)
        async with app.worker():
            await drained(handle)
            await orders.send(*(order(key="a", n=n) for n in range(10)))
            await drained(handle)
    assert sizes == [1, 1, 1, 5, 5]


@pytest.mark.parametrize("raises", [False, True], ids=["commits late", "is tried again"])
async def test_a_last_try_is_over_before_the_next_begins(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch, raises: bool,
) -> None:  # fmt: skip
    """Else a process that ends in the second one leaves two events that have had their tries."""
    by_key = {orders.partition_of(order(key=key, n=0)): key for key in "abcdefgh"}
    at_stake: list[int] = []
    tries: list[tuple[str, int]] = []

    @app.processor(orders, middleware=[RetryMiddleware(attempts=2, delay=1)], max_unacked=100, lock_expiry=2)
    async def handle(events: Any) -> None:
        async for record in events.records():
            at_stake.append(sum(map(is_at_stake, by_key)))
            tries.append((record.key, events.attempt))
            if raises and record.n == 0 and events.attempt == 1:
                raise ValueError

    async with app.session(), app._shared.used() as broker:
        commit = type(broker).commit

        def is_at_stake(number: int) -> bool:
            """Whether the next owner would refuse this partition's first event."""
            log = broker.store.log(broker.log_key(orders.spec, number))
            never_done = log.groups[handle.name].cursor == ORIGIN
            return log.leases[handle.name].attempts == (log.entries[0][0], 3) and never_done

        async def late(*args: Any) -> Any:
            await trio.sleep(0.5)
            return await commit(*args)

        for number, key in by_key.items():
            await orders.send(*(order(key=key, n=n) for n in range(2)))
            await crashed(app, handle, number, (await stored(app, orders, number))[0], 2)
        monkeypatch.setattr(type(broker), "commit", late)
        async with app.worker():
            await drained(handle)
    assert len(by_key) > 1
    assert max(at_stake) == 1
    assert len(tries) == len(by_key) * (3 if raises else 2)


async def test_a_lease_that_was_granted_before_its_member_was_removed_is_not_believed(
    app: App, order: Any, drained: Drained, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The grant comes late, when the member has joined anew: its lease may be another's by then."""
    orders = app.stream("one", order, "key", partition_count=1)
    seen: list[int] = []

    @app.processor(orders, lock_expiry=2)
    async def handle(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    async with app.session(), app._shared.used() as broker:
        acquire, granted, removed = type(broker).acquire, trio.Event(), trio.Event()

        async def late(self: Any, processor: Any, member: str, wanted: Any) -> Any:
            answers = await acquire(self, processor, member, wanted)
            if member != "other" and not granted.is_set():
                granted.set()
                await removed.wait()
            return answers

        monkeypatch.setattr(type(broker), "acquire", late)
        await orders.send(order(key="a", n=1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.run)
            await granted.wait()
            view = await broker.members(handle.spec)
            (member,) = (x.id for x in view.members)
            await broker.leave(handle.spec, member)  # taken for dead
            await broker.beat(Beat(handle.spec, "other", 60, "{}"))
            (held,) = await broker.acquire(handle.spec, "other", {0: None})
            (taken,) = await broker.acquire(handle.spec, "other", {0: held})
            await trio.sleep(1)  # a heartbeat: it is a member again
            removed.set()
            await trio.sleep(1)
            assert seen == []
            await broker.release(handle.spec, [taken.lease])
            await broker.leave(handle.spec, "other")
            await drained(handle)
            nursery.cancel_scope.cancel()
    assert seen == [1]


async def test_a_lease_that_its_member_takes_anew_blames_nothing(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    seen: list[int] = []

    @app.processor(orders, max_attempts=1, lock_expiry=2)
    async def handle(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)
            if len(seen) == 1:
                await trio.sleep_forever()

    async with app.worker() as worker, app._shared.used() as broker:
        await orders.send(*(order(key="a", n=n) for n in range(3)))
        await trio.sleep(1)
        await broker.leave(handle.spec, worker.member)  # taken for dead, and nobody there to take over
        await drained(handle)
    assert seen == [0, 0, 1, 2]


# The number of the try


async def test_the_number_of_the_try_is_that_of_the_event_in_hand(
    app: App, orders: Stream[Any], order: Any, drained: Drained, autojump_clock: MockClock
) -> None:
    tries: list[tuple[int, int]] = []

    @app.processor(orders, middleware=[RetryMiddleware(attempts=3)])
    async def handle(events: Any) -> None:
        async for record in events.records():
            tries.append((record.n, events.attempt))
            if record.n == 1 and events.attempt < 3:
                raise ValueError

    async with app.worker():
        await orders.send(*(order(key="a", n=n) for n in range(4)))
        await drained(handle)
    assert tries == [(0, 1), (1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]
