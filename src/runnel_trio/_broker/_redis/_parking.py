"""Parked keys on Redis or Valkey: two hashes beside the log."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from runnel_trio._broker._protocol import Parking
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._calls import RedisCalls, announcement, changes_text, parked_in
from runnel_trio._broker._redis._replies import as_written
from runnel_trio._broker._redis._transport._scripts import Call, PlainCommand
from runnel_trio._broker._values import ParkedChange, ProcessorSpec
from runnel_trio._override import override
from runnel_trio._rules._parked import Facts, Head, entry_name, parse_value

__all__ = ["RedisParking"]

#: So many keys are asked for at a time.
_PAGE = 1000


class RedisParking(RedisCalls, Parking):
    """A field of the one hash is a key, a field of the other an entry."""

    @override
    async def parked_heads(self, processor: ProcessorSpec, number: int) -> Mapping[bytes, Head]:
        (reply,) = await self.ask([Call("parked_heads", [_keys.parked_keys(processor, number)], [])])
        return _heads(reply)

    @override
    async def parked_values(
        self, processor: ProcessorSpec, number: int, keys: Collection[bytes] | None = None
    ) -> Mapping[bytes, tuple[Head, Facts]]:
        found: dict[bytes, tuple[Head, Facts]] = {}
        key, cursor = _keys.parked_keys(processor, number), b"0"
        if keys is not None:
            given = list(keys)
            values = (await self.ask([PlainCommand(("HMGET", key, *given))]))[0] if given else []
            pairs = zip(given, values, strict=True)
            return _values([x for pair in pairs if pair[1] is not None for x in pair])
        while True:
            ((cursor, page),) = await self.ask([PlainCommand(("HSCAN", key, cursor, "COUNT", _PAGE))])
            found |= _values(page)
            if cursor == b"0":
                return found

    @override
    async def parked_entries(
        self, processor: ProcessorSpec, number: int, key: bytes, first: int, last: int
    ) -> Sequence[bytes | None]:
        names = [entry_name(x, key) for x in range(first, last + 1)]
        if not names:
            return []
        (reply,) = await self.ask([PlainCommand(("HMGET", _keys.parked(processor, number), *names))])
        return list(reply)

    @override
    async def change_parked(
        self, processor: ProcessorSpec, number: int, changes: Sequence[ParkedChange]
    ) -> Sequence[bool]:
        keys = parked_in(processor, number)
        replies = await self.ask([Call("change_parked", keys, changes_text([x])) for x in changes])
        await self.ask([announcement(processor, [number], "parked")])
        return [bool(x) for x in replies]

    @override
    async def move_parked(self, processor: ProcessorSpec, number: int, change: ParkedChange) -> bool:
        keys = [*parked_in(processor, number), _keys.lease(processor, number)]
        (reply,) = await self.ask([Call("change_parked", keys, changes_text([change]))])
        return bool(reply)


@as_written
def _heads(reply: Sequence[bytes]) -> Mapping[bytes, Head]:
    return {key: Head.parse(head) for key, head in zip(reply[::2], reply[1::2], strict=True)}


@as_written
def _values(page: Sequence[Any]) -> Mapping[bytes, tuple[Head, Facts]]:
    return {key: parse_value(value) for key, value in zip(page[::2], page[1::2], strict=True)}
