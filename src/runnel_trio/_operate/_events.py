"""The events in a stream, ordered by the time in their ids, across partitions."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import attrs

from runnel_trio._broker._protocol import Broker
from runnel_trio._broker._values import Entry, Layouts, ProcessorSpec, StreamSpec
from runnel_trio._event import Event, Origin, Partition
from runnel_trio._operate._cursors import numbers_of
from runnel_trio._rules._cursor import is_after, parse_id
from runnel_trio._scopes import shielded
from runnel_trio._stream import Stream
from runnel_trio.exceptions import DeserializationError

__all__ = ["stored"]

#: Entries of a partition that are read at once.
_PAGE = 500
#: Seconds that a read waits when it follows.
_BLOCK = 1.0
#: Seconds that closing a reader may take.
_CLOSING = 1.0


@asynccontextmanager
async def stored(
    broker: Broker,
    stream: Stream[Any],
    start: bytes,
    *,
    partitions: Collection[int] | None = None,
    keys: Collection[Any] | None = None,
    follow: bool = False,
) -> AsyncIterator[AsyncIterator[Event]]:
    """See `Operator.events`; ``start`` is a cursor, or ``b"$"`` for what comes from now on."""
    parts = await _Look(broker, stream, partitions, keys).parts(start, follow=follow)
    async with aclosing(_one_after_the_other(parts)) as events:
        yield events


@attrs.frozen(eq=False)
class _Look:
    """One look at a stream.

    Attributes:
        partitions: only these.
        keys: only their events, as far as it can be told.
    """

    broker: Broker
    stream: Stream[Any]
    partitions: Collection[int] | None
    keys: Collection[Any] | None

    async def parts(self, start: bytes, *, follow: bool) -> list[AsyncGenerator[Event, None]]:
        """What there is, first in the former partitions if there are any, and then what comes."""
        layouts = await self.broker.layouts(self.stream.spec) or Layouts(self.stream.spec)
        current = layouts.current
        positions = dict.fromkeys(self._numbers(current), start)
        parts: list[AsyncGenerator[Event, None]] = []
        if start == b"$":
            ends = {x.number: x.last_id for x in await self.broker.survey(current)}
            positions = {number: ends[number] for number in positions}
        else:
            if (former := layouts.draining) is not None:
                parts.append(self._stored(former, dict.fromkeys(self._numbers(former, current), start)))
            parts.append(self._stored(current, positions))
        if follow:
            parts.append(self._coming(current, positions))
        return parts

    def _numbers(self, layout: StreamSpec, current: StreamSpec | None = None) -> list[int]:
        """The partitions to look at; in a former layout those that it has of the ones that are asked for."""
        asked = self.partitions
        if current is not None and asked is not None:
            asked = [x for x in asked if x < layout.partition_count]
        numbers = numbers_of(layout, asked)
        if self.keys is None:
            return numbers
        homes = {int(self.stream.hasher(key)) % layout.partition_count for key in self.keys}
        return sorted(homes if current is not None else homes.intersection(numbers))

    async def _stored(self, layout: StreamSpec, positions: dict[int, bytes]) -> AsyncGenerator[Event, None]:
        """In the order of their ids: a page of each partition is at hand, and the smallest goes first."""
        pages: dict[int, list[Entry]] = {number: [] for number in positions}
        ended: set[int] = set()
        while True:
            for number in pages.keys() - ended:
                if not pages[number]:
                    page = await self.broker.entries(layout, number, after=positions[number], count=_PAGE)
                    pages[number] = list(reversed(page))
                    if not page:
                        ended.add(number)
            heads = [(parse_id(page[-1][0]), number) for number, page in pages.items() if page]
            if not heads:
                return
            number = min(heads)[1]
            xid, fields = pages[number].pop()
            positions[number] = xid
            if self._is_meant(event := self._event(layout, number, xid, fields)):
                yield event

    async def _coming(self, layout: StreamSpec, positions: dict[int, bytes]) -> AsyncGenerator[Event, None]:
        reader = self.broker.reader(ProcessorSpec(stream=layout, name="inspect"), _BLOCK)
        try:
            while True:
                for number, xid, fields in _in_order(await reader.read(positions, _PAGE)):
                    positions[number] = xid if is_after(xid, positions[number]) else positions[number]
                    if self._is_meant(event := self._event(layout, number, xid, fields)):
                        yield event
        finally:
            with shielded(_CLOSING):
                await reader.aclose()

    def _event(self, layout: StreamSpec, number: int, xid: bytes, fields: Sequence[bytes]) -> Event:
        key = self.broker.log_key(layout, number)
        partition = Partition(number=number, key=key, layout=layout.layout)
        return Event(Origin(partition=partition, group=b"", decode=self.stream.decode), xid, fields)

    def _is_meant(self, event: Event) -> bool:
        """Whether it has one of the keys; what cannot be read may have any."""
        if self.keys is None:
            return True
        try:
            return self.stream.key_of(event.record()) in self.keys
        except DeserializationError:
            return True


async def _one_after_the_other(parts: Iterable[AsyncGenerator[Event, None]]) -> AsyncGenerator[Event, None]:
    for part in parts:
        async with aclosing(part):
            async for event in part:
                yield event


def _in_order(found: Mapping[int, Sequence[Entry]]) -> Iterator[tuple[int, bytes, Sequence[bytes]]]:
    rows = [(parse_id(xid), number, xid, fields) for number, page in found.items() for xid, fields in page]
    for _, number, xid, fields in sorted(rows, key=lambda row: row[:2]):
        yield number, xid, fields
