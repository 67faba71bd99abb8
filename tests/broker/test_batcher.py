"""The batcher: few hops, nothing abandoned, nothing forgotten."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import outcome
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from runnel_trio._broker._redis._transport._batcher import Batcher
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio.exceptions import BrokerUnavailable


class Carrier:
    """Doubles numbers; stands at a gate when told to; remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    async def __call__(self, requests: Sequence[int], waiter: Waiter) -> Sequence[outcome.Outcome[int]]:
        return await waiter.in_thread(self._double, requests)

    def _double(self, requests: Sequence[int]) -> Sequence[outcome.Outcome[int]]:
        self.batches.append(list(requests))
        assert self.gate.wait(60)
        if -1 in requests:
            raise ValueError("refused")
        return [outcome.Value(2 * number) for number in requests]


async def carried(carrier: Carrier, batches: int) -> None:
    """Wait until so many batches are under way or done."""
    with trio.fail_after(60):
        while len(carrier.batches) < batches:
            await trio.lowlevel.checkpoint()


async def test_requests_that_come_during_a_batch_leave_together(nursery: trio.Nursery) -> None:
    carrier, answers = Carrier(), {}
    batcher: Batcher[int, int] = Batcher(carry=carrier)
    await nursery.start(batcher.run)

    async def ask(number: int) -> None:
        answers[number] = await batcher.call(number)

    carrier.gate.clear()
    async with trio.open_nursery() as askers:
        askers.start_soon(ask, 0)
        await carried(carrier, 1)
        for number in range(1, 100):
            askers.start_soon(ask, number)
        await wait_all_tasks_blocked()
        carrier.gate.set()
    assert answers == {number: 2 * number for number in range(100)}
    assert [len(batch) for batch in carrier.batches] == [1, 99]


async def test_a_batch_weighs_no_more_than_the_limit_but_for_one_that_does_alone(
    nursery: trio.Nursery,
) -> None:
    carrier = Carrier()
    batcher: Batcher[int, int] = Batcher(carry=carrier, weigh=lambda number: number, limit=10)
    await nursery.start(batcher.run)
    carrier.gate.clear()
    async with trio.open_nursery() as askers:
        askers.start_soon(batcher.call, 1)
        await carried(carrier, 1)
        for number in (5, 5, 1, 20, 9, 1):
            askers.start_soon(batcher.call, number)
            await wait_all_tasks_blocked()
        carrier.gate.set()
    assert carrier.batches == [[1], [5, 5], [1], [20], [9, 1]]


async def test_a_waiting_request_is_withdrawn_when_cancelled(nursery: trio.Nursery) -> None:
    carrier = Carrier()
    batcher: Batcher[int, int] = Batcher(carry=carrier)
    await nursery.start(batcher.run)
    carrier.gate.clear()
    async with trio.open_nursery() as askers:
        askers.start_soon(batcher.call, 1)
        await carried(carrier, 1)
        with trio.move_on_after(0):
            await batcher.call(2)
        carrier.gate.set()
    assert carrier.batches == [[1]]


async def test_a_request_of_a_task_that_is_cancelled_already_does_not_leave(nursery: trio.Nursery) -> None:
    carrier = Carrier()
    batcher: Batcher[int, int] = Batcher(carry=carrier)
    await nursery.start(batcher.run)
    with trio.CancelScope() as scope:
        scope.cancel()
        await batcher.call(1)
    assert scope.cancelled_caught
    assert await batcher.call(2) == 4
    assert carrier.batches == [[2]]


async def test_requests_that_come_together_after_one_alone_leave_together(nursery: trio.Nursery) -> None:
    carrier = Carrier()
    batcher: Batcher[int, int] = Batcher(carry=carrier)
    await nursery.start(batcher.run)
    assert await batcher.call(0) == 0
    for _ in range(2):
        async with trio.open_nursery() as askers:
            for number in range(1, 4):
                askers.start_soon(batcher.call, number)
    first, *others = [sorted(batch) for batch in carrier.batches]
    assert first == [0]
    assert sorted(map(len, others)) == [1, 2, 3], "the first of the first three did not know of the others"
    assert await batcher.call(0) == 0
    assert await batcher.call(0) == 0


async def test_a_request_under_way_is_waited_for_and_its_outcome_kept(nursery: trio.Nursery) -> None:
    carrier, answers = Carrier(), []
    batcher: Batcher[int, int] = Batcher(carry=carrier)
    await nursery.start(batcher.run)
    carrier.gate.clear()
    scope = trio.CancelScope()

    async def ask() -> None:
        with scope:
            answers.append(await batcher.call(1))

    async with trio.open_nursery() as askers:
        askers.start_soon(ask)
        await carried(carrier, 1)
        scope.cancel()
        await wait_all_tasks_blocked()
        assert answers == []
        carrier.gate.set()
    assert answers == [2]


async def test_a_failure_reaches_each_request_of_its_batch_and_no_other(nursery: trio.Nursery) -> None:
    batcher: Batcher[int, int] = Batcher(carry=Carrier())
    await nursery.start(batcher.run)
    with pytest.raises(ValueError, match="refused"):
        await batcher.call(-1)
    assert await batcher.call(4) == 8


async def test_closing_finishes_what_is_under_way_and_refuses_the_rest() -> None:
    carrier = Carrier()
    batcher: Batcher[int, int] = Batcher(carry=carrier)
    carrier.gate.clear()
    ends: dict[int, outcome.Outcome[int]] = {}

    async def ask(number: int) -> None:
        ends[number] = await outcome.acapture(batcher.call, number)

    async with trio.open_nursery() as askers, trio.open_nursery() as nursery:
        await nursery.start(batcher.run)
        askers.start_soon(ask, 1)
        await carried(carrier, 1)
        askers.start_soon(ask, 2)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        carrier.gate.set()
    assert ends[1].unwrap() == 2
    with pytest.raises(BrokerUnavailable, match="not sent"):
        ends[2].unwrap()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await batcher.call(3)


async def test_between_two_tries_a_request_can_be_cancelled(nursery: trio.Nursery) -> None:
    waiting, again = trio.Event(), trio.Event()

    async def stubborn(requests: Sequence[int], waiter: Waiter) -> Sequence[outcome.Outcome[int]]:
        waiting.set()
        await again.wait()
        return [outcome.Value(await waiter.in_thread(int, number)) for number in requests]

    batcher: Batcher[int, int] = Batcher(carry=stubborn)
    await nursery.start(batcher.run)
    with trio.move_on_after(10) as scope:
        async with trio.open_nursery() as askers:
            askers.start_soon(batcher.call, 1)
            await waiting.wait()
            scope.cancel()
    assert scope.cancelled_caught
    again.set()
    assert await batcher.call(2) == 2
