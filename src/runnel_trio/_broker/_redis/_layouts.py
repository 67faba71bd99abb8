"""Layouts on Redis or Valkey: the steps of `_rules/_layout`, one script call after the other.

What is known of a stream has a slot of its own, and so has each partition number: no step touches two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from runnel_trio._broker._layouts import checked, layouts_of, meta_like, new_numbers
from runnel_trio._broker._protocol import Layouts, ProcessorSpec, StreamSpec
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._pulse import party_keys
from runnel_trio._broker._redis._replies import text
from runnel_trio._broker._redis._transport._scripts import Ask, Call, Plain
from runnel_trio._rules._layout import Meta, declared
from runnel_trio.exceptions import Misconfigured

__all__ = ["create_groups", "declare", "discard", "layouts", "relearn", "remaining", "repartition"]

#: As scripts/_meta.lua answers them.
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


async def declare(ask: Ask, stream: StreamSpec, *, dry_run: bool = False) -> Layouts:
    """See `Broker.declare`."""
    if dry_run:
        (there,) = await ask([Plain(("HMGET", _keys.meta(stream), *FIELDS))])
        meta = declared(meta_of(stream, there), meta_like(stream))
        return layouts_of(checked(stream, meta), stream)
    arguments: list[str | int] = [stream.partition_count, stream.record, stream.hasher, stream.layout]
    arguments += [stream.partition_size, stream.overflow.value]
    (reply,) = await ask([Call("declare", [_keys.meta(stream)], arguments)])
    return layouts_of(checked(stream, await _completed(ask, stream, meta_of(stream, reply))), stream)


async def layouts(ask: Ask, stream: StreamSpec) -> Layouts | None:
    """See `Broker.layouts`."""
    (reply,) = await ask([Plain(("HMGET", _keys.meta(stream), *FIELDS))])
    meta = meta_of(stream, reply)
    return layouts_of(meta, stream) if meta.whole else None


async def relearn(ask: Ask, stream: StreamSpec) -> Layouts:
    """See `Broker.relearn`."""
    found = await declare(ask, stream)
    await _switch(ask, found.current, new_numbers(found))
    return found


async def repartition(ask: Ask, stream: StreamSpec, count: int) -> Layouts:
    """See `Broker.repartition`."""
    meta = await _step(ask, stream, "begin", stream.layout + 1, count)
    return layouts_of(await _completed(ask, stream, meta), stream)


async def _completed(ask: Ask, stream: StreamSpec, meta: Meta) -> Meta:
    """Each step is answered before the next one leaves: what the layout is opened after is done then."""
    if meta.next is None:
        return meta
    layout, count = meta.next
    following = stream.laid_out(layout, count)
    await _switch(ask, following, range(max(count, meta.partition_count)))
    names = await _groups(ask, stream.laid_out(meta.layout, meta.partition_count))
    await _create(ask, following, names, leases=False)
    return await _step(ask, stream, "open", layout)


async def create_groups(
    ask: Ask, stream: StreamSpec, names: Collection[str]
) -> Mapping[str, Mapping[int, int]]:
    """See `Broker.create_groups`."""
    if not names:
        return {}
    replies = await _create(ask, stream, [name.encode() for name in names], leases=True)
    return {
        name: {number: reply[at] for number, reply in enumerate(replies) if reply[at] >= 0}
        for at, name in enumerate(names)
    }


async def _create(ask: Ask, stream: StreamSpec, names: Sequence[bytes], *, leases: bool) -> list[list[int]]:
    calls = []
    for number in range(stream.partition_count if names else 0):
        own = [ProcessorSpec(stream=stream, name=text(name)) for name in names] if leases else []
        keys = [_keys.log(stream, number), *(_keys.lease(x, number) for x in own)]
        calls.append(Call("create_groups", keys, list(names)))
    return await ask(calls)


async def _groups(ask: Ask, stream: StreamSpec) -> list[bytes]:
    """The names of all groups on a stream's logs; those of other programs too."""
    replies = await ask([Call("groups", [_keys.log(stream, x)], []) for x in range(stream.partition_count)])
    return sorted({name for names in replies for name in names})


async def _switch(ask: Ask, stream: StreamSpec, numbers: Collection[int]) -> None:
    await ask([Call("switch", [_keys.producers(stream, x)], [stream.layout]) for x in numbers])


async def _step(ask: Ask, stream: StreamSpec, step: str, layout: int, count: int = 0) -> Meta:
    (reply,) = await ask([Call("layout", [_keys.meta(stream)], [step, layout, count])])
    return meta_of(stream, reply)


async def remaining(ask: Ask, processor: ProcessorSpec) -> list[int]:
    """See `Broker.remaining`."""
    stream = processor.stream
    replies = await ask(
        [
            Call("remaining", [_keys.log(stream, x), _keys.quarantine(processor, x)], [processor.name])
            for x in range(stream.partition_count)
        ]
    )
    return [number for number, reply in enumerate(replies) if reply]


async def discard(ask: Ask, stream: StreamSpec, processors: Collection[str]) -> list[int]:
    """See `Broker.discard`. Parties go first: after the last partition nobody would know their names."""
    parties = [ProcessorSpec(stream=stream, name=name) for name in sorted(processors)]
    await ask([Plain(("DEL", *party_keys(x))) for x in parties])
    calls = []
    for number in range(stream.partition_count):
        keys = [_keys.log(stream, number), _keys.producers(stream, number)]
        for x in parties:
            keys += [_keys.quarantine(x, number), _keys.lease(x, number)]
        calls.append(Call("discard", keys, [stream.layout, *(x.name for x in parties)]))
    stays = [number for number, gone in enumerate(await ask(calls)) if not gone]
    if not stays:
        await _step(ask, stream, "finish", stream.layout)
    return stays
