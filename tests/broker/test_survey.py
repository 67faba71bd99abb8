"""What people see who look: streams by their names, and where processors stand in each partition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import trio

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._seen import ENDINGS, Ending
from runnel_trio._broker._values import AppSpec, Batch, Beat, Commit, ProcessorSpec, Quarantine, StreamSpec
from runnel_trio.constants import Overflow

Opened = Callable[..., Any]


def spec(name: str = "orders", **changes: Any) -> StreamSpec:
    values = {
        "app": "a*pp", "name": name, "partition_count": 3, "record": "Order", "hasher": "blake3",
        "partition_size": 100, "overflow": Overflow.BLOCK,
    }  # fmt: skip
    return StreamSpec(**{**values, **changes})


async def test_the_streams_of_an_app_are_those_that_were_declared(broker: Broker) -> None:
    assert await broker.streams("a*pp") == []
    later = spec("z", partition_size=7, overflow=Overflow.TRIM)
    for stream in (later, spec(), spec(app="other"), spec(app="abpp")):
        await broker.declare(stream)
    assert list(await broker.streams("a*pp")) == [spec(), later]
    changed = attrs.evolve(later, partition_size=9)
    await broker.declare(changed)
    assert list(await broker.streams("a*pp")) == [spec(), changed]


async def test_a_stream_that_nobody_has_sent_to_is_empty(broker: Broker) -> None:
    await broker.declare(spec())
    found = await broker.survey(spec())
    assert [(x.number, x.length, x.entries_added, x.size, x.processors) for x in found] == [
        (number, 0, 0, 0, {}) for number in range(3)
    ]


async def test_a_survey_says_where_each_processor_stands(broker: Broker) -> None:
    stream = spec()
    one, two = (ProcessorSpec(stream=stream, name=name) for name in ("one", "two"))
    values = [b"1", b"2", b"3"]
    await broker.append(stream, {1: Batch((b"data",), values)})
    (mine,) = await broker.acquire(one, "me", {1: None})
    await broker.acquire(two, "you", {1: None})
    entries = await broker.entries(stream, 1)
    lease: Any = mine.lease  # type: ignore[union-attr]
    await broker.commit(one, [Commit(lease, 1, b"0-0", entries[0][0], 1, entries[2][0])])
    why = Quarantine(
        partition=1,
        first=entries[1][0],
        last=entries[1][0],
        count=1,
        error="ValueError: no",
        traceback="",
        time="2026-01-01T00:00:00+00:00",
        member="me",
    )
    assert await broker.quarantine(one, lease, why)
    surveyed = (await broker.survey(stream))[1]
    assert (surveyed.length, surveyed.entries_added, surveyed.last_id) == (3, 3, entries[2][0])
    assert surveyed.size > 3
    standing = surveyed.processors["one"]
    assert (standing.cursor, standing.lag, standing.next_id) == (entries[0][0], 2, entries[1][0])
    assert (standing.owner, standing.epoch, standing.quarantine) == ("", lease.epoch, why)
    other = surveyed.processors["two"]
    assert (other.cursor, other.lag, other.next_id) == (b"0-0", 3, entries[0][0])
    assert (other.owner, other.quarantine) == ("you", None)


async def test_what_has_ended_workers_is_kept_the_last_first_and_no_more_than_a_few(broker: Broker) -> None:
    app = AppSpec("a*pp")
    assert (await broker.muster(app)).endings == ()
    before = await broker.time()
    for number in range(ENDINGS + 3):
        await broker.ended(app.name, Ending(error=f"ValueError: {number}\nin ⛵", partition=number, pid=7))
    found = (await broker.muster(app)).endings
    assert [x.partition for x in found] == [*range(ENDINGS + 2, 2, -1)]
    first, *_ = found
    assert first == Ending(error="ValueError: 18\nin ⛵", partition=18, pid=7, time=first.time)
    assert before - 0.001 <= first.time <= await broker.time()
    assert (await broker.muster(AppSpec("other"))).endings == ()


async def test_who_is_overdue_counts_as_dead_until_somebody_removes_it(broker: Broker) -> None:
    party = ProcessorSpec(stream=spec(), name="one")
    await broker.beat(Beat(party=party, member="well", expiry=600, about="{}"))
    await broker.beat(Beat(party=party, member="dead", expiry=0.01, about="{}"))
    with trio.fail_after(30):
        while not (found := await broker.muster(party)).overdue:
            await trio.sleep(0.01)
    assert [x.id for x in found.membership.members] == ["well", "dead"]
    assert set(found.overdue) == {"dead"}
    assert found.overdue["dead"] > 0
    assert found.membership == await broker.members(party)
