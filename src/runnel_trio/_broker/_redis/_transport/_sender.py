"""Sends: merged by partition, numbered, and repeated without storing anything twice.

Many tasks' entries for one partition become one script call with one sequence number. At most one call per
partition is under way, so that the script's rule is enough: a number not above the last is a repetition.

A call whose answer was lost is repeated as it was, with its number, before anything else leaves. When no
answer comes for `PATIENCE`, its senders are told that the outcome is not known. (Several numbered calls per
partition in one batch would lose entries: the first refused as full, the second stored, and then the
first's repetition taken for a duplicate.)
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import attrs
import outcome
import trio

from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._transport._cluster_connection import ClusterConnection
from runnel_trio._broker._redis._transport._outage import Outage
from runnel_trio._broker._redis._transport._scripts import Call, LazyList
from runnel_trio._broker._redis._transport._waiter import Waiter
from runnel_trio._broker._values import SEALED, Appended, Batch, StreamSpec
from runnel_trio._report._words import numbered
from runnel_trio.exceptions import BrokerUnavailable, Misconfigured

__all__ = ["PATIENCE", "SendRequest", "Sender", "Shipment"]

#: Seconds for which a send is repeated while the server is away.
PATIENCE = 10.0

#: What `send.lua` answers instead of a count.
_SEALED_REPLY = -1


class SendRequest(Protocol):
    """What travels to the partitions of one stream, and is answered together."""

    @property
    def weight(self) -> float:
        """How many entries there are; infinite, where nothing else may travel with them."""
        ...

    def seal(self) -> Shipment:
        """Let nothing more in; what leaves."""
        ...


@attrs.frozen(eq=False)
class Shipment:
    """What leaves for the partitions of one stream; also what one send has for them, as a `SendRequest`."""

    stream: StreamSpec
    batches: Mapping[int, Batch]

    @property
    def weight(self) -> float:
        """See `SendRequest`."""
        return sum(map(len, self.batches.values()))

    def seal(self) -> Shipment:
        """See `SendRequest`."""
        return self


@attrs.define(eq=False)
class SendCall:
    """One script call: one partition's entries, of one or many shipments."""

    stream: StreamSpec
    partition: int
    batches: list[Batch]
    shares: list[tuple[int, int]]  # index of the shipment in its batch, number of its entries
    producer: str = ""
    sequence: int = 0
    script = "send"

    @property
    def route(self) -> str:
        """As `Call.route`."""
        return _keys.log(self.stream, self.partition)

    def takes(self, batch: Batch, layout: int) -> bool:
        """Whether it may go along with those that are in here already."""
        first = self.batches[0]
        return first.ids is None is batch.ids and first.names == batch.names and self.stream.layout == layout

    def by_digest(self) -> tuple[Any, ...]:
        """As `Call.by_digest`."""
        return self._call().by_digest()

    def by_text(self) -> tuple[Any, ...]:
        """As `Call.by_text`."""
        return self._call().by_text()

    def _call(self) -> Call:
        stream, first = self.stream, self.batches[0]
        head: list[bytes | str | int] = [
            self.producer,
            self.sequence,
            stream.partition_size,
            stream.overflow.value,
            stream.layout,
        ]
        arguments = [*head, len(first.names), *first.names, int(first.ids is not None), *(first.ids or ())]
        for batch in self.batches:
            arguments += batch.values
        keys = [_keys.log(stream, self.partition), _keys.producers(stream, self.partition)]
        return Call(self.script, keys, arguments)


@attrs.define(eq=False, kw_only=True)
class Sender:
    """Carries shipments for a `Batcher`: the reply to each is how many entries each partition took.

    Attributes:
        connection: its own.
        outage: shared with everything else that talks to the server.
    """

    connection: ClusterConnection
    outage: Outage
    _producer: str = attrs.field(factory=lambda: uuid.uuid4().hex, init=False)
    _sequences: dict[tuple[str, int], int] = attrs.field(factory=dict, init=False)
    _stored: dict[str, int] = attrs.field(factory=dict, init=False)

    def witness(self, key: str) -> tuple[str, int] | None:
        """What the hash of a partition's producers says if nothing is lost that we have stored.

        That is our field in it, and the number of the last call that was answered, at least.
        """
        number = self._stored.get(key)
        return None if number is None else (self._producer, number)

    async def carry(
        self, requests: Sequence[SendRequest], waiter: Waiter
    ) -> list[outcome.Outcome[dict[int, Appended]]]:
        """Store what the requests hold, in their order."""
        shipments = [request.seal() for request in requests]
        stored: list[dict[int, Appended]] = [dict.fromkeys(shipment.batches, 0) for shipment in shipments]
        failed: dict[int, Exception] = {}
        for calls in _rounds(shipments):
            await self._deliver(calls, waiter, stored, failed)
        return [
            outcome.Error(failed[i]) if i in failed else outcome.Value(counts)
            for i, counts in enumerate(stored)
        ]

    async def _deliver(
        self,
        made: Iterable[SendCall],
        waiter: Waiter,
        stored: list[dict[int, Appended]],
        failed: dict[int, Exception],
    ) -> None:
        calls = LazyList(map(self._number, made))
        try:
            replies = await self._repeat_until_answered(calls, waiter)
        except Exception as error:
            replies = [error for _ in calls]
        for call, reply in zip(calls, replies, strict=True):
            if not isinstance(reply, Exception):
                self._stored[_keys.producers(call.stream, call.partition)] = call.sequence
            _deal_out(call, reply, stored, failed)

    def _number(self, call: SendCall) -> SendCall:
        key = (_keys.meta(call.stream), call.partition)
        call.producer = self._producer
        call.sequence = self._sequences[key] = self._sequences.get(key, 0) + 1
        return call

    async def _repeat_until_answered(self, calls: LazyList[SendCall], waiter: Waiter) -> list[Any]:
        """The replies, after as many tries as it takes; what is refused only for now is tried again too."""
        give_up = trio.current_time() + PATIENCE
        attempt = 0
        try:
            while True:
                try:
                    replies = await self.connection.talk(calls, waiter)
                    _raise_passing(replies)
                except BrokerUnavailable as error:
                    list(calls)  # all are made before the first wait
                    if trio.current_time() >= give_up:
                        raise _unknown_outcome(error) from error
                    await self.outage.pause(self, error, attempt)
                    attempt += 1
                else:
                    self.outage.over(self)
                    return replies
        finally:
            self.outage.given_up(self)


def _unknown_outcome(error: BrokerUnavailable) -> BrokerUnavailable:
    text = str(error).rstrip(".")
    return BrokerUnavailable(
        f"{text}. No answer for {PATIENCE:.0f} s: the records may have been stored or not."
    )


def _raise_passing(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, BrokerUnavailable):
            raise reply


def _rounds(shipments: Sequence[Shipment]) -> Iterable[Iterable[SendCall]]:
    """Calls in rounds, one for each partition in a round; what cannot be merged waits for the next.

    Entries with given ids go alone, and so do entries of different fields. Those of a shipment that is alone
    are made as they are read: then the server works on one while the next is encoded.
    """
    if len(shipments) == 1:
        return [_send_calls(shipments[0])]
    rounds: list[dict[tuple[str, int], SendCall]] = []
    last: dict[tuple[str, int], int] = {}
    for i, shipment in enumerate(shipments):
        for number, batch in shipment.batches.items():
            key = (_keys.meta(shipment.stream), number)
            at = last.get(key, -1)
            call = rounds[at][key] if at >= 0 else None
            if call is None or not call.takes(batch, shipment.stream.layout):
                last[key] = at = at + 1
                if at == len(rounds):
                    rounds.append({})
                call = rounds[at][key] = SendCall(shipment.stream, number, [], [])
            call.batches.append(batch)
            call.shares.append((i, len(batch)))
    return [list(calls.values()) for calls in rounds]


def _send_calls(shipment: Shipment) -> Iterator[SendCall]:
    for number, batch in shipment.batches.items():
        yield SendCall(shipment.stream, number, [batch], [(0, len(batch))])


def _deal_out(
    call: SendCall, reply: Any, stored: list[dict[int, Appended]], failed: dict[int, Exception]
) -> None:
    if isinstance(reply, Exception):
        failed.update({i: _explained(reply, call) for i, _ in call.shares})
        return
    left = int(reply)
    if left == _SEALED_REPLY:
        for i, _ in call.shares:
            stored[i][call.partition] = SEALED
        return
    for i, count in call.shares:
        stored[i][call.partition] = min(left, count)
        left -= min(left, count)


def _explained(error: Exception, call: SendCall) -> Exception:
    text = str(error)
    if "BADID" not in text:
        return error
    where = numbered(call.stream.name, [call.partition])
    return Misconfigured(
        f"{where}: stream id {text.partition('BADID ')[2]}; ids must rise within a partition. "
        "This entry and those behind it were not stored."
    )
