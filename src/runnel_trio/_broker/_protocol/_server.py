"""What a broker says about its server: facts, and the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Server"]


class Server(Protocol):
    """The server behind a broker.

    Attributes:
        url: where it is, for the clients that user code makes.
        about: what kind of server it is, in words for people.
        clustered: whether it is a cluster: only partitions of the same number are sure to share a node.
        keys_per_read: how many partitions one reader can wait for without strain.
    """

    url: str
    about: str
    clustered: bool
    keys_per_read: int

    def watch(self, away: Callable[[], None], back: Callable[[float], None]) -> None:
        """Call ``away`` in Trio when the server goes away, and ``back`` with the seconds that it was gone."""
        ...

    def wall(self) -> float:
        """The time of day, in seconds since 1970; the memory broker's follows Trio's clock."""
        ...

    def id_time(self) -> float:
        """The time, in seconds, that an id given now would have; estimated without asking the server."""
        ...

    async def time(self) -> float:
        """The clock by which ids are given, in seconds since 1970."""
        ...
