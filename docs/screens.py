"""Pictures of `status` and `top`: ``python docs/screens.py`` writes them to docs/screens.

They are made of the very functions that the commands use, from an app that is made up.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import attrs
from rich.console import Console
from rich.text import Text

from runnel_trio._broker._protocol import Quarantine, StreamSpec
from runnel_trio._cli._board import board
from runnel_trio._cli._screen import STYLES, History, screen
from runnel_trio._overview import MemberView, Overview, PartitionView, ProcessorView, StreamView
from runnel_trio.constants import Overflow

HERE = Path(__file__).parent / "screens"
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


def picture(text: Text, name: str, title: str, width: int) -> None:
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(text)
    drawn = console.export_svg(title=title, unique_id=name)
    # Fonts of a foreign site: the reader's own will do.
    drawn = re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)
    (HERE / f"{name}.svg").write_text(drawn, encoding="utf-8")


def main() -> None:
    HERE.mkdir(exist_ok=True)
    before, now = overview(time=NOW - 1), overview(more=1_204)
    lines = board(now, before, module="shop")
    lines += ["", "\x1b[31morders/totals: 1 partition stands still: 11\x1b[0m"]
    picture(Text.from_ansi("\n".join(lines)), "status", "runnel-trio status shop:app", 80)
    history = History()
    count = 0
    for second in range(40):
        count += 900 + 400 * (second % 7) - 60 * (second % 11)
        history.add(attrs.evolve(overview(more=count), time=NOW - 40 + second))
    text = Text()
    for line in screen(overview(more=count), history, chosen=1, width=100, height=22):
        for part, style in line:
            text.append(part, STYLES[style] or None)
        text.append("\n")
    picture(text, "top", "runnel-trio top shop:app", 100)


if __name__ == "__main__":
    main()
