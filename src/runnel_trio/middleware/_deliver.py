"""The last link: delivers items to the processor, as records if requested, and acknowledges them.

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
    """The item in hand must not be acknowledged, although the processor asks for the next."""


class Hand(Protocol):
    """Knows which item the processor works on."""

    def hold(self, item: Any) -> None:
        """The processor gets this item."""
        ...

    def handled(self) -> None:
        """The processor has finished the item in hand.

        Raises:
            Interrupted: it has not, and gets no more items.
        """
        ...

    def broken(self, error: Exception) -> None:
        """Something other than the processor failed."""
        ...


@attrs.frozen
class Deliver(Middleware):
    """Distinguishes exceptions of user code (which has the item in hand) from those of a link or the decoder.

    Attributes:
        decode: turns events into records (and lists of events into lists of records); None delivers events.
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
                    for event in item:
                        if event._record is None:
                            event._record = decode(event)
                    yield [event._record for event in item]
                handled()
        except Interrupted:
            return
        except Exception as error:
            events.broken(error)
            raise
