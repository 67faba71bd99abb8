"""What is well, and what is not: the table of `_health`, a row at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from depot_views import NOW, partition, stream, view, why

from runnel_trio._broker._seen import Ending, Misfit
from runnel_trio._operate._health import Limits, Trouble, Typed, Weight, state, troubles
from runnel_trio._operate._overview import MemberView, Overview, PartitionView
from runnel_trio.constants import Overflow


def seen(*partitions: PartitionView, members: Any = None, **changes: Any) -> Overview:
    """An app with these partitions; by default there is one worker, which is two hours old."""
    one = view(list(partitions) or [partition(0)])
    if members is not None:
        one = attrs.evolve(one, processors=[attrs.evolve(one.processors[0], members=members)])
    return attrs.evolve(one, **changes)


def worker(name: str = "w1", **changes: Any) -> MemberView:
    return attrs.evolve(view([]).processors[0].members[0], id=name, **changes)


def ending(ago: float = 12.0, *, xid: str = "5-0", **changes: Any) -> Ending:
    facts: dict[str, Any] = {"stream": "orders", "processor": "mailer", "partition": 3, "xid": xid} | changes
    return Ending(error="ValueError: no", host="web-1", pid=4711, time=NOW - ago, **facts)


def waiting(number: int = 3, *, cursor: str = "4-0", age: float = 5.0, lag: int = 1) -> PartitionView:
    return attrs.evolve(partition(number, lag=lag), cursor=cursor, age=age)


def with_stream(now: Overview, **changes: Any) -> Overview:
    spec = {name: changes.pop(name) for name in ("overflow", "layout") if name in changes}
    changed = attrs.evolve(now.streams[0], **changes)
    return attrs.evolve(now, streams=[attrs.evolve(changed, spec=attrs.evolve(changed.spec, **spec))])


def paused(number: int) -> PartitionView:
    wanted = attrs.evolve(why(number), count=0, error="moving house", member="ops@desk")
    return attrs.evolve(partition(number, lag=7, owner="", quarantine=wanted), age=9e4)


def parked(number: int, keys: int, events: int) -> PartitionView:
    return attrs.evolve(partition(number), parked_keys=keys, parked=events)


def moving(age: float, *, needed: bool = True) -> Overview:
    """The stream has got other partitions, and the former ones are still there."""
    now = with_stream(seen(waiting(age=age)), layout=2, former=stream(2).spec)
    (processor,) = now.processors
    return attrs.evolve(now, processors=[attrs.evolve(processor, layout=1 if needed else 2)])


RUINED = Misfit("runnel:{shop:1}:orders:log", "string", "stream")
YOUNG = worker(since=NOW - 0.2)
DEAD = worker(overdue=3.0)
LOSSY = {"losing": [2], "overflow": Overflow.TRIM}
Row = tuple[str, Weight, Callable[[], Overview], str]
STANDING, BEHIND, NOTE = Weight.STANDING, Weight.BEHIND, Weight.NOTE
#: Kind, weight, a view in which it is so, and what is said.
ROWS: list[Row] = [
    ("misfit", STANDING, lambda: seen(misfits=[RUINED]), r"runnel:{shop:1}:orders:log: is a string, and must be a stream"),
    ("unknown", STANDING, lambda: seen(streams=[], processors=[]), "the server knows no stream of app 'shop'"),
    ("unread", STANDING, lambda: seen(processors=[]), "no processor has ever worked on what is stored"),
    ("quarantine", STANDING, lambda: seen(partition(3, lag=1, quarantine=why(3))), "1 partition stands still: 3"),
    ("unowned", STANDING, lambda: seen(partition(2, lag=1, owner="")), r"nobody owns 1 partition (2)"),
    ("unowned", STANDING, lambda: seen(waiting(age=0.1), members=[]), "no worker runs, and events wait in 1 partition (3)"),
    ("unowned", STANDING, lambda: seen(waiting(age=0.1), members=[DEAD]), "no worker runs, and events wait in"),
    ("unowned", STANDING, lambda: seen(waiting(age=16), members=[DEAD, worker("w2")]), "nobody owns 1 partition (3)"),
    (
        "no-cursor",
        STANDING,
        lambda: seen(partition(1), attrs.evolve(partition(2, lag=9, owner=""), begun=False)),
        "nobody owns 1 partition (2), where its consumer group is missing",
    ),
    ("no-leader", STANDING, lambda: seen(led=2, leader=None), "2 functions wait for a lead worker, and there is none"),
    (
        "crash-loop",
        STANDING,
        lambda: seen(waiting(), endings=[ending(n) for n in (12, 40, 70)]),
        "workers end again and again, 3 within 70 s; the last ended 12 s ago: ValueError: no; in orders[3], event 5-0, web-1:4711",
    ),
    ("young", BEHIND, lambda: seen(waiting(age=43), members=[YOUNG]), "no worker is up for longer than 0.2 s, and an event"),
    ("ended", BEHIND, lambda: seen(waiting(), endings=[ending()]), "a worker ended 12 s ago: ValueError: no; in orders[3], event 5-0, web-1:4711"),
    (
        "ended",
        BEHIND,
        lambda: seen(endings=[ending(processor="", stream="", partition=None, xid="")]),
        "shop: a worker ended 12 s ago: ValueError: no; web-1:4711",
    ),
    ("old", BEHIND, lambda: seen(waiting(age=14, lag=4466)), "the oldest event waits for 14 s, more than 10 s"),
    ("full", BEHIND, lambda: with_stream(seen(), full=[0, 1]), "2 partitions (0-1) without room: who sends there waits"),
    ("full", BEHIND, lambda: with_stream(seen(), full=[0], overflow=Overflow.ERROR), "what is sent is refused"),
    ("losing", BEHIND, lambda: with_stream(seen(), **LOSSY), "events went before they were handled, of 1 partition (2)"),
    ("repartition", BEHIND, lambda: moving(1.0, needed=False), "its 2 former partitions are not needed any more, and not gone"),
    ("repartition", BEHIND, lambda: moving(11.0), "its 2 former partitions are still needed by mailer"),
    ("repartition", NOTE, lambda: moving(1.0), "its 2 former partitions are still needed by mailer"),
    ("versions", BEHIND, lambda: seen(members=[worker(), worker("w2", version="0.2.0")]), "2 versions of runnel-trio: 0.1.0, 0.2.0"),
    ("versions", NOTE, lambda: seen(members=[worker(), worker("w2", version="0.2.0", since=NOW - 60)]), "2 versions"),
    ("paused", NOTE, lambda: seen(*map(paused, range(16))), "16 partitions are paused: 0-15; 112 events wait"),
    ("parked", NOTE, lambda: seen(parked(3, 2, 1200), parked(5, 1, 0)), "3 keys are parked, with 1,200 events"),
    ("parked", NOTE, lambda: seen(parked(3, 1, 0)), "orders/mailer: 1 key is parked"),
    ("ended", NOTE, lambda: seen(waiting(), endings=[ending(301)]), "a worker ended 5 min ago"),
    ("ended", NOTE, lambda: seen(waiting(cursor="5-0"), endings=[ending(n) for n in (1, 2, 3)]), "a worker ended 1.0 s ago"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "weight", "make", "said"), ROWS, ids=[f"{x[0]}-{x[1].name}-{n}" for n, x in enumerate(ROWS)])  # fmt: skip
def test_each_trouble_is_told_with_its_weight(
    kind: str, weight: Weight, make: Callable[[], Overview], said: str
) -> None:
    found = troubles(make())
    (mine,) = [x for x in found if x.kind == kind]
    assert mine.weight is weight
    assert said in mine.line
    assert state(found) >= weight


def test_every_row_of_the_table_is_shown_here() -> None:
    import runnel_trio._operate._health as health

    rows = [line.split()[:2] for line in str(health.__doc__).splitlines()[8:] if line and "===" not in line]
    shown = {(kind, weight.name.lower()) for kind, weight, _, _ in ROWS} | {("lag", "behind")}
    assert {(kind, weight) for kind, weight in rows} == shown


@pytest.mark.parametrize(
    "now",
    [
        seen(),
        seen(waiting(age=9.9, lag=4466)),
        seen(members=[]),
        seen(members=[YOUNG]),
        seen(waiting(age=14), members=[YOUNG, worker("w2")]),
        seen(partition(1), attrs.evolve(partition(2, owner=""), begun=False)),
        seen(led=2),
        with_stream(seen(), fullest=1.0),
    ],
    ids=["idle", "at-work", "nobody-and-nothing-to-do", "begun", "grown", "never-used", "led", "nearly-full"],
)
def test_what_is_well_has_no_trouble(now: Overview) -> None:
    assert [x for x in troubles(now, Limits(age=15.0)) if x.weight] == []


def test_what_may_wait_is_said_by_the_limits() -> None:
    now = seen(waiting(age=14, lag=4466))
    assert troubles(now, Limits(age=15)) == []
    (lag,) = troubles(now, Limits(age=15, lag=4465))
    assert (lag.kind, lag.weight, lag.text) == ("lag", Weight.BEHIND, "4,466 events behind, more than 4,465")


def test_what_stands_still_because_somebody_wants_it_is_not_old() -> None:
    found = troubles(seen(*map(paused, range(16))))
    assert [(x.kind, x.weight) for x in found] == [("paused", Weight.NOTE)]
    assert state(found) is Weight.NOTE


def test_many_that_stand_still_alike_have_one_command() -> None:
    (found,) = troubles(seen(*map(paused, (0, 1, 2, 5))), typed=Typed("shop", " --embedded=data"))
    assert found.remedy == "runnel-trio processor resume shop:mailer --partition 0-2,5 --embedded=data"
    assert found.partitions == [0, 1, 2, 5]


def test_the_heaviest_comes_first() -> None:
    now = seen(paused(0), waiting(1, age=20), partition(3, lag=1, quarantine=why(3)), misfits=[RUINED] * 9)
    found = troubles(now)
    assert [x.kind for x in found] == [*["misfit"] * 6, "quarantine", "old", "paused"]
    assert all(isinstance(x, Trouble) for x in found)
