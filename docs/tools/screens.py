"""Pictures of what commands show: ``python docs/tools/screens.py`` writes them to docs/screens.

Those of `status`, `top` and the bar are made of the very functions that the commands use, from an app that is
made up. Errors and log lines are those of commands that are run (`sessions`).
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree as ET

import attrs
import sessions
from rich.console import Console
from rich.text import Text

from runnel_trio._broker._values import Quarantine, StreamSpec
from runnel_trio._cli._board import board
from runnel_trio._cli._errors import fold
from runnel_trio._cli._progress import WAITING, Progress
from runnel_trio._cli._screen import STYLES, History, Line, screen
from runnel_trio._cli._status import told
from runnel_trio._operate._health import Typed, troubles
from runnel_trio._operate._overview import MemberView, Overview, PartitionView, ProcessorView, StreamView
from runnel_trio.constants import Overflow

HERE = Path(__file__).parents[1] / "screens"
#: 2026-11-25 03:04:05 UTC.
NOW = 1_795_575_845.0
WHY = Quarantine(
    partition=11,
    first=b"1795575365761-13",
    last=b"1795575365761-13",
    count=1,
    error="LookupError: no such customer: 'Ada Lovelace'",
    traceback="",
    time="2026-11-25T02:56:05.900+00:00",
    member="web-2-812-7be03a11",
)


def members(*partitions: int) -> list[MemberView]:
    return [
        MemberView(
            id=f"w{place}",
            host=f"web-{place + 1}",
            pid=4711 + 89 * place,
            since=NOW - 86_400 / (place + 1),
            version="0.1.0",
            leaving=False,
            partitions=count,
            lag=5 - place,
        )
        for place, count in enumerate(partitions)
    ]


def partitions(standing: int | None) -> list[PartitionView]:
    return [
        PartitionView(
            number=number,
            owner="" if number == standing else f"w{number % 3}",
            epoch=7,
            cursor="1795575365760-2",
            lag=9_214 if number == standing else number % 5,
            age=480.0 if number == standing else 0.3 * (number % 5),
            quarantine=WHY if number == standing else None,
        )
        for number in range(16)
    ]


def stream(name: str, record: str, length: int) -> StreamView:
    spec = StreamSpec(
        app="shop",
        name=name,
        partition_count=16,
        record=record,
        hasher="blake3",
        partition_size=50_000,
        overflow=Overflow.BLOCK,
    )
    return StreamView(
        spec=spec, length=length, room=800_000 - length, fullest=0.2, size=90 * length, added=length
    )


def overview(*, time: float = NOW, more: int = 0) -> Overview:
    processors = [
        ProcessorView(
            stream="orders",
            name=name,
            members=members(6, 5, 5 - bool(standing)),
            partitions=partitions(standing),
            acknowledged=more,
        )
        for name, standing in (("mailer", None), ("totals", 11))
    ]
    streams = [stream("dead-orders", "Dead", 3), stream("orders", "Order", 41_000 + more)]
    return Overview(app="shop", time=time, leader=None, streams=streams, processors=processors)


@attrs.frozen
class Picture:
    """One file.

    Attributes:
        name: of the file, without its ending.
        title: above the screen.
        width: columns.
        text: what is shown.
    """

    name: str
    title: str
    width: int
    text: Text

    def drawn(self) -> str:
        """As SVG."""
        console = Console(record=True, width=self.width, file=io.StringIO(), force_terminal=True)
        console.print(self.text, no_wrap=True, overflow="crop")
        drawn = console.export_svg(title=self.title, unique_id=self.name)
        # Fonts of a foreign site: the reader's own will do.
        return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)

    @property
    def path(self) -> Path:
        """Where it is written."""
        return HERE / f"{self.name}.svg"


def words_of(drawn: str) -> list[str]:
    """The words in a picture: which version of rich has drawn it does not matter."""
    tag = "{http://www.w3.org/2000/svg}"
    title, *texts = [text.text or "" for text in ET.fromstring(drawn).iter(f"{tag}text")]
    return " ".join([title, *texts]).split()


def as_text(lines: Sequence[Line]) -> Text:
    """Lines of a screen, with their colours."""
    text = Text()
    for line in lines:
        for part, style in line:
            text.append(part, STYLES[style] or None)
        text.append("\n")
    return text


def status() -> Picture:
    """An app with a partition that stands still."""
    before, now = overview(time=NOW - 1), overview(more=1_204)
    typed = Typed("shop")
    lines = board(now, before, typed=typed)
    lines += ["", *told(troubles(now, typed=typed), lines)]
    return Picture("status", "runnel-trio status shop:app", 80, Text.from_ansi("\n".join(lines)))


def top() -> Picture:
    """The same, live."""
    history = History()
    count = 0
    for second in range(40):
        count += 900 + 400 * (second % 7) - 60 * (second % 11)
        history.add(attrs.evolve(overview(more=count), time=NOW - 40 + second))
    lines = screen(overview(more=count), history, chosen=1, width=100, height=22)
    return Picture("top", "runnel-trio top shop:app", 100, as_text(lines))


def flights(time: float, *, sent: int, killed: float = 0.0) -> Overview:
    """The flights, some seconds after one of three workers was killed, and another took its place."""
    ids = ["w0", "w1", "w2", *(["w3"] if killed > 1 else [])]
    owners = ["w0"] * 4 + (["w3"] * 2 if killed > 1 else ["w0"] * 2) + ["w2"] * 5 + ["w1"] * 5
    lags = [620 + 31 * n if owner == "w1" and killed else 0 for n, owner in enumerate(owners)]
    people = [
        MemberView(
            id=name,
            host="web-1",
            pid=4711 + 12 * int(name[1]),
            since=NOW + 1.5 if name == "w3" else NOW - 40,
            version="0.1.0",
            leaving=False,
            partitions=owners.count(name),
            lag=sum(lag for lag, owner in zip(lags, owners, strict=True) if owner == name),
            beat=0 if name == "w1" and time >= NOW else int(time),
            expiry=10.0,
        )
        for name in ids
    ]
    owned = [
        PartitionView(
            number=number,
            owner=owner,
            epoch=7,
            cursor="1795575365760-2",
            lag=lag,
            age=killed if lag else 0.0,
            quarantine=None,
        )
        for number, (owner, lag) in enumerate(zip(owners, lags, strict=True))
    ]
    processor = ProcessorView(
        stream="flights", name="history", members=people, partitions=owned, acknowledged=sent - sum(lags)
    )
    one = attrs.evolve(stream("flights", "Flight", sent), added=sent)
    return Overview(app="flights", time=time, leader=None, streams=[one], processors=[processor])


def top_of_flights() -> Picture:
    """A worker has been killed, and is not given up yet."""
    history, sent = History(), 20_000
    for second in range(-12, 8):
        sent += 1_450 + 170 * (second % 4)
        now = flights(NOW + second, sent=sent, killed=float(max(0, second)))
        history.add(now)
    lines = screen(now, history, chosen=0, width=80, height=16)
    return Picture("top_killed", "runnel-trio top examples.flights.app:app", 80, as_text(lines))


def bar() -> Picture:
    """A file on its way, and how it waits for a partition that is full."""
    lines: Any = SimpleNamespace(name="orders.jsonl", size=1000, consumed=210)
    progress = Progress(lines, terminal=True)
    shown = ["$ runnel-trio sendmany shop:orders orders.jsonl", progress._line(80_774, 2.07, 79)]  # noqa: SLF001
    lines.consumed = 340
    shown += ["", "03:04:05.006 WARNING stream-full stream=orders partition=0 partition_size=50000"]
    shown += [progress._line(131_171, 14.1, 79 - len(WAITING)) + WAITING]  # noqa: SLF001
    return Picture("sendmany", "runnel-trio sendmany", 80, Text("\n".join(shown)))


def session(
    name: str, title: str, width: int, steps: Sequence[sessions.Step], start: sessions.Start
) -> Picture:
    """Commands, and what they print."""
    with tempfile.TemporaryDirectory(prefix="rt") as directory:
        said = list(sessions.typed(steps, start, Path(directory)))
    lines = []
    for command, printed in said:
        lines += ["", *_broken(f"$ {command}", width)]
        for line in printed.split("\n"):
            told = line.startswith("Error: ") or "sent to" in line
            lines += fold(line, width).split("\n") if told else _broken(line, width)
    return Picture(name, title, width, Text("\n".join(lines[1:])))


def _broken(line: str, width: int) -> list[str]:
    """As a terminal does it."""
    return [line[at : at + width] for at in range(0, max(1, len(line)), width)]


def pictures(start: sessions.Start) -> Iterator[Picture]:
    """All of them."""
    yield from (status(), top(), top_of_flights(), bar())
    yield session("errors", "runnel-trio", 80, sessions.ERRORS, start)
    yield session("halted", "an event that cannot be handled", 120, sessions.HALTED, start)


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for one in pictures(sessions.started):
        one.path.write_text(one.drawn(), encoding="utf-8")


if __name__ == "__main__":
    main()
