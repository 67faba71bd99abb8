"""Calls that are repeated until the server answers them, and parts of calls that several protocols need."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._transport._scripts import Call
from runnel_trio._broker._redis._transport._servers import Request, Servers
from runnel_trio._broker._values import Output, ParkedChange, Party, ProcessorSpec, TableWrites
from runnel_trio._rules._tables import deadline_of
from runnel_trio.exceptions import BrokerUnavailable

__all__ = [
    "RedisCalls",
    "announcement",
    "changes_text",
    "log_and_lease",
    "owed_in",
    "parked_in",
    "party_keys",
    "tables_in",
    "tables_text",
    "with_outputs",
]


@attrs.define(eq=False, kw_only=True)
class RedisCalls:
    """What the verbs of all protocols are made of.

    Attributes:
        servers: what answers.
    """

    servers: Servers

    async def ask(self, calls: Request, *, awaits_replicas: bool = False) -> list[Any]:
        """The replies to calls that may be repeated, however long the server is away.

        Args:
            calls: go together.
            awaits_replicas: whether they wait for replicas, and must hold up nobody else.
        """
        if not calls:
            return []
        attempt, who = 0, object()
        try:
            while True:
                try:
                    replies = await self.servers.call(calls, awaits_replicas=awaits_replicas)
                except BrokerUnavailable as error:
                    await self.servers.outage.pause(who, error, attempt)
                    attempt += 1
                else:
                    self.servers.outage.over(who)
                    return replies
        finally:
            self.servers.outage.given_up(who)


def log_and_lease(processor: ProcessorSpec, number: int) -> list[str]:
    """The keys with which most scripts begin."""
    return [_keys.log(processor.stream, number), _keys.lease(processor, number)]


def parked_in(processor: ProcessorSpec, number: int) -> list[str]:
    """The keys of what is parked in a partition: its keys, and their entries."""
    return [_keys.parked_keys(processor, number), _keys.parked(processor, number)]


def owed_in(processor: ProcessorSpec, number: int) -> list[str]:
    """The keys of all that is still to be done for a partition: what is parked, and the outbox."""
    return [*parked_in(processor, number), _keys.outbox(processor, number)]


def changes_text(changes: Sequence[ParkedChange]) -> list[bytes | str | int]:
    """Changes of parked keys as scripts/_parked.lua reads them."""
    text: list[bytes | str | int] = [len(changes)]
    for x in changes:
        text += [x.key, x.seen_text, x.now_text, x.facts, len(x.entries), *x.entries]
    return text


def tables_in(processor: ProcessorSpec, number: int, names: Iterable[str]) -> list[str]:
    """The keys of tables in a partition, each with that of its deadlines."""
    return [
        key
        for name in names
        for key in (_keys.table(processor, number, name), _keys.due(processor, number, name))
    ]


def tables_text(tables: Sequence[TableWrites], first: int) -> list[bytes | str | int]:
    """Changes of tables as scripts/_tables.lua reads them; their keys stand in a row, from this index on."""
    text: list[bytes | str | int] = [len(tables)]
    for at, x in enumerate(tables):
        text += [first + 2 * at, x.name, int(x.expires), len(x.changes)]
        for field, value in x.changes.items():
            text += [field, 0, b""] if value is None else [field, deadline_of(value), value]
    return text


def party_keys(party: Party) -> list[str]:
    """The keys of a party: members, plan and control."""
    return [_keys.members(party), _keys.plan(party), _keys.control(party)]


def announcement(processor: ProcessorSpec, numbers: Sequence[int], what: str = "released") -> Call:
    """The call that tells a party what has become of partitions."""
    return Call("announce", [_keys.control(processor)], [" ".join(map(str, numbers)), what])


def with_outputs(
    script: str, keys: Sequence[str], arguments: Sequence[bytes | str | int], outputs: Sequence[Output]
) -> Call:
    """A call whose outputs are written as scripts/_output.lua reads them."""
    all_keys: list[str] = [*keys]
    all_arguments: list[bytes | str | int] = [*arguments, len(outputs)]
    for output in outputs:
        stream, batch = output.stream, output.batch
        number = output.partition
        all_arguments += [len(all_keys) + 1, stream.layout, stream.partition_size, stream.overflow.value]
        all_keys += [_keys.log(stream, number), _keys.producers(stream, number)]
        all_arguments.append(len(batch.names))
        all_arguments += [*batch.names, len(batch), *batch.values]
    return Call(script, all_keys, all_arguments)
