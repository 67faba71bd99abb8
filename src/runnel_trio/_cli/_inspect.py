"""``runnel-trio inspect``: shows the events of a stream, decoded: those stored, and new ones as they come."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click

from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Ended, Exit, blaming_arguments, print_out, tell
from runnel_trio._cli._options import partitions as chosen_partitions
from runnel_trio._cli._options import with_zone
from runnel_trio._cli._partition_keys import key_of, number_of
from runnel_trio._event import Event
from runnel_trio._operate._cursors import numbers_of, start_of
from runnel_trio._operate._documents import fields_of, of_event, time_of
from runnel_trio._operate._operator import Operator
from runnel_trio._report._redaction import legible
from runnel_trio._stream import Stream
from runnel_trio.exceptions import DeserializationError

__all__ = ["document_of", "inspect", "line_of"]


@command(Stream)
@chosen_partitions
@click.option("--key", metavar="KEY", help="Only the events of this partition key.")
@click.option(
    "--from",
    "start",
    default="0",
    show_default=True,
    metavar="0|$|ID|TIME",
    help="The first event: 0 is the oldest, $ is what comes from now on, else a stream id or a time.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show at most N.")
@click.option("--follow", is_flag=True, help="Then go on with new events, until Ctrl-C.")
@click.option("--raw", is_flag=True, help="Show the fields as they are stored.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document per event.")
async def inspect(
    op: Operator,
    target: Target,
    partitions: Sequence[int],
    key: str | None,
    start: str,
    limit: int | None,
    *,
    follow: bool,
    raw: bool,
    as_json: bool,
) -> None:
    """Show the events of a stream: partition, id, time, record.

    By the time that is in their ids, whichever partition they are in. An event that is no such record is
    shown as it is stored, with what is wrong. Nothing is changed, and no processor takes notice.
    """
    stream: Stream[Any] = target.found
    current = (await op.layouts(stream.name)).current
    with blaming_arguments():
        numbers_of(current, partitions)
        first = with_zone(start, target.app)
        start_of(first)
    meant = None if key is None else key_of(stream, key)
    if key is not None:
        number = number_of(stream, meant, current.partition_count)
        if partitions and number not in partitions:
            raise Ended(Exit.USAGE, f"key {key!r} is in partition {number}: leave --partition out")
    count = 0
    keys = None if key is None else [meant]
    looking = op.events(stream.name, first, partitions=partitions or None, keys=keys, follow=follow)
    async with looking as events:
        async for event in events:
            print_out(_shown(stream, event, raw=raw, as_json=as_json))
            count += 1
            if count == limit:
                return
    if not count:
        tell("There are no such events.")


def _shown(stream: Stream[Any], event: Event, *, raw: bool, as_json: bool) -> str:
    if as_json:
        return json.dumps(document_of(stream, event, raw=raw), ensure_ascii=False)
    return line_of(stream, event, raw=raw)


def line_of(stream: Stream[Any], event: Event, *, raw: bool = False) -> str:
    """A line for an event; one that cannot be read is shown as it is stored, with what is wrong."""
    content, fault = _read(stream, event, raw=raw)
    (value,) = content.values()
    text, when = legible(json.dumps(value, ensure_ascii=False), 1 << 53), time_of(event)
    line = f"[{event.partition.number}] {event.xid.decode()}  "
    line += f"{when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03}  {text}"
    return line + (click.style(f"  ({fault})", fg="red") if fault else "")


def document_of(stream: Stream[Any], event: Event, *, raw: bool = False) -> dict[str, Any]:
    """The same, for programs."""
    return of_event(event, *_read(stream, event, raw=raw))


def _read(stream: Stream[Any], event: Event, *, raw: bool) -> tuple[dict[str, Any], str]:
    """The record in plain form, or the fields, by what it is; and why it cannot be read."""
    record, fault = None, ""
    try:
        record = event.record()
    except DeserializationError as error:
        fault = f"{error.field}: {error.reason}" if error.field else error.reason
    if raw or record is None:
        return dict(fields_of(event)), fault
    return {"record": stream.codec.plain(record)}, fault
