"""`stream repartition`: what it says before, meanwhile and at the end, and what other commands say of it."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from runnel_trio import App, Record, Stream
from runnel_trio._broker._values import Layouts, Quarantine, StreamSpec
from runnel_trio._cli._board import board
from runnel_trio._cli._repartition import _Shown
from runnel_trio._operate._health import Typed
from runnel_trio._operate._repartition import Progress, Waiting
from runnel_trio.constants import Overflow

OLD = StreamSpec(
    app="shop", name="orders", partition_count=4, record="Order", hasher="blake3", partition_size=9,
    overflow=Overflow.BLOCK,
)  # fmt: skip
LAYOUTS = Layouts(OLD.laid_out(2, 16), draining=OLD)

Run = Callable[..., Any]


class Order(Record):
    """As in the module of the commands."""

    key: str
    n: int


@attrs.frozen
class Shop:
    """The app of the module, in this process, and the commands, in theirs."""

    app: App
    orders: Stream[Order]
    url: str
    run: Run


@pytest.fixture
async def there(tmp_path: Path, command: Run) -> AsyncIterator[Shop]:
    url = f"embedded://{tmp_path / 'data'}"
    app = App("shop", redis_url=url, default_partition_count=4, default_lock_expiry=2)
    orders = app.stream("orders", Order, partition_by="key")

    @app.processor(orders)
    async def printer(events: Any) -> None:
        async for _ in events.records():
            pass

    async def run(*arguments: str) -> Any:
        with trio.fail_after(60):
            return await trio.to_thread.run_sync(partial(command, *arguments, "--redis-url", url))

    async with app.session():
        await orders.send(*(Order(key=f"k{n}", n=n) for n in range(20)))
        yield Shop(app, orders, url, run)


async def test_a_stream_gets_other_partitions(there: Shop) -> None:
    change = ["stream", "repartition", "shop:orders", "--to"]
    done = await there.run(*change, "16", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "orders would have 16 partitions in place of 4." in done.stderr
    assert "No processor has ever read 20 events" in done.stderr
    assert there.orders.partition_count == 4
    async with there.app.worker():
        done = await there.run(*change, "16")
    assert done.returncode == 0, done.stderr
    assert "orders has 16 partitions: what is sent now goes there." in done.stderr
    assert "Everything in the 4 former partitions is handled, and they are gone." in done.stderr
    assert "Write partition_count=16 where orders is declared" in done.stderr
    assert there.orders.partition_count == 16
    done = await there.run(*change, "16")
    assert (done.returncode, "there is nothing to do" in done.stderr) == (0, True)


async def test_it_may_be_interrupted_and_others_show_how_far_it_is(there: Shop, started: Run) -> None:
    async with there.app.worker():
        await there.app.processors["printer"].pause([1], reason="the database is moved")
    await there.orders.send(Order(key="late", n=20))
    change = ["stream", "repartition", "shop:orders", "--redis-url", there.url, "--to"]
    process = started(*change, "16")
    said = ""
    with trio.fail_after(30):
        while "is waited for" not in said or "paused" not in said:
            said += await trio.to_thread.run_sync(process.stderr.readline)
    assert "printer is waited for, and no worker runs it." in said
    assert "[1] is paused by" in said
    assert "runnel-trio processor resume shop:printer --partition 1" in said
    process.send_signal(signal.SIGINT)
    assert await trio.to_thread.run_sync(process.wait) != 0
    assert "Type it again" in process.stderr.read()

    done = await there.run(*change[:3], "--to", "7")
    assert done.returncode == 78
    assert "still being changed from 4 to 16 partitions: wait for that with --to 16" in done.stderr
    async with there.orders.connect(there.orders):
        await there.orders.send(Order(key="late", n=21))
    done = await there.run("stream", "info", "shop:orders", "--json")
    document = json.loads(done.stdout)
    assert (document["layout"], len(document["partitions"]), len(document["former_partitions"])) == (2, 16, 4)
    done = await there.run("stream", "info", "shop:orders")
    assert "The 4 former partitions take nothing more:" in done.stdout
    done = await there.run("inspect", "shop:orders", "--key", "late")
    assert [line.rpartition(": ")[2] for line in done.stdout.splitlines()] == ["20}", "21}"]
    async with there.app.operator() as op:
        lines = board(await op.overview(), None, typed=Typed("shop"))
    assert any("its 4 former partitions wait for printer" in line for line in lines)
    assert any("reads the former partitions first; 1 of these wait in the new ones" in line for line in lines)
    done = await there.run("processor", "resume", "shop:printer")
    assert "orders[1] goes on." in done.stderr
    done = await there.run("run", "--check", "shop:app")
    assert "note   stream orders has 16 partitions now, which hold, and 4 here" in done.stdout
    assert done.returncode == 0


def shown(capsys: pytest.CaptureFixture[str], *all_of_it: Progress, terminal: bool = False) -> str:
    shown = _Shown("orders", "shop", 16, terminal)

    async def show() -> None:
        for progress in all_of_it:
            shown.show(progress)

    trio.run(show)
    return capsys.readouterr().err


WHY = Quarantine(
    partition=3, first=b"1-0", last=b"1-0", count=1, error="ValueError: no", traceback="", time="", member="w"
)
BOOK = Waiting(name="book", partitions=[3], lag=1200, standing=[], members=2)
AUDIT = Waiting(name="audit", partitions=[0, 1, 2, 3], lag=34, standing=[WHY], members=0)


def test_what_it_waits_for_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(layouts=LAYOUTS, waiting=[BOOK, AUDIT])
    assert shown(capsys, progress, progress).splitlines() == [
        "audit is waited for, and no worker runs it.",
        (
            "audit is waited for: orders[3] stands still: ValueError: no. Let it go on: "
            "runnel-trio processor resume shop:audit --partition 3"
        ),
        "1,234 events in the former partitions to be handled: book 1,200, audit 34",
    ]


def test_partitions_that_stand_still_alike_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    pause = attrs.evolve(WHY, count=0, error="", member="ops@desk")
    standing = [attrs.evolve(pause, partition=n) for n in range(16)]
    paused = attrs.evolve(BOOK, standing=[*standing, attrs.evolve(WHY, partition=17)])
    told = shown(capsys, Progress(layouts=LAYOUTS, waiting=[paused])).splitlines()[:-1]
    assert told == [
        (
            "book is waited for: orders[0-15] are paused by ops@desk. Let them go on: "
            "runnel-trio processor resume shop:book --partition 0-15"
        ),
        (
            "book is waited for: orders[17] stands still: ValueError: no. Let it go on: "
            "runnel-trio processor resume shop:book --partition 17"
        ),
    ]


@pytest.mark.parametrize(
    ("progress", "line"),
    [
        (Progress(layouts=LAYOUTS, unread=1), "1 event in the former partitions, which nobody has read"),
        (Progress(layouts=LAYOUTS, through=["book"], members=2), "2 workers still to go over"),
        (Progress(layouts=LAYOUTS, through=["book"]), "the former partitions can go"),
    ],
)
def test_how_far_it_is(progress: Progress, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in shown(capsys, progress)


def test_a_terminal_has_one_line_that_changes(capsys: pytest.CaptureFixture[str]) -> None:
    said = shown(
        capsys,
        Progress(layouts=LAYOUTS, waiting=[BOOK]),
        Progress(layouts=LAYOUTS, through=["book"]),
        terminal=True,
    )
    assert said.count("\r") == 2
    assert "\n" not in said
