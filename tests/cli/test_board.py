"""What people see of many partitions, at 80 columns."""

from __future__ import annotations

import attrs
import click
from depot_views import NOW, partition, view, why

from runnel_trio._broker._seen import Standing, Surveyed
from runnel_trio._cli._board import board
from runnel_trio._operate import _overview
from runnel_trio._operate._health import Typed
from runnel_trio._operate._overview import Overview
from runnel_trio.constants import Overflow


def shown(now: Overview, before: Overview | None = None, width: int = 80) -> list[str]:
    return [click.unstyle(line) for line in board(now, before, typed=Typed("shop"), width=width)]


def test_256_partitions_that_are_well_are_a_few_lines() -> None:
    lines = shown(view([partition(n) for n in range(256)]))
    assert len(lines) <= 8
    assert max(map(len, lines)) <= 80


def test_what_is_not_well_is_named_and_the_rest_is_grouped() -> None:
    partitions = [partition(n, lag=n % 3) for n in range(256)]
    partitions[3] = partition(3, lag=5, quarantine=why(3), owner="")
    partitions[7] = partition(7, lag=9, owner="")
    lines = shown(view(partitions))
    text = "\n".join(lines)
    assert "[3] stands still for 60 min: ValueError: no" in text
    assert "runnel-trio processor resume shop:mailer --partition 3" in text
    assert "[7] nobody owns it: 9 behind, oldest 30 s" in text
    assert "behind, of 254 that move: 169, the most [2] 2, [5] 2, [8] 2" in text
    assert len(lines) <= 16
    assert max(map(len, lines)) <= 80


def test_many_that_stand_still_are_written_as_runs() -> None:
    alike = shown(view([partition(n, lag=1, quarantine=why(n), owner="") for n in range(100)]))
    assert "  [0-99] stand still for 60 min: ValueError: no" in alike
    assert "      runnel-trio processor resume shop:mailer --partition 0-99" in alike
    assert len(alike) < 12
    each = [attrs.evolve(why(n), error=f"ValueError: {n}") for n in range(100)]
    lines = shown(view([partition(n, lag=1, quarantine=x, owner="") for n, x in enumerate(each)]))
    assert "  and 92 more stand still: 8-99" in lines
    assert len(lines) < 40


def test_rates_are_those_between_two_looks() -> None:
    before = view([partition(0)], acknowledged=1000, time=NOW - 2)
    now = view([partition(0)], acknowledged=5000)
    (line,) = [line for line in shown(now, before) if line.startswith("orders/mailer")]
    assert line.split()[4] == "2,000"
    (line,) = [line for line in shown(now) if line.startswith("orders/mailer")]
    assert line.split()[4] == "-"


def test_a_full_partition_is_told_with_what_becomes_of_what_is_sent() -> None:
    now = view([partition(0)])
    (stream,) = now.streams
    for overflow, then in (
        ("block", "senders will wait"),
        ("error", "refused"),
        ("trim", "the oldest events go"),
    ):
        spec = attrs.evolve(stream.spec, overflow=Overflow(overflow))
        full = attrs.evolve(stream, spec=spec, fullest=1.0)
        (line,) = [x for x in shown(attrs.evolve(now, streams=[full])) if "full" in x]
        assert then in line


def test_long_lines_are_cut_at_the_terminals_width() -> None:
    partitions = [partition(0, lag=1, quarantine=why(0), owner="")]
    assert max(map(len, shown(view(partitions), width=60))) <= 60


def test_what_an_event_has_put_into_the_text_of_an_exception_does_not_reach_the_terminal() -> None:
    hostile = Standing(
        cursor=b"1-0", lag=1, next_id=b"2-0", owner="", epoch=1, quarantine=attrs.evolve(why(0), error="E: \x1b[2J\n\u202e")
    )  # fmt: skip
    surveyed = Surveyed(number=0, length=1, entries_added=1, first_id=b"2-0", last_id=b"2-0", size=1)
    text = "\n".join(shown(view([_overview._partition(surveyed, hostile, NOW)])))
    assert r"stands still for 60 min: E: \x1b[2J\n\u202e" in text


def test_on_a_cluster_it_is_told_how_many_partitions_each_node_has() -> None:
    now = view([partition(n) for n in range(16)])
    nodes = {f"10.0.0.{n}:26379": n for n in range(1, 6)}
    spread = attrs.evolve(now, streams=[attrs.evolve(x, nodes=nodes) for x in now.streams])
    lines = shown(spread)
    assert "  on 5 nodes: 10.0.0.1:26379 1, 10.0.0.2:26379 2, 10.0.0.3:26379 3, and 2 more" in lines
    assert max(map(len, lines)) <= 80


def test_parked_keys_are_told_behind_what_stands_still_with_what_to_type() -> None:
    partitions = [attrs.evolve(partition(n), parked_keys=n, parked=10 * n) for n in range(6)]
    partitions[1] = attrs.evolve(partitions[1], quarantine=why(1), lag=1, owner="")
    lines = shown(view(partitions))
    at = lines.index("  parked: 15 keys with 150 events, the most [5] 50, [4] 40, [3] 30")
    assert lines[at + 1] == "      runnel-trio parked list shop:mailer"
    assert any("[1] stands still" in line for line in lines[:at])
    held = shown(view([attrs.evolve(partition(0), parked_keys=1)]))
    assert "  parked: 1 key" in held


def test_what_lanes_have_done_ahead_is_told() -> None:
    lines = shown(view([attrs.evolve(partition(n), ahead=n) for n in range(2)]))
    assert "  handled ahead of slower keys: 1 event, the most [1] 1" in lines
