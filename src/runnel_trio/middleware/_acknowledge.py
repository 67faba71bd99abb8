"""The link that acknowledges: asking for the next item means that the one before was handled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from runnel_trio.interfaces import Middleware

__all__ = ["Acknowledge", "Hand"]


class Hand(Protocol):
    """Knows which item the processor works on."""

    def hold(self, item: Any) -> None:
        """It was given this one."""
        ...

    def handled(self) -> None:
        """It is through with it."""
        ...

    def broken(self, error: Exception) -> None:
        """A link before this one failed."""
        ...


class Acknowledge(Middleware):
    """Tells apart what user code raises (the item is in hand) from what a link raises (it never was)."""

    async def handler(self, parent: AsyncIterator[Any], *, events: Hand, **kwargs: Any) -> AsyncIterator[Any]:
        """See `Middleware.handler`."""
        try:
            async for item in parent:
                events.hold(item)
                yield item
                events.handled()
        except Exception as error:
            events.broken(error)
            raise
