"""What a broker says about its server: facts, and the times of day."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Server"]


class Server(Protocol):
    """The server behind a broker.

    Attributes:
        url: where it is, for clients of user code.
        about: what kind of server it is, in words for people.
        clustered: whether only partitions of the same number are sure to be on one node.
        keys_per_read: how many partitions one reader waits for without strain.
    """

    url: str
    about: str
    clustered: bool
    keys_per_read: int

    def watch(self, away: Callable[[], None], back: Callable[[float], None]) -> None:
        """Call ``away`` in Trio when the server goes away, and ``back`` with the seconds that it was gone."""
        ...

    def wall(self) -> float:
        """The time of day, in seconds since 1970; in memory it goes on as Trio's clock does."""
        ...

    def id_time(self) -> float:
        """The time in an id that is given now, in seconds, as near as it is known without asking."""
        ...

    async def time(self) -> float:
        """The clock by which ids are given, in seconds since 1970."""
        ...
