"""The last link: delivers items to the processor, as records if it wants them, and acknowledges them.

Decoding and acknowledging are one link and not two, because each link costs every event 0.3 µs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import attrs

from runnel_trio._event import Event
from runnel_trio.interfaces import Middleware

__all__ = ["Deliver", "Hand", "Interrupted"]


class Interrupted(Exception):
    """What the processor has in hand must not be acknowledged, though it asks for the next."""


class Hand(Protocol):
    """Knows which item the processor works on."""

    def hold(self, item: Any) -> None:
        """It was given this one."""
        ...

    def handled(self) -> None:
        """It is through with it.

        Raises:
            Interrupted: it is not, and gets no more.
        """
        ...

    def broken(self, error: Exception) -> None:
        """Something else than the processor failed."""
        ...


@attrs.frozen
class Deliver(Middleware):
    """Tells apart what user code raises (the item is in hand) from what a link or the decoder raises.

    Attributes:
        decode: makes records of events, and lists of records of lists of events; None delivers events.
    """

    decode: Callable[[Event], Any] | None = None

    async def handler(self, parent: AsyncIterator[Any], *, events: Hand, **kwargs: Any) -> AsyncIterator[Any]:
        """See `Middleware.handler`."""
        decode, hold, handled = self.decode, events.hold, events.handled
        try:
            async for item in parent:
                hold(item)
                if decode is None:
                    yield item
                elif isinstance(item, Event):
                    if item._record is None:  # as `Event.record`, without a call
                        item._record = decode(item)
                    yield item._record
                else:
                    yield [event.record() for event in item]
                handled()
        except Interrupted:
            return
        except Exception as error:
            events.broken(error)
            raise
