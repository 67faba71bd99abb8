"""`top` at a terminal: it shows, listens to keys, and leaves the terminal as it was."""

from __future__ import annotations

import re
import signal
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from depot_views import MODULE, NOW, Item, partition, view, why

from runnel_trio import App
from runnel_trio._broker._seen import Ending
from runnel_trio._cli._screen import History, screen, sparkline
from runnel_trio._operate._overview import Overview
from runnel_trio.testing import drained


@pytest.fixture
def depot(tmp_path: Path) -> str:
    """The URL of a server with six events that were counted."""
    (tmp_path / "depot.py").write_text(MODULE)
    url = f"embedded://{tmp_path / 'data'}"
    app = App("depot", default_partition_count=4, redis_url=url)
    items = app.stream("items", Item, partition_by="key")

    @app.processor(items)
    async def count(events: Any) -> None:
        async for _ in events.records():
            pass

    async def work() -> None:
        async with app.worker():
            await items.send(*(Item(key=key, n=n) for key in "ab" for n in range(3)))
            await drained(app, within=60)

    trio.run(work)
    return url


def test_it_shows_and_q_leaves_the_terminal_as_it_was(depot: str, terminal: Callable[..., Any]) -> None:
    at = terminal("top", "--app", "depot", "--redis-url", depot, "--interval", "0.2")
    before = termios.tcgetattr(at.descriptor)
    shown = at.shows("q quit")
    assert "\x1b[?1049h" in shown
    assert "items/count" in shown
    at.types("q")
    code, rest = at.ends()
    assert code == 0
    assert "\x1b[?1049l" in rest
    assert "\x1b[?25h" in rest
    assert termios.tcgetattr(at.descriptor)[3] == before[3] | termios.ECHO | termios.ICANON


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_the_terminal_as_it_was(
    number: int, depot: str, terminal: Callable[..., Any]
) -> None:
    at = terminal("top", "depot:app", "--redis-url", depot, "--interval", "0.2")
    at.shows("q quit")
    at.process.send_signal(number)
    code, rest = at.ends()
    assert code == 0
    assert "\x1b[?1049l" in rest


def test_keys_pause_and_resume_what_is_chosen(depot: str, terminal: Callable[..., Any]) -> None:
    at = terminal("top", "--app", "depot", "--redis-url", depot, "--interval", "0.2")
    at.shows("q quit")
    at.types("p")
    at.shows(r"Pause count\? y or n")
    at.types("n")
    at.shows("q quit")
    at.types("p")
    at.shows(r"Pause count\? y or n")
    at.types("y")
    at.shows(r"Paused for count: 4 partitions of items: 0-3")
    at.shows("all else is well")
    at.types("r")
    at.shows(r"Resume what stands still of count\? y or n")
    at.types("y")
    at.shows(r"Resumed for count: 4 partitions of items")
    at.types("q")
    assert at.ends()[0] == 0


#: What means nothing here, and has an ESC, a q or a p and a y in it.
MEANINGLESS = [
    "\x1b[H",
    "\x1bOP",
    "\x1b[1;5A",
    "\x1b[3~",
    "\x1bq",
    "\x1b[200~pyq\x1b[201~",
    "\x1b[<0;1;2M",
    "é",
]


def test_keys_that_mean_nothing_do_nothing_and_many_in_one_read_are_as_many(
    depot: str, terminal: Callable[..., Any]
) -> None:
    at = terminal("top", "depot:app", "--redis-url", depot, "--interval", "0.2")
    assert "\x1b[?2004h" in at.shows("q quit")
    at.shows("partitions of items/count")
    at.types("".join(MEANINGLESS) + "\x1b[B")
    at.shows("partitions of items/never_run")
    for half in ("\x1b", "[", "A"):
        at.types(half)
    at.shows("partitions of items/count")
    at.types("\x1b[B\x1b[B\x1b[B")
    at.shows("partitions of items/never_run")
    at.types("py")  # at once: nobody has seen the question
    at.shows(r"Pause never_run\? y or n")
    at.types("\x1b[Hn")
    at.shows("q quit")
    at.types("\x1b")
    code, rest = at.ends()
    assert code == 0
    assert "\x1b[?2004l" in rest
    assert "Paused" not in rest


def test_without_a_terminal_it_says_what_to_use(depot: str, command: Callable[..., Any]) -> None:
    done = command("top", "--app", "depot", "--redis-url", depot)
    assert done.returncode == 2
    assert "there is `runnel-trio status`" in done.stderr


def texts(lines: Any) -> list[str]:
    return ["".join(part for part, _ in line) for line in lines]


def shown(*views: Overview) -> list[str]:
    """The screen after these looks, as text."""
    history = History()
    for one in views:
        history.add(one)
    return texts(screen(views[-1], history, chosen=0, width=80, height=24))


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50), (60, 12)])
def test_a_screen_is_as_large_as_the_terminal(width: int, height: int) -> None:
    partitions = [partition(n, lag=n % 2, owner="w1" if n % 5 else "") for n in range(256)]
    partitions[9] = partition(9, lag=3, quarantine=why(9), owner="")
    lines = texts(screen(view(partitions), History(), chosen=0, width=width, height=height))
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert lines[-1].startswith("↑↓ choose")


def test_parked_keys_and_what_is_done_ahead_stand_behind_what_stands_still() -> None:
    aside = attrs.evolve(partition(0), parked_keys=2, parked=9, ahead=4)
    lines = shown(view([aside, partition(1, lag=1, quarantine=why(1), owner="")]))
    at = lines.index("parked: 2 keys with 9 events, the most [0] 9")
    assert lines[at - 1].startswith("[1] ValueError: no")
    assert lines[at + 1] == "handled ahead of slower keys: 4 events, the most [0] 4"
    assert "orders/mailer: 2 keys are parked, with 9 events" in lines


def test_the_map_has_a_letter_for_each_partition() -> None:
    partitions = [partition(n) for n in range(20)]
    partitions[3] = partition(3, lag=1, quarantine=why(3), owner="")
    partitions[4] = partition(4, lag=1, owner="")
    lines = shown(view(partitions))
    (cells,) = [line for line in lines if line.startswith("    0 ")]
    assert cells == "    0 AAA!·AAA AAAAAAAA AAAA"
    assert any(line.startswith("A  web-1.example.internal:4711  20 partitions") for line in lines)
    assert any(line.startswith("[3] ValueError: no  1 behind") for line in lines)
    assert lines[1:3] == [
        "orders/mailer: 1 partition stands still: 3",
        "orders/mailer: nobody owns 1 partition (4)",
    ]


def test_what_is_well_is_told_by_the_definition_of_status() -> None:
    assert shown(view([partition(0)]))[1] == "all is well"
    old = shown(view([partition(0, lag=4466)]))
    assert old[1] == "orders/mailer: the oldest event waits for 30 s, more than 10 s"
    assert not any("well" in line for line in old)
    told = "too long " * 60
    long = attrs.evolve(view([partition(0)]), app="shop", endings=[Ending(error=told, time=NOW - 5)])
    assert [len(line) <= 80 for line in shown(long)[1:4]] == [True] * 3
    assert shown(long)[2].startswith("  long too long")
    assert shown(long)[4] == ""
    many = shown(view([partition(n, lag=1, quarantine=why(n), owner="") for n in range(16)]))
    assert any(line.startswith("[0-15] ValueError: no  16 behind") for line in many)


def with_members(*ids: str, beat: int, time: float) -> Overview:
    """A look at partitions of which each of them has one."""
    one = view([partition(n, owner=name) for n, name in enumerate(ids)], time=time)
    (processor,) = one.processors
    (member,) = processor.members
    beats = {"stuck": 1}
    members = [attrs.evolve(member, id=x, beat=beats.get(x, beat), expiry=10.0) for x in ids]
    return attrs.evolve(one, processors=[attrs.evolve(processor, members=members)])


def test_a_member_keeps_its_letter_while_others_come_and_go() -> None:
    looks = [("a", "b"), ("a", "b", "c"), ("b", "c"), ("c", "d")]
    views = [with_members(*ids, beat=n, time=NOW + n) for n, ids in enumerate(looks)]
    maps = [shown(*views[: n + 1]) for n in range(len(views))]
    assert [line[6:] for lines in maps for line in lines if line.startswith("    0 ")] == [
        "AB",
        "ABC",
        "BC",
        "CD",
    ]


def test_more_members_than_letters_are_stars() -> None:
    history = History()
    many = with_members(*(f"w{n}" for n in range(60)), beat=1, time=NOW)
    history.add(many)
    assert sorted(history.letters(many.processors[0]).values()).count("*") == 60 - 52


def test_who_has_not_been_heard_of_is_told() -> None:
    views = [with_members("well", "stuck", beat=n, time=NOW + n) for n in range(1, 9)]
    lines = shown(*views)
    (silent,) = [line for line in lines if "no heartbeat" in line]
    assert silent.startswith("B  ")
    assert "  no heartbeat for 7.0 s" in silent
    assert not [line for line in shown(*views[:5]) if "no heartbeat" in line], "half of its lease is not over"


def test_rates_are_bars() -> None:
    history = History()
    for second, count in enumerate([0, 100, 300, 300, 700]):
        history.add(view([partition(0)], acknowledged=count, time=1000.0 + second))
    now = view([partition(0)], acknowledged=700, time=1004.0)
    assert list(history.of_processor(now.processors[0])) == [100, 200, 0, 400]
    lines = texts(screen(now, history, chosen=0, width=80, height=24))
    (line,) = [line for line in lines if line.startswith("orders/mailer")]
    assert re.search(r" 400 +▂▄ █$", line)
    assert sparkline([], 3) == "   "
