"""Heartbeats over a connection of their own, from a thread: a handler that blocks Trio must not stop them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import attrs

from runnel_trio._broker._protocol import Beat, Membership, Party
from runnel_trio._broker._redis import _keys
from runnel_trio._broker._redis._replies import membership
from runnel_trio._broker._redis._transport._connection import Transport
from runnel_trio._broker._redis._transport._scripts import Call
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["RedisPulse", "beat_call", "party_keys"]


def party_keys(party: Party) -> list[str]:
    """Of members, plan and control."""
    return [_keys.members(party), _keys.plan(party), _keys.control(party)]


def beat_call(beat: Beat) -> Call:
    """A heartbeat as a call of its script."""
    suspects: list[str | int] = []
    for member, count in beat.suspects.items():
        suspects += [member, count]
    own: list[str | int] = [beat.member, int(beat.expiry * 1000), int(beat.leaving), beat.about]
    return Call("beat", party_keys(beat.party), own + suspects)


@attrs.define(eq=False)
class RedisPulse:
    """See `_protocol.Pulse`."""

    _transport: Transport
    _ended: threading.Event = attrs.field(factory=threading.Event, init=False)

    def send(self, beats: Sequence[Beat]) -> list[Membership]:
        """See `_protocol.Pulse`."""
        if self._ended.is_set():
            self._transport.close()
            raise BrokerUnavailable("the connection to the server is closed")
        replies = self._transport.exchange([beat_call(beat) for beat in beats])
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return [membership(reply) for reply in replies]

    def interrupt(self) -> None:
        """See `_protocol.Pulse`."""
        self._ended.set()
        self._transport.interrupt()

    def close(self) -> None:
        """Give the connection up, from the thread that used it."""
        self._transport.close()
