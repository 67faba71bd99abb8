"""``runnel-trio inspect``: the events of a stream, decoded, as they are or as they come."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import click
import trio

from runnel_trio._broker._protocol import Broker, Entry, Layouts, ProcessorSpec, StreamSpec
from runnel_trio._cli._errors import Ended, Exit, concluded, print_out, tell
from runnel_trio._cli._look import looked_at, looking
from runnel_trio._cli._options import Command, common
from runnel_trio._cli._options import partitions as chosen_partitions
from runnel_trio._cli._partition_keys import key_of, number_of
from runnel_trio._cli._processor import with_zone
from runnel_trio._event import Event, Origin, Partition
from runnel_trio._kinds import legible
from runnel_trio._operate._cursors import numbers_of, start_of
from runnel_trio._rules._cursor import is_after, parse_id
from runnel_trio._stream import Stream
from runnel_trio.exceptions import DeserializationError

__all__ = ["inspect"]

#: Entries of a partition that are read at once.
_PAGE = 500
#: Milliseconds since 1970: the end of the year 9999.
_LAST_TIME = 253_402_300_799_999
#: Seconds that a read waits when it follows.
_BLOCK = 1.0


@click.command(cls=Command)
@click.argument("target", metavar="MODULE:STREAM")
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
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@click.option("--follow", is_flag=True, help="Then go on with those that come, until Ctrl-C.")
@click.option("--raw", is_flag=True, help="The fields as they are stored.")
@click.option("--json", "as_json", is_flag=True, help="A JSON document for each.")
@common
def inspect(
    target: str,
    partitions: Sequence[int],
    key: str | None,
    start: str,
    limit: int | None,
    *,
    follow: bool,
    raw: bool,
    as_json: bool,
    redis_url: str | None,
    embedded: str | None,
    show_all: bool,
) -> int:
    """Show the events of a stream: partition, id, time, record.

    By the time that is in their ids, whichever partition they are in. An event that is no such record is
    shown as it is stored, with what is wrong. Nothing is changed, and no processor takes notice.
    """

    def command() -> int:
        stream, app = looked_at(target, redis_url=redis_url, embedded=embedded)
        look = _Look(stream, partitions, key, _Shown(raw=raw, as_json=as_json), limit, follow=follow)
        first = start_of(with_zone(start, app))
        return looking(app, lambda broker: look.run(broker, first))

    return concluded(command, show_all=show_all)


@attrs.frozen
class _Shown:
    """How an event is shown."""

    raw: bool = attrs.field(kw_only=True)
    as_json: bool = attrs.field(kw_only=True)

    def line(self, stream: Stream[Any], event: Event, record: Any, fault: str) -> str:
        number, xid = event.partition.number, event.xid.decode()
        # Ids of a sender's own may be of no year that there is.
        when = datetime.fromtimestamp(min(parse_id(event.xid)[0], _LAST_TIME) / 1000, UTC)
        decoded = record is not None and not self.raw
        content = stream.codec.plain(record) if decoded else _fields(event)
        if self.as_json:
            facts: dict[str, Any] = {
                "partition": number,
                "xid": xid,
                "time": when.isoformat(timespec="milliseconds"),
            }
            facts |= {} if event.partition.layout == 1 else {"layout": event.partition.layout}
            named = {"record" if decoded else "fields": content}
            return json.dumps(facts | named | ({"error": fault} if fault else {}), ensure_ascii=False)
        text = legible(json.dumps(content, ensure_ascii=False), 1 << 53)
        shown = f"[{number}] {xid}  {when:%Y-%m-%d %H:%M:%S}.{when.microsecond // 1000:03}  {text}"
        return shown + (click.style(f"  ({fault})", fg="red") if fault else "")


@attrs.define
class _Look:
    stream: Stream[Any]
    partitions: Sequence[int]
    key: str | None
    shown: _Shown
    limit: int | None
    follow: bool = attrs.field(kw_only=True)
    _meant: Any = attrs.field(default=None, init=False)
    _count: int = attrs.field(default=0, init=False)

    async def run(self, broker: Broker, start: bytes) -> None:
        """Show what there is, first in the former partitions if there are any, and what comes."""
        layouts = await broker.layouts(self.stream.spec) or Layouts(self.stream.spec)
        spec = layouts.current
        positions = dict.fromkeys(self._numbers(spec, self.partitions), start)
        if start == b"$":
            ends = {x.number: x.last_id for x in await broker.survey(spec)}
            positions = {number: ends[number] for number in positions}
        else:
            if layouts.draining is not None:
                await self._former(broker, layouts.draining, start)
            await self._stored(broker, spec, positions)
        if self.follow:
            await self._coming(broker, spec, positions)
        elif not self._count:
            tell("There are no such events.")

    def _numbers(self, spec: StreamSpec, partitions: Sequence[int]) -> list[int]:
        """The partitions to look at."""
        numbers = numbers_of(ProcessorSpec(stream=spec, name=""), partitions or None)
        if self.key is None:
            return numbers
        self._meant = key_of(self.stream, self.key)
        number = number_of(self.stream, self._meant, spec.partition_count)
        if partitions and number not in numbers:
            raise Ended(Exit.USAGE, f"key {self.key!r} is in partition {number}: leave --partition out")
        return [number]

    async def _former(self, broker: Broker, spec: StreamSpec, start: bytes) -> None:
        there = [] if self.key else [x for x in self.partitions if x < spec.partition_count]
        if there or self.key or not self.partitions:
            await self._stored(broker, spec, dict.fromkeys(self._numbers(spec, there), start))

    async def _stored(self, broker: Broker, spec: StreamSpec, positions: dict[int, bytes]) -> None:
        """In the order of their ids: a page of each partition is at hand, and the smallest goes first."""
        pages: dict[int, list[Entry]] = {number: [] for number in positions}
        ended: set[int] = set()
        while not self._is_full():
            for number in pages.keys() - ended:
                if not pages[number]:
                    page = await broker.entries(spec, number, after=positions[number], count=_PAGE)
                    pages[number] = list(reversed(page))
                    if not page:
                        ended.add(number)
            heads = [(parse_id(page[-1][0]), number) for number, page in pages.items() if page]
            if not heads:
                return
            number = min(heads)[1]
            xid, fields = pages[number].pop()
            positions[number] = xid
            self._show(broker, spec, number, xid, fields)

    async def _coming(self, broker: Broker, spec: StreamSpec, positions: dict[int, bytes]) -> None:
        reader = broker.reader(ProcessorSpec(stream=spec, name="inspect"), _BLOCK)
        try:
            while not self._is_full():
                found = await reader.read(positions, _PAGE)
                for number, xid, fields in _in_order(found):
                    positions[number] = xid if is_after(xid, positions[number]) else positions[number]
                    self._show(broker, spec, number, xid, fields)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                await reader.aclose()

    def _is_full(self) -> bool:
        return self.limit is not None and self._count >= self.limit

    def _show(
        self, broker: Broker, spec: StreamSpec, number: int, xid: bytes, fields: Sequence[bytes]
    ) -> None:
        if self._is_full():
            return
        place = Partition(number=number, key=broker.log_key(spec, number), layout=spec.layout)
        event = Event(Origin(partition=place, group=b"", decode=self.stream.decode), xid, fields)
        record, fault = None, ""
        try:
            record = event.record()
        except DeserializationError as error:
            fault = f"{error.field}: {error.reason}" if error.field else error.reason
        if record is not None and self.key is not None and self.stream.key_of(record) != self._meant:
            return
        self._count += 1
        print_out(self.shown.line(self.stream, event, record, fault))


def _in_order(found: Mapping[int, Sequence[Entry]]) -> Iterator[tuple[int, bytes, Sequence[bytes]]]:
    rows = [(parse_id(xid), number, xid, fields) for number, page in found.items() for xid, fields in page]
    for _, number, xid, fields in sorted(rows, key=lambda row: row[:2]):
        yield number, xid, fields


def _fields(event: Event) -> dict[str, str]:
    return {
        name.decode(errors="backslashreplace"): value.decode(errors="backslashreplace")
        for name, value in event.data.items()
    }
