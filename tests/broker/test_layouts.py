"""Other partitions for a stream: the same steps on both brokers, whoever makes them and however often."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs
import pytest
import trio
from redis import Redis

from runnel_trio._broker import open_broker
from runnel_trio._broker._memory._broker import MemoryBroker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._broker import RedisBroker
from runnel_trio._broker._redis._transport._scripts import PlainCommand
from runnel_trio._broker._subscription import subscribe
from runnel_trio._broker._values import (
    SEALED,
    Acquired,
    Batch,
    Commit,
    CommitOutcome,
    Layouts,
    Lease,
    Output,
    ProcessorSpec,
    Quarantine,
    ServerConfig,
    StreamSpec,
)
from runnel_trio._rules._cursor import ORIGIN, lost
from runnel_trio._rules._layout import Meta
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import Misconfigured

OLD = StreamSpec(
    app="app", name="orders", partition_count=4, record="Order", hasher="blake3", partition_size=6,
    overflow=Overflow.BLOCK,
)  # fmt: skip
NEW = OLD.laid_out(2, 6)
SINK = attrs.evolve(OLD, name="sink", record="Dead")
PRINTER = ProcessorSpec(stream=OLD, name="printer")


def rows(*values: str) -> Batch:
    return Batch((b"data",), [value.encode() for value in values])


async def stored(broker: Broker, stream: StreamSpec, number: int = 0) -> list[str]:
    return [fields[1].decode() for _, fields in await broker.entries(stream, number)]


async def taken(broker: Broker, processor: ProcessorSpec = PRINTER, number: int = 0) -> Lease:
    (granted,) = await broker.acquire(processor, "a", {number: None})
    assert isinstance(granted, Acquired)
    return granted.lease


async def acknowledged(broker: Broker, lease: Lease, outputs: Sequence[Output] = ()) -> CommitOutcome:
    last = (await broker.entries(OLD, lease.partition))[-1][0]
    (outcome,) = await broker.commit(PRINTER, [Commit(lease, 1, ORIGIN, last, 1, last, outputs)])
    return outcome


async def changed(broker: Broker, count: int = 6) -> Layouts:
    await broker.declare(OLD)
    return await broker.repartition(OLD, count)


async def lose(broker: Broker, *fields: str) -> None:
    """As a failover does to a replica that had only a part of what was written."""
    if isinstance(broker, RedisBroker):
        await broker.servers.call([PlainCommand(("HDEL", _keys.meta(OLD), *fields))])
        return
    assert isinstance(broker, MemoryBroker)
    without = attrs.asdict(Meta())
    metas, key = broker.store.metas, (OLD.app, OLD.name)
    metas[key] = attrs.evolve(metas[key], **{field: without[field] for field in fields})


async def test_a_stream_that_nobody_has_declared_has_no_layout(broker: Broker) -> None:
    assert await broker.layouts(OLD) is None
    await broker.declare(OLD)
    assert await broker.layouts(OLD) == Layouts(OLD)


async def test_the_former_partitions_take_nothing_more_and_the_new_ones_do(broker: Broker) -> None:
    await broker.append(OLD, {0: rows("a"), 3: rows("b")})
    assert await changed(broker) == Layouts(NEW, draining=OLD)
    assert await broker.append(OLD, {0: rows("late"), 2: rows("later")}) == {0: SEALED, 2: SEALED}
    assert await broker.append(NEW, {0: rows("c"), 5: rows("d")}) == {0: 1, 5: 1}
    assert await stored(broker, OLD) == ["a"]
    assert await stored(broker, NEW) == ["c"]


async def test_with_fewer_partitions_those_that_are_no_more_take_nothing(broker: Broker) -> None:
    few = (await changed(broker, 2)).current
    everywhere = {number: rows("x") for number in range(4)}
    assert await broker.append(OLD, everywhere) == dict.fromkeys(range(4), SEALED)
    assert await broker.append(few, {0: rows("a"), 1: rows("b")}) == {0: 1, 1: 1}


async def test_who_sends_ahead_of_a_change_is_refused(broker: Broker) -> None:
    await broker.declare(OLD)
    assert await broker.append(NEW, {0: rows("x"), 5: rows("x")}) == {0: SEALED, 5: SEALED}
    assert await stored(broker, NEW) == []


async def test_a_change_said_again_changes_nothing(broker: Broker) -> None:
    found = await changed(broker)
    assert await broker.repartition(OLD, 6) == found
    assert await broker.repartition(OLD, 9) == found
    assert await broker.repartition(NEW, 9) == found  # the former one is still there
    assert await broker.layouts(OLD) == found


async def test_many_who_change_it_at_once_make_one_change(broker: Broker) -> None:
    await broker.declare(OLD)
    found: list[Layouts] = []

    async def change(count: int) -> None:
        found.append(await broker.repartition(OLD, count))

    async with trio.open_nursery() as nursery:
        for count in range(5, 15):
            nursery.start_soon(change, count)
    assert len({layouts.current for layouts in found}) == 1
    assert found[0].current.layout == 2


async def test_former_counts_may_be_declared_and_others_not(broker: Broker) -> None:
    await changed(broker)
    assert await broker.declare(OLD) == Layouts(NEW, draining=OLD)
    with pytest.raises(
        Misconfigured, match=r"was declared with partition_count=6.*repartition MODULE:orders --to 7"
    ):
        await broker.declare(attrs.evolve(OLD, partition_count=7))
    with pytest.raises(Misconfigured, match="was declared with record=Order, and is now declared with Other"):
        await broker.declare(attrs.evolve(NEW, record="Other"))


async def test_nothing_is_discarded_that_somebody_has_not_acknowledged(broker: Broker) -> None:
    await broker.append(OLD, {0: rows("a")})
    lease = await taken(broker)
    assert await broker.discard(OLD, ["printer"]) == [0, 1, 2, 3]  # it takes entries
    await changed(broker)
    assert await broker.undrained(PRINTER) == [0]
    assert await broker.discard(OLD, ["printer"]) == [0]
    assert await acknowledged(broker, lease) is CommitOutcome.COMMITTED
    assert await broker.undrained(PRINTER) == []
    assert await broker.undrained(ProcessorSpec(stream=OLD, name="other")) == [0]
    assert await broker.discard(OLD, ["other"]) == [0]  # it has never begun, but is waited for
    assert await broker.discard(OLD, ["printer"]) == []
    assert await stored(broker, OLD) == []
    assert await broker.layouts(OLD) == Layouts(NEW)


async def test_what_nobody_has_ever_read_is_kept(broker: Broker) -> None:
    await broker.append(OLD, {2: rows("a letter")})
    await changed(broker)
    assert await broker.discard(OLD, []) == [2]
    (entry,) = await broker.entries(OLD, 2)
    await broker.remove(OLD, 2, [entry[0]])
    assert await broker.discard(OLD, []) == []


async def test_what_stands_still_holds_a_layout_up(broker: Broker) -> None:
    why = Quarantine(
        partition=1, first=ORIGIN, last=ORIGIN, count=0, error="", traceback="", time="", member="me"
    )
    await broker.pause(PRINTER, [why])
    await changed(broker)
    assert await broker.undrained(PRINTER) == [1]
    assert await broker.discard(OLD, ["printer"]) == [1]
    assert await broker.resume(PRINTER, why, skip=False) is CommitOutcome.COMMITTED
    assert await broker.discard(OLD, ["printer"]) == []


async def test_each_layout_has_leases_and_cursors_of_its_own(broker: Broker) -> None:
    await broker.append(OLD, {0: rows("a")})
    lease = await taken(broker)
    await changed(broker)
    await broker.append(NEW, {0: rows("b")})
    fresh = await taken(broker, ProcessorSpec(stream=NEW, name="printer"))
    assert fresh.epoch > lease.epoch
    assert await acknowledged(broker, lease) is CommitOutcome.COMMITTED
    (state,) = await broker.log_states(ProcessorSpec(stream=NEW, name="printer"), [0])
    assert state is not None
    assert (state.cursor, state.entries_read) == (ORIGIN, 0)


async def test_back_to_a_former_count_is_another_layout(broker: Broker) -> None:
    await changed(broker)
    await broker.discard(OLD, [])
    back = (await broker.repartition(NEW, 4)).current
    assert back == OLD.laid_out(3, 4)
    assert await broker.append(OLD, {0: rows("x")}) == {0: SEALED}
    assert await broker.append(NEW, {0: rows("x"), 5: rows("x")}) == {0: SEALED, 5: SEALED}
    assert await broker.append(back, {0: rows("y")}) == {0: 1}
    assert await stored(broker, back) == ["y"]


async def test_outputs_for_former_partitions_are_refused_and_nothing_is_committed(broker: Broker) -> None:
    await broker.append(OLD, {0: rows("a")})
    lease = await taken(broker)
    await broker.declare(SINK)
    sink = (await broker.repartition(SINK, 8)).current
    output = Output(SINK, 0, rows("letter"))
    assert await acknowledged(broker, lease, [output]) is CommitOutcome.SEALED
    assert await broker.undrained(PRINTER) == [0]
    (entry,) = await broker.entries(OLD, 0)
    assert await broker.transfer(OLD, 0, entry[0], output) is CommitOutcome.SEALED
    assert await acknowledged(broker, lease, [output.redirected(sink, 0)]) is CommitOutcome.COMMITTED
    assert await stored(broker, sink) == ["letter"]
    assert await stored(broker, SINK) == []


async def test_who_knows_of_a_later_layout_tells_a_server_that_has_forgotten_it(broker: Broker) -> None:
    await broker.declare(OLD)
    known = OLD.laid_out(3, 6)
    assert await broker.append(known, {0: rows("x")}) == {0: SEALED}
    assert (await broker.reconcile_layout(known)).current == known
    assert await broker.append(known, {0: rows("x"), 5: rows("y")}) == {0: 1, 5: 1}
    assert (await broker.declare(OLD)).current == known


async def test_a_server_that_has_forgotten_everything_is_told_it_all(broker: Broker) -> None:
    assert await broker.append(NEW, {4: rows("x")}) == {4: SEALED}
    assert await broker.reconcile_layout(NEW) == Layouts(NEW)
    assert await broker.append(NEW, {4: rows("x")}) == {4: 1}


@pytest.mark.parametrize(
    "fields", [["partition_count"], ["record"], ["hasher"], ["partition_count", "record", "hasher"]]
)
async def test_what_a_server_has_lost_of_a_stream_is_written_by_the_next_who_declares_it(
    broker: Broker, fields: list[str]
) -> None:
    await broker.declare(OLD)
    await lose(broker, *fields)
    assert await broker.layouts(OLD) is None
    assert await broker.declare(OLD, dry_run=True) == Layouts(OLD)
    assert await broker.layouts(OLD) is None
    assert await broker.declare(OLD) == Layouts(OLD)
    assert await broker.layouts(OLD) == Layouts(OLD)
    assert await broker.streams("app") == [OLD]
    with pytest.raises(Misconfigured, match="was declared with"):
        await broker.declare(attrs.evolve(OLD, partition_count=5, record="Other", hasher="md5"))


async def test_of_many_who_write_what_was_lost_one_is_believed_by_all(broker: Broker) -> None:
    await broker.declare(OLD)
    await lose(broker, "partition_count")
    believed: list[int] = []

    async def declare(count: int) -> None:
        try:
            found = await broker.declare(attrs.evolve(OLD, partition_count=count))
        except Misconfigured:
            return
        believed.append(found.current.partition_count)

    async with trio.open_nursery() as nursery:
        for count in (4, 5, 6) * 3:
            nursery.start_soon(declare, count)
    assert len(believed) == 3
    assert len(set(believed)) == 1


async def test_only_who_knows_the_layout_tells_how_many_partitions_it_has(broker: Broker) -> None:
    await changed(broker)
    await lose(broker, "partition_count")
    for dry_run in (True, False):
        with pytest.raises(
            Misconfigured, match=r"has lost how many partitions.* HSET runnel:\{app}:orders:meta"
        ):
            await broker.declare(OLD, dry_run=dry_run)
    assert await broker.declare(NEW) == Layouts(NEW, draining=OLD)
    assert await broker.declare(OLD) == Layouts(NEW, draining=OLD)


async def test_a_change_that_was_begun_before_the_loss_is_completed(broker: Broker) -> None:
    await changed(broker)
    await lose(broker, "partition_count", "layout", "draining", "former")
    assert await broker.declare(NEW) == Layouts(NEW)
    assert await broker.declare(attrs.evolve(OLD, partition_count=6)) == Layouts(NEW)


async def test_where_the_count_is_lost_no_change_begins(broker: Broker) -> None:
    await broker.declare(OLD)
    await lose(broker, "partition_count")
    with pytest.raises(Misconfigured, match="has lost how many partitions"):
        await broker.repartition(OLD, 6)
    assert await broker.declare(OLD) == Layouts(OLD)


async def test_members_hear_of_a_change(broker: Broker) -> None:
    reader = broker.control(PRINTER, 5)
    await broker.announce_layout(PRINTER)
    with trio.fail_after(60):
        ((_, fields),) = (await reader.read({0: ORIGIN}, 10))[0]
    assert fields[0] == b"layout"
    await reader.aclose()


async def groups(broker: Broker, stream: StreamSpec) -> list[set[str]]:
    return [set(partition.processors) for partition in await broker.survey(stream)]


async def test_who_has_a_cursor_in_the_former_layout_has_one_in_each_new_partition(broker: Broker) -> None:
    await broker.declare(OLD)
    await broker.create_groups(OLD, ["slow"])
    await taken(broker, PRINTER, 3)
    new = (await broker.repartition(OLD, 6)).current
    assert await groups(broker, new) == [{"printer", "slow"}] * 6


async def test_a_new_partition_keeps_what_a_processor_that_has_not_gone_over_needs(broker: Broker) -> None:
    await broker.declare(OLD)
    await broker.create_groups(OLD, ["slow"])
    new = (await broker.repartition(OLD, 2)).current
    quick = ProcessorSpec(stream=new, name="quick")
    for _ in range(2):
        await broker.append(new, {0: rows(*"abcdef")})
        lease = await taken(broker, quick)
        last = (await broker.entries(new, 0))[-1][0]
        await broker.commit(quick, [Commit(lease, 1, ORIGIN, last, 6, last)])
    assert await stored(broker, new) == [*"abcdef"]
    assert await broker.append(new, {0: rows("g")}) == {0: 0}


class Slow:
    """A broker whose groups are made so many of Trio's turns later."""

    def __init__(self, broker: Broker, turns: int) -> None:
        self.broker, self.turns = broker, turns

    def __getattr__(self, name: str) -> Any:
        return getattr(self.broker, name)

    async def create_groups(self, stream: StreamSpec, names: Collection[str]) -> Any:
        for _ in range(self.turns):
            await trio.lowlevel.checkpoint()
        return await self.broker.create_groups(stream, names)


@pytest.mark.parametrize("turns", [0, 6, 7, 8, 12, 30])
async def test_a_processor_that_subscribes_during_a_change_has_cursors_in_the_new_partitions(
    turns: int,
) -> None:
    """At any step of the change, whose partitions 4 and 5 have no former one that could tell of it."""
    for steps in range(30):
        async with open_broker(ServerConfig(f"memory://steps-{steps}")) as broker:
            slow: Any = Slow(broker, turns)
            await broker.declare(OLD)
            await broker.create_groups(OLD, ["printer"])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(broker.repartition, OLD, 6)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                await subscribe(slow, OLD, ["late"])
            layouts = await broker.layouts(OLD)
            assert layouts is not None
            assert layouts.draining == OLD
            assert await groups(broker, layouts.current) == [{"printer", "late"}] * 6


async def test_groups_are_made_where_there_are_none_and_say_what_had_left_the_log(broker: Broker) -> None:
    small = attrs.evolve(OLD, overflow=Overflow.TRIM)
    await broker.append(small, {1: rows(*map(str, range(2000)))})
    (partition,) = [x for x in await broker.survey(small) if x.number == 1]
    gone = partition.entries_added - partition.length
    assert gone > 0
    assert await broker.create_groups(small, ["printer"]) == {"printer": {0: 0, 1: gone, 2: 0, 3: 0}}
    assert await broker.create_groups(small, ["slow", "printer"]) == {
        "slow": {0: 0, 1: gone, 2: 0, 3: 0},
        "printer": {},
    }
    standing = (await broker.survey(small))[1].processors["slow"]
    assert (standing.cursor, standing.lag) == (ORIGIN, partition.length)


async def test_a_partition_that_stands_still_when_it_is_asked_for_first_is_kept_for_its_processor(
    broker: Broker,
) -> None:
    why = Quarantine(
        partition=0, first=ORIGIN, last=ORIGIN, count=0, error="deploying", traceback="",
        time="2026-11-28T00:00:00.000+00:00", member="me",
    )  # fmt: skip
    await broker.pause(PRINTER, [why])
    assert await broker.acquire(PRINTER, "a", {0: None}) == [why]
    assert (await groups(broker, OLD))[0] == {"printer"}


async def test_what_left_a_log_after_its_group_was_destroyed_is_lost(broker: Broker) -> None:
    quick = attrs.evolve(PRINTER, name="quick")
    await broker.append(OLD, {0: rows(*"abcd")})
    lease = await taken(broker)
    third = (await broker.entries(OLD, 0))[2][0]
    await broker.commit(PRINTER, [Commit(lease, 1, ORIGIN, third, 3, third)])
    assert await destroyed(broker, PRINTER)
    other = await taken(broker, quick)
    last = (await broker.entries(OLD, 0))[-1][0]
    await broker.commit(quick, [Commit(other, 1, ORIGIN, last, 4, last)])
    await broker.append(OLD, {0: rows(*"efg")})
    assert await stored(broker, OLD) == [*"efg"], "a to d made room"
    (granted,) = await broker.acquire(PRINTER, "a", {0: None})
    assert isinstance(granted, Acquired)
    assert lost(granted.state) == 1, "only d, the rest was acknowledged"


async def destroyed(broker: Broker, processor: ProcessorSpec, number: int = 0) -> bool:
    """The group of a processor, by somebody who knows nothing of its lease."""
    if isinstance(broker, MemoryBroker):
        log = broker.store.log(broker.log_key(processor.stream, number))
        return log.groups.pop(processor.name, None) is not None
    client = Redis.from_url(broker.url)
    try:
        key = broker.log_key(processor.stream, number)
        return bool(await trio.to_thread.run_sync(client.xgroup_destroy, key, processor.name))
    finally:
        client.close()
