"""``runnel-trio stream``: shows a stream, and which partition a key goes to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from runnel_trio._broker._seen import Surveyed
from runnel_trio._broker._values import StreamSpec
from runnel_trio._cli._board import size_of
from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Exit, conclude, print_out
from runnel_trio._cli._load import load
from runnel_trio._cli._options import Command
from runnel_trio._cli._partition_keys import key_of, number_of
from runnel_trio._cli._repartition import repartition
from runnel_trio._operate._documents import key_name, of_stream
from runnel_trio._operate._operator import Operator
from runnel_trio._report._words import counted
from runnel_trio._stream import Stream

__all__ = ["stream"]


@click.group()
def stream() -> None:
    """Look at a stream, or give it other partitions."""


stream.add_command(repartition)


@command(Stream, group=stream)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
async def info(op: Operator, target: Target, *, as_json: bool) -> None:
    """Partitions of a stream: events, room, memory, first and last id, and who is how far behind."""
    surveyed = await op.survey(target.name)
    found: Stream[Any] = target.found
    whole = json.dumps(of_stream(found, surveyed)) if as_json else "\n".join(_lines(found, surveyed))
    print_out(whole)


def _lines(found: Stream[Any], surveyed: Mapping[StreamSpec, Sequence[Surveyed]]) -> list[str]:
    spec = list(surveyed)[-1]
    limits = f"{counted(spec.partition_size, 'event')}, overflow={spec.overflow.value}"
    serializer = type(found.codec.serializer).__name__
    lines = [
        f"{spec.app}.{spec.name}: {spec.record} by {key_name(found)}, {serializer}",
        f"{counted(spec.partition_count, 'partition')} of {limits}",
    ]
    for layout, partitions in surveyed.items():
        if layout is not spec:
            lines += ["", f"The {layout.partition_count} former partitions take nothing more:"]
        elif len(surveyed) > 1:
            lines += ["", f"The {layout.partition_count} new ones:"]
        lines += ["", f"{'PART':>5}{'EVENTS':>12}{'EVER':>14}{'MEMORY':>11}  BEHIND"]
        for x in partitions:
            behind = ", ".join(f"{name} {y.lag:,}" for name, y in sorted(x.processors.items()) if y.lag)
            lines.append(_row(str(x.number), x.length, x.entries_added, x.size) + f"  {behind or '-'}")
        rows = [(x.length, x.entries_added, x.size) for x in partitions]
        lines.append(_row("all", *(sum(column) for column in zip(*rows, strict=True))))
    return lines


def _row(name: str, length: int, ever: int, size: int) -> str:
    return f"{name:>5}{length:>12,}{ever:>14,}{size_of(size):>11}"


@stream.command("partition-of", cls=Command)
@click.argument("target", metavar="MODULE:STREAM")
@click.argument("key", metavar="KEY")
@click.option("--traceback", "show_all", is_flag=True, help="Show errors with their whole traceback.")
def partition_of(target: str, key: str, *, show_all: bool) -> int:
    """The number of the partition that a key's events go to. No server is asked: by the count in the code."""

    def command() -> int:
        found: Stream[Any] = load(target, Stream)
        print_out(number_of(found, key_of(found, key), found.partition_count))
        return Exit.OK

    return conclude(command, show_all=show_all)
