"""Members and plans on Redis or Valkey, and heartbeats over a connection of their own.

These leave from a thread: a handler that blocks Trio must not stop them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import attrs

from runnel_trio._broker._protocol import Parties, Pulse, Reader
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._calls import RedisCalls, party_keys
from runnel_trio._broker._redis._replies import as_written, ending_of, ending_text, membership, misfits
from runnel_trio._broker._redis._transport._cluster_connection import ClusterConnection
from runnel_trio._broker._redis._transport._scripts import Call
from runnel_trio._broker._seen import ENDINGS, ENDINGS_KEPT, Ending, Muster
from runnel_trio._broker._values import AppSpec, Beat, Membership, Party, ProcessorSpec
from runnel_trio._override import override
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["RedisParties", "RedisPulse"]


def _beat(beat: Beat) -> Call:
    suspects: list[str | int] = []
    for member, count in beat.suspects.items():
        suspects += [member, count]
    own: list[str | int] = [beat.member, int(beat.expiry * 1000), int(beat.leaving), beat.about]
    return Call("beat", party_keys(beat.party), own + suspects)


@attrs.define(eq=False)
class RedisPulse(Pulse):
    """A connection that only heartbeats use."""

    _connection: ClusterConnection
    _ended: threading.Event = attrs.field(factory=threading.Event, init=False)

    @override
    def send(self, beats: Sequence[Beat]) -> list[Membership]:
        if self._ended.is_set():
            self._connection.close()
            raise BrokerUnavailable("the connection to the server is closed")
        replies = self._connection.exchange([_beat(beat) for beat in beats])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [membership(reply) for reply in replies]

    @override
    def interrupt(self) -> None:
        self._ended.set()
        self._connection.interrupt()

    @override
    def close(self) -> None:
        self._connection.close()


class RedisParties(RedisCalls, Parties):
    """A party is two hashes, of its members and of their plan, and a short stream of what they are told."""

    @override
    async def beat(self, beat: Beat) -> Membership:
        (reply,) = await self.ask([_beat(beat)])
        return membership(reply)

    @override
    def pulse(self) -> RedisPulse:
        return RedisPulse(self.servers.connection())

    @override
    async def members(self, party: Party) -> Membership:
        (reply,) = await self.ask([Call("members", party_keys(party), [])])
        return membership(reply)

    @override
    async def plan(
        self, processor: ProcessorSpec, generation: int, plan: Mapping[str, Sequence[int]]
    ) -> None:
        arguments: list[str | int] = [generation]
        for member, numbers in plan.items():
            arguments += [member, " ".join(map(str, numbers))]
        await self.ask([Call("plan", party_keys(processor), arguments)])

    @override
    async def leave(self, party: Party, member: str) -> None:
        await self.ask([Call("leave", [_keys.members(party), _keys.control(party)], [member])])

    @override
    def control(self, party: Party, block: float) -> Reader:
        key = _keys.control(party)
        return self.servers.reader(lambda _: key, block)

    @override
    async def muster(self, party: Party) -> Muster:
        keys = party_keys(party)
        if isinstance(party, AppSpec):
            keys.append(_keys.endings(party.name))
        (reply,) = await self.ask([Call("muster", keys, [])])
        kinds, kept, late, view = reply[:4], reply[4], reply[5], reply[6:]
        expected = ("hash", "hash", "stream", "string")[: len(keys)]
        members = membership(view) if view else Membership()
        return Muster(
            membership=members,
            overdue=_overdue(members, late),
            endings=tuple(x for line in kept.splitlines() if (x := ending_of(line)) is not None),
            misfits=misfits(keys, kinds[: len(keys)], expected),
        )

    @override
    async def ended(self, app: str, ending: Ending) -> None:
        await self.ask([Call("ended", [_keys.endings(app)], [ending_text(ending), ENDINGS, ENDINGS_KEPT])])


@as_written
def _overdue(members: Membership, late: bytes) -> dict[str, float]:
    pairs = zip(members.members, map(int, late.split()), strict=True)
    return {member.id: ms / 1000 for member, ms in pairs if ms}
