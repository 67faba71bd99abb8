"""Streams and their layouts on Redis or Valkey: the steps of `_rules/_layout`, one script call after another.

What is known of a stream has a slot of its own, and so has each partition number: no step touches two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from runnel_trio._broker._layouts import checked, layouts_of, lost, meta_like, new_numbers
from runnel_trio._broker._protocol import Catalog
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._calls import RedisCalls, announcement, owed_in, party_keys
from runnel_trio._broker._redis._replies import as_written, text
from runnel_trio._broker._redis._transport._scripts import Call, PlainCommand
from runnel_trio._broker._values import Layouts, ProcessorSpec, StreamSpec
from runnel_trio._names import is_name
from runnel_trio._override import override
from runnel_trio._rules._layout import Meta, declared
from runnel_trio.constants import Overflow
from runnel_trio.exceptions import BrokerRefused, Misconfigured
from runnel_trio.settings import MOST_PARTITIONS

__all__ = ["RedisCatalog"]

#: Keys that one step of a scan looks at.
_SCANNED = 1000
_GLOB = str.maketrans({x: f"\\{x}" for x in "*?[]\\^"})


#: The order in which scripts/_meta.lua answers them.
FIELDS = ("partition_count", "record", "hasher", "layout", "next", "draining", "former")


def meta_of(stream: StreamSpec, reply: Sequence[Any]) -> Meta:
    """What the hash of a stream says.

    Raises:
        Misconfigured: somebody else has written it.
    """
    count, record, hasher, layout, coming, draining, former = (text(value or b"") for value in reply)
    shown = count if count.isprintable() else ascii(count)
    try:
        return Meta(
            partition_count=int(count or 0),
            record=record,
            hasher=hasher,
            layout=int(layout or 1),
            next=_layout_of(coming),
            draining=_layout_of(draining),
            former=frozenset(map(int, former.split())),
        )
    except ValueError as error:
        raise Misconfigured(
            f"stream {stream.name!r} of app {stream.app!r} was declared with partition_count="
            f"{shown}: {_keys.meta(stream)} is not as it was written ({error})"
        ) from error


def _layout_of(stored: str) -> tuple[int, int] | None:
    layout, _, count = stored.partition(" ")
    return (int(layout), int(count)) if stored else None


class RedisCatalog(RedisCalls, Catalog):
    """A hash for each stream, and a field that says which layout a partition takes entries for."""

    @override
    async def streams(self, app: str) -> list[StreamSpec]:
        # Every key of the server is looked at, a thousand at a time.
        prefix, suffix = f"runnel:{{{app}}}:", ":meta"
        found: set[str] = set()
        cursor = b"0"
        while True:
            pattern = f"{prefix.translate(_GLOB)}*{suffix}"
            ((cursor, keys),) = await self.ask(
                [PlainCommand(("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED), prefix)]
            )
            texts = (key.decode(errors="replace").removeprefix(prefix).removesuffix(suffix) for key in keys)
            found.update(name for name in texts if is_name(name))
            if int(cursor) == 0:
                break
        fields = ("partition_count", "record", "hasher", "partition_size", "overflow", "layout")
        names = sorted(found)
        kinds = await self.ask([PlainCommand(("TYPE", f"{prefix}{name}{suffix}")) for name in names])
        for name, kind in zip(names, map(text, kinds), strict=True):
            if kind not in {"hash", "none"}:
                raise BrokerRefused(
                    f"{prefix}{name}{suffix} is a {kind}, and must be a hash: somebody else has written to "
                    "it. Delete or rename it; a worker that begins makes it anew"
                )
        replies = await self.ask(
            [PlainCommand(("HMGET", f"{prefix}{name}{suffix}", *fields)) for name in names]
        )
        return [_spec(app, name, reply) for name, reply in zip(names, replies, strict=True)]

    @override
    async def declare(self, stream: StreamSpec, *, dry_run: bool = False) -> Layouts:
        if dry_run:
            (there,) = await self.ask([PlainCommand(("HMGET", _keys.meta(stream), *FIELDS))])
            meta = declared(meta_of(stream, there), meta_like(stream))
            return layouts_of(checked(stream, meta), stream)
        arguments: list[str | int] = [stream.partition_count, stream.record, stream.hasher, stream.layout]
        arguments += [stream.partition_size, stream.overflow.value]
        (reply,) = await self.ask([Call("declare", [_keys.meta(stream)], arguments)])
        return layouts_of(checked(stream, await self._complete(stream, meta_of(stream, reply))), stream)

    @override
    async def layouts(self, stream: StreamSpec) -> Layouts | None:
        (reply,) = await self.ask([PlainCommand(("HMGET", _keys.meta(stream), *FIELDS))])
        meta = meta_of(stream, reply)
        return layouts_of(meta, stream) if meta.whole else None

    @override
    async def reconcile_layout(self, stream: StreamSpec) -> Layouts:
        found = await self.declare(stream)
        await self._switch(found.current, new_numbers(found))
        return found

    @override
    async def repartition(self, stream: StreamSpec, count: int) -> Layouts:
        meta = await self._step(stream, "begin", stream.layout + 1, count)
        return layouts_of(await self._complete(stream, meta), stream)

    async def _complete(self, stream: StreamSpec, meta: Meta) -> Meta:
        """Each step is answered before the next one leaves: what the layout is opened after is done then."""
        if meta.next is None:
            return meta
        layout, count = meta.next
        following = stream.laid_out(layout, count)
        await self._switch(following, range(max(count, meta.partition_count)))
        names = await self._groups(stream.laid_out(meta.layout, meta.partition_count))
        await self._create(following, names, leases=False)
        return await self._step(stream, "open", layout)

    @override
    async def create_groups(
        self, stream: StreamSpec, names: Collection[str]
    ) -> Mapping[str, Mapping[int, int]]:
        if not names:
            return {}
        replies = await self._create(stream, [name.encode() for name in names], leases=True)
        return {
            name: {number: reply[at] for number, reply in enumerate(replies) if reply[at] >= 0}
            for at, name in enumerate(names)
        }

    async def _create(self, stream: StreamSpec, names: Sequence[bytes], *, leases: bool) -> list[list[int]]:
        calls = []
        for number in range(stream.partition_count if names else 0):
            own = [ProcessorSpec(stream=stream, name=text(name)) for name in names] if leases else []
            keys = [_keys.log(stream, number), *(_keys.lease(x, number) for x in own)]
            calls.append(Call("create_groups", keys, list(names)))
        return await self.ask(calls)

    async def _groups(self, stream: StreamSpec) -> list[bytes]:
        """The names of all groups on a stream's logs; those of other programs too."""
        replies = await self.ask(
            [Call("groups", [_keys.log(stream, x)], []) for x in range(stream.partition_count)]
        )
        return sorted({name for names in replies for name in names})

    async def _switch(self, stream: StreamSpec, numbers: Collection[int]) -> None:
        await self.ask([Call("seal", [_keys.producers(stream, x)], [stream.layout]) for x in numbers])

    async def _step(self, stream: StreamSpec, step: str, layout: int, count: int = 0) -> Meta:
        (reply,) = await self.ask([Call("layout", [_keys.meta(stream)], [step, layout, count])])
        return meta_of(stream, reply)

    @override
    async def undrained(self, processor: ProcessorSpec) -> list[int]:
        stream = processor.stream
        replies = await self.ask(
            [
                Call(
                    "undrained",
                    [
                        _keys.log(stream, x),
                        _keys.quarantine(processor, x),
                        _keys.parked_keys(processor, x),
                        _keys.outbox(processor, x),
                        _keys.lease(processor, x),
                    ],
                    [processor.name],
                )
                for x in range(stream.partition_count)
            ]
        )
        return [number for number, reply in enumerate(replies) if reply]

    @override
    async def discard(self, stream: StreamSpec, processors: Collection[str]) -> list[int]:
        # Parties go first: after the last partition nobody would know their names.
        parties = [ProcessorSpec(stream=stream, name=name) for name in sorted(processors)]
        await self.ask([Call("disband", party_keys(x), []) for x in parties])
        calls = []
        for number in range(stream.partition_count):
            keys = [_keys.log(stream, number), _keys.producers(stream, number)]
            for x in parties:
                keys += [_keys.quarantine(x, number), _keys.lease(x, number), *owed_in(x, number)]
            calls.append(Call("discard", keys, [stream.layout, *(x.name for x in parties)]))
        stays = [number for number, gone in enumerate(await self.ask(calls)) if not gone]
        if not stays:
            await self._step(stream, "finish", stream.layout)
        return stays

    @override
    async def announce_layout(self, processor: ProcessorSpec) -> None:
        await self.ask([announcement(processor, (), "layout")])


@as_written
def _spec(app: str, name: str, reply: Sequence[bytes | None]) -> StreamSpec:
    count, record, hasher, size, overflow, layout = (text(value or b"") for value in reply)
    if not count:
        raise lost(app, name)
    if not 1 <= int(count) <= MOST_PARTITIONS:
        raise ValueError(f"{count} partitions of {name}")
    return StreamSpec(
        app=app,
        name=name,
        partition_count=int(count),
        record=record,
        hasher=hasher,
        partition_size=int(size or 0),
        overflow=Overflow(overflow or "block"),
        layout=int(layout or 1),
    )
