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
        """Do for each what `Parties.beat` does; block meanwhile.

        Raises:
            BrokerUnavailable, BrokerRefused: as they say.
        """
        ...

    def interrupt(self) -> None:
        """From another thread: make the `send` under way fail now, and all later ones."""
        ...

    def close(self) -> None:
        """Give up what it holds, in the thread that sends."""
        ...


class Parties(Protocol):
    """Members and plans; the rules are in `_rules/_membership`.

    Attributes:
        clock: by which a member counts the seconds since a heartbeat; suspension does not stop it.
    """

    clock: Callable[[], float]

    async def beat(self, beat: Beat) -> Membership:
        """Join, or stay a member; members whose time is over are removed.

        One that is leaving does not join: what it says after `leave` changes nothing, and it has joined as 0.
        """
        ...

    def pulse(self) -> Pulse | None:
        """A way to send heartbeats from a thread; None where there is nothing but Trio's own time."""
        ...

    async def members(self, party: Party) -> Membership:
        """What `beat` answers, for somebody who is no member; changes nothing."""
        ...

    async def plan(
        self, processor: ProcessorSpec, generation: int, plan: Mapping[str, Sequence[int]]
    ) -> None:
        """Store which member is to own what, and tell the party; the first plan of a generation holds."""
        ...

    async def leave(self, party: Party, member: str) -> None:
        """Stop being a member, and tell the party."""
        ...

    def control(self, party: Party, block: float) -> Reader:
        """A reader of what a party's members are told, as entries of partition 0 behind `Membership.news`.

        Entries have the field ``released`` or ``paused`` with the numbers of partitions, in text with blanks
        between, or ``layout`` (see `Catalog.announce_layout`); every other one says that the membership or
        the plan has changed.
        """
        ...

    async def muster(self, party: Party) -> Muster:
        """What `look` answers, and for people: who is overdue, what ended workers, which keys are misfits."""
        ...

    async def ended(self, app: str, ending: Ending) -> None:
        """Keep for people that a worker was ended, for a while, beside the last few others."""
        ...
