"""What both boards and programs are shown of the same overview: rates, groups, members, documents."""

from __future__ import annotations

import json

import attrs
import pytest
from depot_views import NOW, partition, stream, view, why

from runnel_trio._operate._alike import standstills
from runnel_trio._operate._documents import of_overview
from runnel_trio._operate._health import troubles
from runnel_trio._operate._overview import Overview
from runnel_trio._operate._rates import Rates


@pytest.mark.parametrize(
    ("before", "now", "seconds", "rate"),
    [
        (1000, 5000, 2.0, 2000.0),
        (1000, 1000, 2.0, 0.0),
        (5000, 1000, 2.0, 0.0),
        (1000, 5000, 0.0, None),
        (None, 5000, 2.0, None),
    ],
    ids=["more", "none", "set back", "the same moment", "no look before"],
)
def test_a_rate_is_of_two_looks_and_never_negative(
    before: int | None, now: int, seconds: float, rate: float | None
) -> None:
    later = view([partition(0)], acknowledged=now)
    earlier = None if before is None else view([partition(0)], acknowledged=before, time=NOW - seconds)
    assert Rates(earlier, later).acknowledged(later.processors[0]) == rate
    (shown,) = of_overview(later, earlier, [])["processors"]
    assert shown["rate"] == rate


def test_what_was_not_there_before_has_no_rate() -> None:
    later = view([partition(0)])
    earlier: Overview = attrs.evolve(later, time=NOW - 1, streams=[], processors=[])
    assert Rates(earlier, later).added(stream(1)) is None
    assert Rates(earlier, later).acknowledged(later.processors[0]) is None


def test_what_stands_still_is_grouped_by_reason() -> None:
    other = attrs.evolve(why(0), error="KeyError: 1", time="2027-01-15T06:00:00+00:00")
    partitions = [
        partition(0, lag=1, quarantine=why(0), owner=""),
        partition(1),
        partition(2, lag=2, quarantine=other, owner=""),
        partition(3, lag=4, quarantine=why(3), owner=""),
        attrs.evolve(partition(4, quarantine=other, owner=""), lag=None),
    ]
    (processor,) = view(partitions).processors
    first, second = standstills(processor)
    assert (first.label, first.behind, first.oldest) == ("[0, 3]", "5 behind", "oldest 30 s")
    assert (second.label, second.behind) == ("[2, 4]", "? behind")
    assert second.why == other
    assert first.since(NOW) == "60 min"


def test_a_member_says_where_it_runs_and_what_it_has() -> None:
    (member,) = view([partition(n) for n in range(2)]).processors[0].members
    assert (member.address, member.share, member.up(NOW)) == (
        "web-1.example.internal:4711",
        "2 partitions  0 behind",
        "up 2 h",
    )
    silent = attrs.evolve(member, host="", since=None)
    assert (silent.address, silent.up(NOW)) == ("w1", "")


def test_an_overview_is_a_document_of_json() -> None:
    now = view([partition(0, lag=1, quarantine=why(0), owner="")])
    document = json.loads(json.dumps(of_overview(now, None, troubles(now))))
    assert document["state"] == "standing"
    assert document["troubles"][0]["weight"] == "standing"
    assert document["processors"][0]["partitions"][0]["quarantine"]["first"] == "1700000000000-0"


def test_a_document_says_what_is_parked_and_what_is_done_ahead() -> None:
    aside = attrs.evolve(partition(0), parked_keys=2, parked=9, ahead=4)
    document = json.loads(json.dumps(of_overview(view([aside, aside]), None, [])))
    names = ("parked_keys", "parked", "ahead")
    assert [document["processors"][0][name] for name in names] == [4, 18, 8]
    assert [document["processors"][0]["partitions"][1][name] for name in names] == [2, 9, 4]
