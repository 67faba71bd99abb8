"""What `Stream.send` does when a partition is full."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Stream, StreamFull


def places(entries: dict[int, list[tuple[bytes, Any]]]) -> list[int]:
    return sorted(record.n for found in entries.values() for _, record in found)


def small(app: App, order: Any, overflow: str, size: int = 3, partitions: int = 2) -> Stream[Any]:
    return app.stream(
        "small", order, lambda record: record.n % partitions, partition_count=partitions, hasher=int,
        partition_size=size, overflow=overflow,
    )  # fmt: skip


async def test_error_tells_exactly_what_was_not_stored(app: App, order: Any, stored: Any) -> None:
    stream = small(app, order, "error")
    await stream.send(order(key="a", n=0))  # partition 0 has room for two more, 1 for three
    with pytest.raises(StreamFull) as caught:
        await stream.send(*(order(key="a", n=n) for n in range(10, 20)))
    # Even ones go to partition 0: 10 and 12 fit; odd ones to 1: 11, 13 and 15 fit.
    assert caught.value.unsent == (4, 6, 7, 8, 9)
    assert (caught.value.stream, caught.value.size) == ("small", 3)
    assert caught.value.partition in {0, 1}
    assert places(await stored(stream)) == [0, 10, 11, 12, 13, 15]


async def test_error_in_the_middle_of_a_large_send(app: App, order: Any, stored: Any) -> None:
    stream = small(app, order, "error", size=1500)
    records = [order(key="a", n=n) for n in [*range(0, 4000, 2), *range(1, 2400, 2)]]
    with pytest.raises(StreamFull) as caught:
        await stream.send(*records)
    unsent = [records[place].n for place in caught.value.unsent]
    found = await stored(stream)
    assert [record.n for _, record in found[0]] == list(range(0, 3000, 2))
    assert sorted(places(found) + unsent) == sorted(record.n for record in records)
    assert caught.value.partition == 0


async def test_error_for_each_of_many_senders(app: App, order: Any, stored: Any) -> None:
    stream = small(app, order, "error", size=50, partitions=1)
    unsent: list[int] = []

    async def send(first: int) -> None:
        records = [order(key="a", n=first + n) for n in range(3)]
        try:
            await stream.send(*records)
        except StreamFull as full:
            unsent.extend(records[place].n for place in full.unsent)

    async with trio.open_nursery() as nursery:
        for first in range(0, 300, 3):
            nursery.start_soon(send, first)
    assert len(unsent) == 250
    assert sorted(places(await stored(stream)) + unsent) == list(range(300))


async def test_a_full_stream_takes_again_what_was_not_stored(
    app: App, order: Any, drained: Any, stored: Any
) -> None:
    stream = small(app, order, "error")
    seen: list[int] = []

    @app.processor(stream)
    async def collect(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    left = [order(key="a", n=n) for n in range(20)]
    async with app.worker():
        while left:
            try:
                await stream.send(*left)
                left = []
            except StreamFull as full:
                left = [left[place] for place in full.unsent]
                await drained(collect)
        await drained(collect)
    assert sorted(seen) == list(range(20))
    assert [n for n in seen if n % 2] == list(range(1, 20, 2))


async def test_block_waits_until_events_are_acknowledged(
    app: App, order: Any, drained: Any, stored: Any
) -> None:
    stream = small(app, order, "block")
    seen: list[int] = []

    @app.processor(stream)
    async def collect(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    with trio.fail_after(30):
        async with app.worker():
            await stream.send(*(order(key="a", n=n) for n in range(100)))
            await drained(collect)
    assert [n for n in seen if n % 2] == list(range(1, 100, 2))
    assert sorted(seen) == list(range(100))


async def test_a_blocked_send_that_is_cancelled_leaves_a_prefix_and_sends_nothing_later(
    app: App, order: Any, drained: Any, stored: Any
) -> None:
    stream = small(app, order, "block")
    with trio.move_on_after(0.3) as scope:
        await stream.send(*(order(key="a", n=n) for n in range(10)))
    assert scope.cancelled_caught
    assert places(await stored(stream)) == [0, 1, 2, 3, 4, 5]

    seen: list[int] = []

    @app.processor(stream)
    async def collect(events: Any) -> None:
        async for record in events.records():
            seen.append(record.n)

    async with app.worker():
        await stream.send(order(key="a", n=100))
        await drained(collect)
    assert sorted(seen) == [0, 1, 2, 3, 4, 5, 100]


async def test_a_full_partition_does_not_hold_up_another_sender(app: App, order: Any, stored: Any) -> None:
    stream = small(app, order, "block")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: stream.send(*(order(key="a", n=n) for n in range(0, 20, 2))))
        with trio.fail_after(60):
            while places(await stored(stream)) != [0, 2, 4]:
                await trio.sleep(0.01)
            await stream.send(order(key="a", n=1), order(key="a", n=3))
        nursery.cancel_scope.cancel()
    assert places(await stored(stream)) == [0, 1, 2, 3, 4]


async def test_a_send_that_waits_for_long_is_told_of_once(
    order: Any, caplog: pytest.LogCaptureFixture, autojump_clock: MockClock
) -> None:
    stream = small(App("test", redis_url="memory://"), order, "block")
    with trio.move_on_after(60):
        await stream.send(*(order(key="a", n=n) for n in range(10)))
    (told,) = [x for x in caplog.records if getattr(x, "fact", "") == "stream-full"]
    assert "stream=small" in told.getMessage()


async def test_trim_never_refuses_and_keeps_the_newest(app: App, order: Any, stored: Any) -> None:
    stream = small(app, order, "trim", size=200, partitions=1)
    for start in range(0, 3000, 100):
        await stream.send(*(order(key="a", n=n) for n in range(start, start + 100)))
    kept = places(await stored(stream))
    assert kept == list(range(kept[0], 3000))
    assert 200 <= len(kept) < 400  # a server trims by whole nodes of its tree


async def test_trim_of_one_send_larger_than_the_partition(app: App, order: Any, stored: Any) -> None:
    stream = small(app, order, "trim", size=100, partitions=1)
    await stream.send(*(order(key="a", n=n) for n in range(2500)))
    kept = places(await stored(stream))
    assert kept == list(range(kept[0], 2500))
    assert 100 <= len(kept) < 300
