"""Members, plans, leases and what goes with them: both brokers, one suite."""

from __future__ import annotations

import attrs
import pytest
import trio

from runnel_trio._broker import open_broker
from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import (
    Acquired,
    AppSpec,
    Batch,
    Beat,
    Commit,
    CommitOutcome,
    Held,
    Membership,
    Output,
    Party,
    ProcessorSpec,
    Quarantine,
    ServerConfig,
    StreamSpec,
)
from runnel_trio._rules._cursor import ORIGIN
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import BrokerUnavailable

STREAM = StreamSpec(
    app="app", name="orders", partition_count=4, record="Order", hasher="blake3", partition_size=6,
    overflow=Overflow.BLOCK,
)  # fmt: skip
SINK = attrs.evolve(STREAM, name="dead", partition_size=2)
PROCESSOR = ProcessorSpec(stream=STREAM, name="printer")
OTHER = ProcessorSpec(stream=STREAM, name="other")


def names(view: Membership) -> list[str]:
    return [member.id for member in view.members]


def beat(member: str, expiry: float = 60, party: Party = PROCESSOR, **others: object) -> Beat:
    return Beat(party, member, expiry, "{}", **others)  # type: ignore[arg-type]  # as given


async def acquired(broker: Broker, member: str = "a", number: int = 0) -> Acquired:
    (granted,) = await broker.acquire(PROCESSOR, member, {number: None})
    assert isinstance(granted, Acquired)
    return granted


async def sent(broker: Broker, *values: bytes, stream: StreamSpec = STREAM) -> list[bytes]:
    await broker.append(stream, {0: Batch((b"data",), values)})
    return [xid for xid, _ in await broker.entries(stream, 0)]


async def stored(broker: Broker, stream: StreamSpec = STREAM) -> list[bytes]:
    return [fields[1] for _, fields in await broker.entries(stream, 0)]


async def told(broker: Broker, view: Membership) -> list[tuple[bytes, ...]]:
    reader = broker.control(PROCESSOR, 0.05)
    found = await reader.read({0: view.news}, 100)
    await reader.aclose()
    return [tuple(fields) for _, fields in found.get(0, ())]


def quarantine(first: bytes, last: bytes | None = None, count: int = 1) -> Quarantine:
    return Quarantine(
        partition=0, first=first, last=last or first, count=count, error="ValueError: no",
        traceback="…", time="2026-01-01T00:00:00+00:00", member="a",
    )  # fmt: skip


# Members


@pytest.mark.parametrize("party", [PROCESSOR, AppSpec("app")], ids=["processor", "app"])
async def test_members_come_and_go_in_the_order_of_joining(broker: Broker, party: Party) -> None:
    first = await broker.beat(beat("b", party=party))
    second = await broker.beat(beat("a", party=party))
    assert names(second) == ["b", "a"]
    assert second.joined_as > first.joined_as
    assert second.generation > first.generation
    again = await broker.beat(beat("b", party=party))
    assert (again.generation, again.joined_as) == (second.generation, first.joined_as)
    assert again.members[0].beat > second.members[0].beat
    await broker.leave(party, "b")
    third = await broker.beat(beat("a", party=party))
    assert names(third) == ["a"]
    assert third.generation > second.generation


async def test_parties_have_nothing_to_do_with_each_other(broker: Broker) -> None:
    await broker.beat(beat("a"))
    for party in (OTHER, AppSpec("app"), AppSpec("another")):
        assert names(await broker.beat(beat("c", party=party))) == ["c"]


async def test_who_only_looks_is_no_member_and_sees_the_same(broker: Broker) -> None:
    assert names(await broker.members(PROCESSOR)) == []
    view = await broker.beat(beat("a"))
    seen = await broker.members(PROCESSOR)
    assert seen == attrs.evolve(view, joined_as=0)


async def test_a_member_that_stops_beating_is_removed(broker: Broker) -> None:
    await broker.beat(beat("a", 0.05))
    with trio.fail_after(60):
        while names(await broker.beat(beat("b"))) != ["b"]:
            await trio.lowlevel.checkpoint()


async def test_a_member_that_was_removed_comes_back_with_another_place(broker: Broker) -> None:
    first = await broker.beat(beat("a", 0.05))
    await trio.sleep(0.1)
    await broker.beat(beat("b"))
    again = await broker.beat(beat("a"))
    assert names(again) == ["b", "a"]
    assert again.joined_as > first.joined_as


async def test_a_late_member_that_nobody_has_missed_keeps_its_place(broker: Broker) -> None:
    first = await broker.beat(beat("a", 0.05))
    await trio.sleep(0.1)
    again = await broker.beat(beat("a"))
    assert (again.joined_as, again.generation) == (first.joined_as, first.generation)


async def test_a_suspect_is_removed_unless_it_has_made_a_beat_since(broker: Broker) -> None:
    await broker.beat(beat("a"))
    seen = (await broker.beat(beat("b"))).members[0].beat
    await broker.beat(beat("a"))
    assert names(await broker.beat(beat("b", suspects={"a": seen}))) == ["a", "b"]
    assert names(await broker.beat(beat("b", suspects={"a": seen + 1}))) == ["b"]


async def test_a_leaving_member_stays_one_and_is_seen_to_leave(broker: Broker) -> None:
    before = await broker.beat(beat("a"))
    view = await broker.beat(beat("a", leaving=True))
    assert view.members[0].leaving
    assert view.generation > before.generation
    assert (await broker.beat(beat("a", leaving=True))).generation == view.generation


async def test_what_a_member_says_after_it_left_does_not_bring_it_back(broker: Broker) -> None:
    await broker.beat(beat("a"))
    await broker.leave(PROCESSOR, "a")
    view = await broker.beat(beat("a", leaving=True))
    assert (names(view), view.joined_as) == ([], 0)


async def test_a_heartbeat_from_a_thread_is_one_until_it_is_interrupted() -> None:
    async with open_broker(ServerConfig("embedded://")) as server:
        pulse = server.pulse()
        assert pulse is not None
        (view,) = await trio.to_thread.run_sync(pulse.send, [beat("a")])
        assert names(view) == ["a"]
        assert attrs.evolve(view, joined_as=0) == await server.members(PROCESSOR)
        pulse.interrupt()
        with pytest.raises(BrokerUnavailable, match="closed"):
            await trio.to_thread.run_sync(pulse.send, [beat("a")])


# Plans and news


async def test_the_first_plan_of_a_generation_holds(broker: Broker) -> None:
    view = await broker.beat(beat("a"))
    await broker.plan(PROCESSOR, view.generation, {"a": (0, 1, 2, 3)})
    await broker.plan(PROCESSOR, view.generation, {"a": ()})
    planned = await broker.members(PROCESSOR)
    assert (planned.planned, planned.plan) == (view.generation, {"a": (0, 1, 2, 3)})


async def test_a_plan_for_members_that_are_no_more_is_not_stored(broker: Broker) -> None:
    view = await broker.beat(beat("a"))
    await broker.beat(beat("b"))
    await broker.plan(PROCESSOR, view.generation, {"a": (0, 1, 2, 3)})
    assert (await broker.members(PROCESSOR)).plan == {}


async def test_members_without_partitions_are_in_the_plan_too(broker: Broker) -> None:
    view = await broker.beat(beat("a"))
    await broker.plan(PROCESSOR, view.generation, {"a": (0,), "b": ()})
    assert (await broker.members(PROCESSOR)).plan == {"a": (0,), "b": ()}


async def test_every_change_is_told(broker: Broker) -> None:
    view = await broker.beat(beat("a"))
    await broker.plan(PROCESSOR, view.generation, {"a": (0, 1)})
    await broker.beat(beat("b"))
    await broker.leave(PROCESSOR, "b")
    assert [what for what, _ in await told(broker, view)] == [b"changed"] * 3
    now = await broker.beat(beat("a"))
    assert await told(broker, now) == []


async def test_a_release_is_told_with_its_partitions(broker: Broker) -> None:
    view = await broker.beat(beat("a"))
    first, second = await acquired(broker, number=1), await acquired(broker, number=3)
    await broker.release(PROCESSOR, [first.lease, second.lease])
    assert await told(broker, view) == [(b"released", b"1 3")]


# Leases


async def test_a_lease_says_whether_the_owner_before_gave_it_up(broker: Broker) -> None:
    first = await acquired(broker)
    assert first.clean
    (held,) = await broker.acquire(PROCESSOR, "b", {0: None})
    assert isinstance(held, Held)
    (taken,) = await broker.acquire(PROCESSOR, "b", {0: held})
    assert isinstance(taken, Acquired)
    assert not taken.clean
    again = await acquired(broker, "b")
    assert not again.clean, "the answer before may have been lost"
    await broker.release(PROCESSOR, [again.lease])
    assert (await acquired(broker, "c")).clean


async def test_an_attempt_tells_the_next_owner_and_goes_with_a_clean_release(broker: Broker) -> None:
    first = await acquired(broker)
    assert first.attempts == (ORIGIN, 0)
    assert await broker.mark_attempt(PROCESSOR, first.lease, b"5-1", 2)
    (held,) = await broker.acquire(PROCESSOR, "b", {0: None})
    assert isinstance(held, Held)
    (taken,) = await broker.acquire(PROCESSOR, "b", {0: held})
    assert isinstance(taken, Acquired)
    assert taken.attempts == (b"5-1", 2)
    assert not await broker.mark_attempt(PROCESSOR, first.lease, b"5-1", 3)
    await broker.release(PROCESSOR, [taken.lease])
    assert (await acquired(broker, "c")).attempts == (ORIGIN, 0)


# Outputs


def output(*values: bytes, stream: StreamSpec = SINK) -> Output:
    return Output(stream, 0, Batch((b"data",), values))


async def test_a_commit_stores_its_outputs_once(broker: Broker) -> None:
    (xid,) = await sent(broker, b"one")
    granted = await acquired(broker)
    commit = Commit(granted.lease, 1, ORIGIN, xid, 1, xid, [output(b"x", b"y")])
    for _ in range(2):
        assert await broker.commit(PROCESSOR, [commit]) == [CommitOutcome.COMMITTED]
    assert await stored(broker, SINK) == [b"x", b"y"]


@pytest.mark.parametrize("refusal", [CommitOutcome.FENCED, CommitOutcome.REWOUND])
async def test_a_refused_commit_stores_no_output(broker: Broker, refusal: CommitOutcome) -> None:
    first, second = await sent(broker, b"one", b"two")
    granted = await acquired(broker)
    lease = granted.lease
    if refusal is CommitOutcome.FENCED:
        lease = attrs.evolve(lease, epoch=lease.epoch - 1)
    previous = first if refusal is CommitOutcome.REWOUND else ORIGIN
    commit = Commit(lease, 1, previous, second, 2, second, [output(b"x")])
    assert await broker.commit(PROCESSOR, [commit]) == [refusal]
    assert await stored(broker, SINK) == []


async def test_a_commit_whose_output_has_no_room_does_nothing(broker: Broker) -> None:
    (xid,) = await sent(broker, b"one")
    granted = await acquired(broker)
    commit = Commit(granted.lease, 1, ORIGIN, xid, 1, xid, [output(b"x", b"y", b"z")])
    assert await broker.commit(PROCESSOR, [commit]) == [CommitOutcome.FULL]
    assert await stored(broker, SINK) == []
    (state,) = await broker.log_states(PROCESSOR, [0])
    assert state is not None
    assert state.cursor == ORIGIN


async def test_what_every_reader_of_an_output_has_passed_makes_room_for_more(broker: Broker) -> None:
    first, second = await sent(broker, b"one", b"two")
    lease = (await acquired(broker)).lease
    reading = ProcessorSpec(stream=SINK, name="reader")
    (theirs,) = await broker.acquire(reading, "r", {0: None})
    assert isinstance(theirs, Acquired)
    filling = Commit(lease, 1, ORIGIN, first, 1, first, [output(b"x", b"y")])
    assert await broker.commit(PROCESSOR, [filling]) == [CommitOutcome.COMMITTED]
    more = Commit(lease, 2, first, second, 2, second, [output(b"z")])
    assert await broker.commit(PROCESSOR, [more]) == [CommitOutcome.FULL]
    (oldest, *_) = await broker.entries(SINK, 0, after=ORIGIN, count=1)
    passed = Commit(theirs.lease, 1, ORIGIN, oldest[0], 1, oldest[0])
    assert await broker.commit(reading, [passed]) == [CommitOutcome.COMMITTED]
    assert await broker.commit(PROCESSOR, [more]) == [CommitOutcome.COMMITTED]
    assert await stored(broker, SINK) == [b"y", b"z"]


async def test_outputs_to_one_partition_are_judged_together(broker: Broker) -> None:
    (xid,) = await sent(broker, b"one")
    lease = (await acquired(broker)).lease
    commit = Commit(lease, 1, ORIGIN, xid, 1, xid, [output(b"x", b"y"), output(b"z")])
    assert await broker.commit(PROCESSOR, [commit]) == [CommitOutcome.FULL]
    assert await stored(broker, SINK) == []


# Quarantine


async def test_a_quarantined_partition_is_given_to_nobody_until_it_is_resumed(broker: Broker) -> None:
    view = await broker.beat(beat("a"))
    (xid,) = await sent(broker, b"one")
    granted = await acquired(broker)
    why = quarantine(xid)
    assert await broker.quarantine(PROCESSOR, granted.lease, why)
    assert await broker.quarantine(PROCESSOR, granted.lease, why), "said again, it holds"
    assert await broker.acquire(PROCESSOR, "b", {0: None, 1: None}) != []
    assert (await broker.acquire(PROCESSOR, "b", {0: None}))[0] == why
    assert await broker.quarantined(PROCESSOR, [0, 1]) == [why, None]
    assert await broker.resume(PROCESSOR, why, skip=False) is CommitOutcome.COMMITTED
    assert (b"released", b"0") in await told(broker, view)
    assert (await acquired(broker, "b")).state.cursor == ORIGIN


async def test_a_quarantine_by_an_owner_that_was_replaced_is_refused(broker: Broker) -> None:
    (xid,) = await sent(broker, b"one")
    granted = await acquired(broker)
    await broker.release(PROCESSOR, [granted.lease])
    assert not await broker.quarantine(PROCESSOR, granted.lease, quarantine(xid))
    assert await broker.quarantined(PROCESSOR, [0]) == [None]


async def test_what_failed_can_be_skipped_with_exact_lag(broker: Broker) -> None:
    first, second, _ = await sent(broker, b"one", b"two", b"three")
    granted = await acquired(broker)
    why = quarantine(first, second, 2)
    await broker.quarantine(PROCESSOR, granted.lease, why)
    assert await broker.resume(PROCESSOR, why, skip=True, outputs=[output(b"x")]) is CommitOutcome.COMMITTED
    assert await broker.resume(PROCESSOR, why, skip=True) is CommitOutcome.FENCED
    state = (await acquired(broker, "b")).state
    assert (state.cursor, state.entries_read, state.entries_added) == (second, 2, 3)
    assert await stored(broker, SINK) == [b"x"]


async def test_only_the_quarantine_that_was_seen_is_lifted(broker: Broker) -> None:
    first, second = await sent(broker, b"one", b"two")
    granted = await acquired(broker)
    await broker.quarantine(PROCESSOR, granted.lease, quarantine(first))
    assert await broker.resume(PROCESSOR, quarantine(second), skip=False) is CommitOutcome.FENCED
    assert await broker.quarantined(PROCESSOR, [0]) == [quarantine(first)]


async def test_skipping_is_refused_when_the_cursor_is_elsewhere(broker: Broker) -> None:
    _, second = await sent(broker, b"one", b"two")
    granted = await acquired(broker)
    why = quarantine(second)
    await broker.quarantine(PROCESSOR, granted.lease, why)
    assert await broker.resume(PROCESSOR, why, skip=True) is CommitOutcome.REWOUND


# Operators


@pytest.mark.parametrize("start", ["0", "middle", "$"])
async def test_a_cursor_is_set_with_exact_lag(broker: Broker, start: str) -> None:
    xids = await sent(broker, b"one", b"two", b"three")
    after, lag = {"0": (ORIGIN, 3), "middle": (xids[0], 2), "$": (xids[2], 0)}[start]
    given = b"$" if start == "$" else after
    (would,) = await broker.rewind(PROCESSOR, {0: given}, dry_run=True)
    assert await broker.log_states(PROCESSOR, [0]) == [None]
    (did,) = await broker.rewind(PROCESSOR, {0: given}, dry_run=False)
    assert did == would
    assert (did.before, did.after, did.lag_before, did.lag_after) == (None, after, -1, lag)
    (state,) = await broker.log_states(PROCESSOR, [0])
    assert state is not None
    assert (state.cursor, state.entries_added - state.entries_read) == (after, lag)


async def test_setting_a_cursor_lifts_the_quarantine_and_says_what_was(broker: Broker) -> None:
    (xid,) = await sent(broker, b"one")
    granted = await acquired(broker)
    await broker.quarantine(PROCESSOR, granted.lease, quarantine(xid))
    (did,) = await broker.rewind(PROCESSOR, {0: b"$"}, dry_run=False)
    assert (did.before, did.after, did.lag_before, did.lag_after) == (ORIGIN, xid, 1, 0)
    assert await broker.quarantined(PROCESSOR, [0]) == [None]


async def test_entries_are_moved_or_removed_as_a_whole(broker: Broker) -> None:
    first, second = await sent(broker, b"one", b"two", stream=SINK)
    moved = output(b"one", stream=STREAM)
    assert await broker.transfer(SINK, 0, first, moved) is CommitOutcome.COMMITTED
    assert await broker.transfer(SINK, 0, first, moved) is CommitOutcome.REWOUND
    assert (await stored(broker), await stored(broker, SINK)) == ([b"one"], [b"two"])
    assert await broker.remove(SINK, 0, [first, second]) == 1
    assert await stored(broker, SINK) == []


async def test_entries_are_read_behind_an_id(broker: Broker) -> None:
    first, second, third = await sent(broker, b"one", b"two", b"three")
    assert [xid for xid, _ in await broker.entries(STREAM, 0, after=first)] == [second, third]
    assert [xid for xid, _ in await broker.entries(STREAM, 0, after=first, count=1)] == [second]


async def test_a_pause_holds_until_it_is_lifted_and_is_told(broker: Broker) -> None:
    mine = await acquired(broker)
    why = Quarantine(
        partition=0,
        first=ORIGIN,
        last=ORIGIN,
        count=0,
        error="because",
        traceback="",
        time="2026-01-01T00:00:00+00:00",
        member="ops",
    )
    other = attrs.evolve(why, partition=1)
    before = (await broker.members(PROCESSOR)).news
    assert list(await broker.pause(PROCESSOR, [why, other])) == [True, True]
    assert list(await broker.pause(PROCESSOR, [attrs.evolve(why, error="again")])) == [False]
    assert list(await broker.quarantined(PROCESSOR, [0, 1, 2])) == [why, other, None]
    reader = broker.control(PROCESSOR, 0.1)
    with trio.fail_after(60):
        found = (await reader.read({0: before}, 10))[0]
    await reader.aclose()
    assert tuple(found[0][1]) == (b"paused", b"0 1")
    await broker.release(PROCESSOR, [mine.lease])
    (again,) = await broker.acquire(PROCESSOR, "b", {0: None})
    assert again == why
    assert await broker.resume(PROCESSOR, why, skip=False) is CommitOutcome.COMMITTED
    (granted,) = await broker.acquire(PROCESSOR, "b", {0: None})
    assert isinstance(granted, Acquired)


async def test_what_is_forgotten_begins_anew(broker: Broker) -> None:
    ids = await sent(broker, b"1", b"2")
    mine = await acquired(broker)
    await broker.commit(PROCESSOR, [Commit(mine.lease, 1, ORIGIN, ids[0], 1, ids[1])])
    assert await broker.forget(PROCESSOR) == 1
    assert await broker.log_states(PROCESSOR, [0]) == [None]
    assert (await broker.members(PROCESSOR)).members == ()
    anew = await acquired(broker, "b")
    assert anew.state.cursor == ORIGIN
    assert (await broker.survey(STREAM))[0].processors["printer"].lag == 2
