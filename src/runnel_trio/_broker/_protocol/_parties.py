"""The members of a party, the plan of what each should own, and messages to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from runnel_trio._broker._protocol._reader import Reader
from runnel_trio._broker._seen import Ending, Muster
from runnel_trio._broker._values import Beat, Membership, Party, ProcessorSpec

__all__ = ["Parties", "Pulse"]


class Pulse(Protocol):
    """Heartbeats that leave from a thread, over a connection of their own."""

    def send(self, beats: Sequence[Beat]) -> list[Membership]:
        """Send heartbeats as `Parties.beat` does; the thread is blocked meanwhile.

        Raises:
            BrokerUnavailable, BrokerRefused: the server does not answer, or refuses.
        """
        ...

    def interrupt(self) -> None:
        """Make the `send` under way and all later ones fail. Another thread calls this."""
        ...

    def close(self) -> None:
        """Close the connection. The thread that sends calls this."""
        ...


class Parties(Protocol):
    """Members and plans; the rules are in `_rules/_membership`.

    Attributes:
        clock: measures the seconds since a heartbeat; it goes on while the machine is suspended.
    """

    clock: Callable[[], float]

    async def beat(self, beat: Beat) -> Membership:
        """Join, or stay a member; members whose time is over are removed.

        A member that is leaving does not join again: after `leave`, its heartbeat changes nothing, and
        `Membership.joined_as` is 0.
        """
        ...

    def pulse(self) -> Pulse | None:
        """A way to send heartbeats from a thread; None for a broker whose only time is Trio's."""
        ...

    async def members(self, party: Party) -> Membership:
        """What `beat` answers, for somebody who is no member; changes nothing."""
        ...

    async def plan(
        self, processor: ProcessorSpec, generation: int, plan: Mapping[str, Sequence[int]]
    ) -> None:
        """Store which member should own what, and tell the party; only the first plan of a generation."""
        ...

    async def leave(self, party: Party, member: str) -> None:
        """Stop being a member, and tell the party."""
        ...

    def control(self, party: Party, block: float) -> Reader:
        """A reader of a party's news, as entries of partition 0 behind `Membership.news`.

        An entry with the field ``released`` or ``paused`` has the numbers of partitions, as text with blanks
        between them. One with the field ``layout`` is from `Catalog.announce_layout`. Any other one says that
        the membership or the plan has changed.
        """
        ...

    async def muster(self, party: Party) -> Muster:
        """What `members` answers, and for people: who is overdue, what ended workers, which are misfits."""
        ...

    async def ended(self, app: str, ending: Ending) -> None:
        """Store what ended a worker, for people to see; the last few are kept, for a while."""
        ...
