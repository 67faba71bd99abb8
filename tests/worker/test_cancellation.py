"""A hang at every await between sender and acknowledgement; the scope is cancelled there; nothing is harmed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from runnel_trio import App, Stream
from runnel_trio._broker import _connection
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._protocol import Broker, Reader
from runnel_trio._broker._values import Batch, Entry
from runnel_trio._rules._cursor import LogState

VERBS = ["declare", "append", "read", "acquire", "commit", "release", "log_states", "beat", "leave"]
GRACE = 2.0


class Hang:
    """Where to hang, and whether it came to that."""

    def __init__(self, verb: str, moment: str, call: int) -> None:
        self.verb, self.moment, self.left = verb, moment, call
        self.hanging = trio.Event()

    def around(self, verb: str, function: Callable[..., Any]) -> Callable[..., Any]:
        async def call(*arguments: Any, **named: Any) -> Any:
            mine = verb == self.verb
            self.left -= mine
            if mine and self.left == 0 and self.moment == "before":
                await self._hang()
            result = await function(*arguments, **named)
            if mine and self.left == 0 and self.moment == "after":
                await self._hang()
            return result

        return call

    async def _hang(self) -> None:
        self.hanging.set()
        await trio.sleep_forever()


class HangingBroker:
    """A broker of which one call never returns."""

    def __init__(self, inner: Broker, hang: Hang) -> None:
        self._inner, self._hang = inner, hang

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._hang.around(name, found) if name in VERBS else found

    def reader(self, *arguments: Any) -> Reader:
        return HangingReader(self._inner.reader(*arguments), self._hang)


class HangingReader:
    def __init__(self, inner: Reader, hang: Hang) -> None:
        self._inner, self._hang = inner, hang

    @property
    def interruptions(self) -> int:
        return self._inner.interruptions

    async def read(self, positions: Mapping[int, bytes], count: int) -> Mapping[int, Sequence[Entry]]:
        found: Mapping[int, Sequence[Entry]] = await self._hang.around("read", self._inner.read)(
            positions, count
        )
        return found

    def wake(self) -> None:
        self._inner.wake()

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """The broker behind every app of the test; hung up by `hung`."""
    memory = MemoryBroker()
    _use(monkeypatch, memory)
    return memory


def _use(monkeypatch: pytest.MonkeyPatch, broker: Any) -> None:
    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Any]:
        yield broker

    monkeypatch.setattr(_connection, "open_broker", opened)


async def _states(broker: Broker, processor: Any) -> list[LogState]:
    found = await broker.log_states(processor.spec, range(4))
    return [state for state in found if state is not None]


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("verb", VERBS)
async def test_a_worker_cancelled_at_any_await_loses_and_reorders_nothing(
    verb: str,
    moment: str,
    call: int,
    app: App,
    orders: Stream[Any],
    order: Any,
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    seen: dict[str, list[int]] = {}
    number_of: dict[str, int] = {}

    @app.processor(orders, lock_expiry=4, grace_period=GRACE, max_unacked=3, prefetch_count=2)
    async def collect(events: Any) -> None:
        async for record in events.records():
            await trio.sleep(0.1)
            number_of[record.key] = events.partition.number
            seen.setdefault(record.key, []).append(record.n)

    await broker.append(orders.spec, _batches(orders, [order(key=str(n % 5), n=n) for n in range(60)]))
    hang = Hang(verb, moment, call)
    _use(monkeypatch, HangingBroker(broker, hang))
    with trio.move_on_after(3) as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(app.run)
            await hang.hanging.wait()
            scope.cancel()
    # The hanging call, the partitions' ends and the departure are each bounded by the grace period.
    assert trio.current_time() <= 3 + 3 * GRACE + 0.5
    states = await _states(broker, collect)
    handled = {number: sum(len(set(seen[k])) for k in seen if number_of[k] == number) for number in range(4)}
    assert sum(state.entries_read for state in states) <= sum(handled.values())
    before = {key: len(found) for key, found in seen.items()}

    _use(monkeypatch, broker)
    async with app.worker():
        with trio.fail_after(60):
            while True:
                states = await _states(broker, collect)
                if len(states) == 4 and all(x.entries_read == x.entries_added for x in states):
                    break
                await trio.sleep(0.1)
    for key, found in seen.items():
        first, second = found[: before.get(key, 0)], found[before.get(key, 0) :]
        wanted = [n for n in range(60) if str(n % 5) == key]
        assert first == wanted[: len(first)]
        assert second == wanted[len(wanted) - len(second) :]
        assert len(first) + len(second) >= len(wanted)
        # Repeated is at most what one partition may have unacknowledged, and what was in hand.
        assert len(first) + len(second) - len(wanted) <= 3 + 1
    assert set(seen) == {"0", "1", "2", "3", "4"}


def _batches(orders: Stream[Any], records: list[Any]) -> dict[int, Batch]:
    values: dict[int, list[bytes]] = {}
    for record in records:
        values.setdefault(orders.partition_of(record), []).append(orders.codec.encode(record)[1])
    return {number: Batch((b"data",), found) for number, found in values.items()}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_send_cancelled_at_the_broker_is_stored_whole_or_not_at_all(
    moment: str,
    orders: Stream[Any],
    order: Any,
    broker: MemoryBroker,
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: MockClock,
) -> None:
    hang = Hang("append", moment, 1)
    _use(monkeypatch, HangingBroker(broker, hang))
    with trio.move_on_after(1) as scope:
        await orders.send(*(order(key="a", n=n) for n in range(5)))
    assert scope.cancelled_caught
    lengths = [len(log.entries) for log in broker.store.logs.values()]
    assert sum(lengths) == (5 if moment == "after" else 0)


async def test_cancelling_a_slow_handler_waits_for_the_grace_period_and_no_longer(
    app: App, orders: Stream[Any], order: Any, broker: MemoryBroker, autojump_clock: MockClock
) -> None:
    ended: list[str] = []

    @app.processor(orders, grace_period=GRACE)
    async def slow(events: Any) -> None:
        async for record in events.records():
            try:
                await trio.sleep(1 if record.key == "quick" else 1000)
                ended.append(record.key)
            except trio.Cancelled:
                ended.append(f"{record.key} cancelled")
                raise

    keys = [
        "quick",
        next(k for k in "abcdefgh" if _number(orders, order, k) != _number(orders, order, "quick")),
    ]
    await orders.send(*(order(key=key, n=0) for key in keys))
    with trio.move_on_after(0.5):
        await app.run()
    assert ended == ["quick", f"{keys[1]} cancelled"]
    assert trio.current_time() == pytest.approx(0.5 + GRACE, abs=0.2)
    assert sum(x.entries_read for x in await _states(broker, slow)) == 1


def _number(orders: Stream[Any], order: Any, key: str) -> int:
    return orders.partition_of(order(key=key, n=0))
