"""``runnel-trio stream``: what a stream is, and where a key goes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._seen import Surveyed
from runnel_trio._broker._values import Layouts, StreamSpec
from runnel_trio._cli._board import size_of
from runnel_trio._cli._errors import Exit, concluded, print_out
from runnel_trio._cli._load import load
from runnel_trio._cli._look import looked_at, looking
from runnel_trio._cli._options import Command, common
from runnel_trio._cli._partition_keys import key_of, number_of
from runnel_trio._cli._repartition import repartition
from runnel_trio._stream import Stream
from runnel_trio._words import counted
from runnel_trio.exceptions import BrokerRefused

__all__ = ["stream"]


@click.group()
def stream() -> None:
    """Look at a stream, or give it other partitions."""


stream.add_command(repartition)


@stream.command(cls=Command)
@click.argument("target", metavar="MODULE:STREAM")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@common
def info(target: str, *, as_json: bool, redis_url: str | None, embedded: str | None, show_all: bool) -> int:
    """Partitions of a stream: events, room, memory, first and last id, and who is how far behind."""

    def command() -> int:
        found, app = looked_at(target, redis_url=redis_url, embedded=embedded)

        async def look(broker: Broker) -> None:
            layouts = await broker.layouts(found.spec) or Layouts(found.spec)
            surveyed = [(spec, await broker.survey(spec)) for spec in layouts.all]
            _refuse_misfits(surveyed)
            whole = json.dumps(_document(found, surveyed)) if as_json else "\n".join(_lines(found, surveyed))
            print_out(whole)

        return looking(app, look)

    return concluded(command, show_all=show_all)


#: A layout of a stream, and its partitions; the former one, if there is one, comes first.
_Surveyed = Sequence[tuple[StreamSpec, Sequence[Surveyed]]]


def _refuse_misfits(surveyed: _Surveyed) -> None:
    """Where somebody else keeps something in a partition's keys, what is in them cannot be told."""
    for misfit in (misfit for _, partitions in surveyed for x in partitions for misfit in x.misfits):
        raise BrokerRefused(
            f"{misfit.key} {misfit.text}. Rename or delete it, and it is made anew when it is needed"
        )


def _lines(found: Stream[Any], surveyed: _Surveyed) -> list[str]:
    spec, _ = surveyed[-1]
    limits = f"{counted(spec.partition_size, 'event')}, overflow={spec.overflow.value}"
    lines = [
        f"{spec.app}.{spec.name}: {spec.record} by {_by(found)}, {type(found.codec.serializer).__name__}",
        f"{counted(spec.partition_count, 'partition')} of {limits}",
    ]
    for place, partitions in surveyed:
        if place is not spec:
            lines += ["", f"The {place.partition_count} former partitions take nothing more:"]
        elif len(surveyed) > 1:
            lines += ["", f"The {place.partition_count} new ones:"]
        lines += ["", f"{'PART':>5}{'EVENTS':>12}{'EVER':>14}{'MEMORY':>11}  BEHIND"]
        for x in partitions:
            behind = ", ".join(f"{name} {y.lag:,}" for name, y in sorted(x.processors.items()) if y.lag)
            lines.append(_row(str(x.number), x.length, x.entries_added, x.size) + f"  {behind or '-'}")
        rows = [(x.length, x.entries_added, x.size) for x in partitions]
        lines.append(_row("all", *(sum(column) for column in zip(*rows, strict=True))))
    return lines


def _row(name: str, length: int, ever: int, size: int) -> str:
    return f"{name:>5}{length:>12,}{ever:>14,}{size_of(size):>11}"


def _document(found: Stream[Any], surveyed: _Surveyed) -> dict[str, Any]:
    spec, partitions = surveyed[-1]
    return {
        "app": spec.app,
        "stream": spec.name,
        "record": spec.record,
        "partition_by": _by(found),
        "partition_size": spec.partition_size,
        "overflow": spec.overflow.value,
        "layout": spec.layout,
        "partitions": list(map(_plain, partitions)),
        "former_partitions": [_plain(x) for _, former in surveyed[:-1] for x in former],
    }


def _plain(x: Surveyed) -> dict[str, Any]:
    return {
        "number": x.number,
        "length": x.length,
        "entries_added": x.entries_added,
        "last_id": x.last_id.decode(),
        "bytes": x.size,
        "lag": {name: y.lag for name, y in x.processors.items()},
    }


def _by(found: Stream[Any]) -> str:
    by = found.partition_by
    return by if isinstance(by, str) else getattr(by, "__name__", "a function")


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

    return concluded(command, show_all=show_all)
