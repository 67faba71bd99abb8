"""Single entries of many tasks: they travel together, and each task learns of its own."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import outcome
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from runnel_trio._broker._redis._transport._batcher import Batcher
from runnel_trio._broker._redis._transport._coalescer import SendCoalescer
from runnel_trio._broker._redis._transport._sender import SendRequest
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._broker._values import SEALED, Appended, Batch, StreamSpec
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import BrokerUnavailable

NAMES = (b"data",)
SPEC = StreamSpec(
    app="app",
    name="one",
    partition_count=4,
    record="R",
    hasher="h",
    partition_size=10,
    overflow=Overflow.BLOCK,
)
OTHER = attrs.evolve(SPEC, name="other")
#: What left together: by stream and partition.
Exchange = list[dict[tuple[str, int], list[bytes]]]


class Gate:
    """Lets one exchange pass, or all; who waits at it is under way to the server."""

    def __init__(self) -> None:
        self.far, self.near = socket.socketpair()
        self.open = False

    def set(self) -> None:
        self.open = True
        self.far.send(b"!")

    def let_one_pass(self) -> None:
        self.far.send(b"!")

    async def wait(self, waiter: Waiter) -> None:
        assert await waiter.until_readable(self.near, 10)
        if not self.open:
            self.near.recv(1)


@attrs.define
class Carrier:
    """Remembers what left, and has room for so much in each partition; each exchange waits for a gate."""

    room: Mapping[int, Appended] = attrs.field(factory=dict)
    error: Exception | None = None
    again: trio.Event | None = None
    exchanges: list[Exchange] = attrs.field(factory=list)
    gate: Gate = attrs.field(factory=Gate)

    async def __call__(
        self, requests: Sequence[SendRequest], waiter: Waiter
    ) -> Sequence[outcome.Outcome[dict[int, Appended]]]:
        sealed = [request.seal() for request in requests]
        taken = [(x.stream.name, dict(x.batches)) for x in sealed]
        self.exchanges.append(
            [{(name, x): list(batch.values) for x, batch in batches.items()} for name, batches in taken]
        )
        if self.again is not None:  # between two tries
            await self.again.wait()
        await self.gate.wait(waiter)
        if self.error is not None:
            raise self.error
        return [
            outcome.Value({x: self.stored(x, len(y)) for x, y in batches.items()}) for _, batches in taken
        ]

    def stored(self, number: int, count: int) -> Appended:
        room = self.room.get(number, count)
        return room if room is SEALED else min(room, count)


@pytest.fixture
def carrier() -> Iterator[Carrier]:
    carrier = Carrier()
    with carrier.gate.far, carrier.gate.near:
        yield carrier


@pytest.fixture
async def coalescer(carrier: Carrier, nursery: trio.Nursery) -> SendCoalescer:
    batcher: Batcher[SendRequest, dict[int, Appended]] = Batcher(
        carry=carrier, weigh=lambda request: request.weight
    )
    await nursery.start(batcher.run)
    return SendCoalescer(batcher)


@attrs.define
class Senders:
    """Tasks that send one entry each, the first of which is under way while the others come."""

    coalescer: SendCoalescer
    nursery: trio.Nursery
    found: dict[bytes, Any] = attrs.field(factory=dict)
    scopes: dict[bytes, trio.CancelScope] = attrs.field(factory=dict)

    async def send(
        self, value: bytes, number: int = 0, stream: StreamSpec = SPEC, names: Any = NAMES
    ) -> None:
        with self.scopes.setdefault(value, trio.CancelScope()):
            try:
                stored = await self.coalescer.send(stream, {number: Batch(names, [value] * len(names))})
                self.found[value] = stored[number]
            except Exception as error:
                self.found[value] = error

    async def start(self, value: bytes, *arguments: Any) -> None:
        self.nursery.start_soon(self.send, value, *arguments)
        await wait_all_tasks_blocked()


@pytest.fixture
async def senders(coalescer: SendCoalescer, nursery: trio.Nursery) -> Senders:
    made = Senders(coalescer, nursery)
    await made.start(b"first")
    return made


async def test_what_comes_during_an_exchange_leaves_in_the_next_in_the_order_in_which_it_came(
    senders: Senders, carrier: Carrier
) -> None:
    for value, number in ((b"a", 1), (b"b", 2), (b"c", 1)):
        await senders.start(value, number)
    carrier.gate.set()
    await wait_all_tasks_blocked()
    together = [{("one", 1): [b"a", b"c"], ("one", 2): [b"b"]}]
    assert carrier.exchanges == [[{("one", 0): [b"first"]}], together]
    assert senders.found == {b"first": 1, b"a": 1, b"b": 1, b"c": 1}


async def test_of_a_partition_that_takes_only_some_the_first_are_stored(
    senders: Senders, carrier: Carrier
) -> None:
    carrier.room = {1: 2, 2: SEALED, 3: 0}
    for value, number in ((b"a", 1), (b"b", 1), (b"c", 1), (b"d", 2), (b"e", 3)):
        await senders.start(value, number)
    carrier.gate.set()
    await wait_all_tasks_blocked()
    assert senders.found == {b"first": 1, b"a": 1, b"b": 1, b"c": 0, b"d": SEALED, b"e": 0}


async def test_a_failure_reaches_each_of_them(senders: Senders, carrier: Carrier) -> None:
    carrier.error = ValueError("refused")
    for value in (b"a", b"b"):
        await senders.start(value)
    carrier.gate.set()
    await wait_all_tasks_blocked()
    assert [str(x) for x in senders.found.values()] == ["refused"] * 3


async def test_streams_and_fields_do_not_mix_and_a_bulk_send_is_left_alone(
    senders: Senders, carrier: Carrier
) -> None:
    await senders.start(b"a")
    await senders.start(b"b", 0, OTHER)
    await senders.start(b"c", 0, SPEC, (b"x", b"y"))
    with_id = Batch(NAMES, [b"bulk"], ids=[b"*"])
    senders.nursery.start_soon(senders.coalescer.send, SPEC, {0: with_id})
    await wait_all_tasks_blocked()
    await senders.start(b"d")
    carrier.gate.set()
    await wait_all_tasks_blocked()
    assert carrier.exchanges[1] == [
        {("one", 0): [b"a"]},
        {("other", 0): [b"b"]},
        {("one", 0): [b"c", b"c"]},
        {("one", 0): [b"bulk"]},
        {("one", 0): [b"d"]},
    ]
    assert set(senders.found.values()) == {1}


async def test_many_leave_by_the_hundreds_so_that_some_can_come_again_meanwhile(
    senders: Senders, carrier: Carrier
) -> None:
    for number in range(1000):
        senders.nursery.start_soon(senders.send, b"%d" % number)
    await wait_all_tasks_blocked()
    carrier.gate.set()
    await wait_all_tasks_blocked()
    sizes = [sum(len(values) for load in x for values in load.values()) for x in carrier.exchanges]
    assert sizes == [1, 300, 300, 300, 100]
    assert set(senders.found.values()) == {1}


async def test_one_that_is_cancelled_before_it_leaves_is_not_sent(senders: Senders, carrier: Carrier) -> None:
    for value, number in ((b"a", 1), (b"b", 1), (b"c", 2)):
        await senders.start(value, number)
    senders.scopes[b"a"].cancel()
    senders.scopes[b"c"].cancel()
    await wait_all_tasks_blocked()
    carrier.gate.set()
    await wait_all_tasks_blocked()
    assert carrier.exchanges[1:] == [[{("one", 1): [b"b"]}]]
    assert senders.found == {b"first": 1, b"b": 1}


async def test_when_all_are_cancelled_nothing_leaves_and_later_ones_are_sent(
    senders: Senders, carrier: Carrier
) -> None:
    for value in (b"a", b"b"):
        await senders.start(value)
        senders.scopes[value].cancel()
        await wait_all_tasks_blocked()
    await senders.start(b"c")
    carrier.gate.set()
    await wait_all_tasks_blocked()
    assert carrier.exchanges[1:] == [[{("one", 0): [b"c"]}]]
    assert senders.found == {b"first": 1, b"c": 1}


async def test_one_under_way_is_waited_for_and_its_outcome_kept(senders: Senders, carrier: Carrier) -> None:
    await senders.start(b"a")
    carrier.gate.let_one_pass()
    await wait_all_tasks_blocked()
    assert len(carrier.exchanges) == 2
    senders.scopes[b"a"].cancel()
    await wait_all_tasks_blocked()
    assert senders.found == {b"first": 1}
    carrier.gate.set()
    await wait_all_tasks_blocked()
    assert senders.found == {b"first": 1, b"a": 1}


async def test_between_two_tries_one_can_be_cancelled_and_the_others_go_on(
    senders: Senders, carrier: Carrier
) -> None:
    for value in (b"a", b"b"):
        await senders.start(value)
    carrier.again = trio.Event()
    carrier.gate.set()
    await wait_all_tasks_blocked()
    senders.scopes[b"a"].cancel()
    await wait_all_tasks_blocked()
    assert senders.scopes[b"a"].cancelled_caught
    carrier.again.set()
    await wait_all_tasks_blocked()
    assert senders.found == {b"first": 1, b"b": 1}


async def test_closing_refuses_those_that_wait(carrier: Carrier) -> None:
    batcher: Batcher[SendRequest, dict[int, Appended]] = Batcher(
        carry=carrier, weigh=lambda request: request.weight
    )
    async with trio.open_nursery() as tasks:
        senders = Senders(SendCoalescer(batcher), tasks)
        async with trio.open_nursery() as nursery:
            await nursery.start(batcher.run)
            await senders.start(b"first")
            await senders.start(b"a")
            nursery.cancel_scope.cancel()
            carrier.gate.set()
        with trio.fail_after(60):
            await senders.send(b"late")
    assert senders.found[b"first"] == 1
    assert isinstance(senders.found[b"a"], BrokerUnavailable)
    assert "not sent" in str(senders.found[b"a"])
    assert isinstance(senders.found[b"late"], BrokerUnavailable), "it joins nothing that has been settled"
