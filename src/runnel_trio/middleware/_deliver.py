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
    """Knows which item the processor works on: the one that `Deliver` has put into `_in_hand`."""

    _in_hand: Any

    def handled(self, number: int) -> None:
        """The processor has finished the item in hand, whose last event has this number.

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
        check: raises for an item that the processor must not get; None delivers all.
    """

    decode: Callable[[Event], Any] | None = None
    check: Callable[[Any], None] | None = None

    async def handler(self, parent: AsyncIterator[Any], *, events: Hand, **kwargs: Any) -> AsyncIterator[Any]:
        """See `Middleware.handler`."""
        decode, check, handled = self.decode, self.check, events.handled
        try:
            async for item in parent:
                events._in_hand = item
                if check is not None:
                    check(item)
                if isinstance(item, Event):
                    if decode is None:
                        yield item
                    else:
                        record = item._record  # as `Event.record`, without a call
                        if record is None:
                            record = item._record = decode(item)
                        yield record
                    handled(item._number)
                else:
                    yield item if decode is None else _records(item, decode)
                    handled(item[-1]._number if item else -1)
        except Interrupted:
            return
        except Exception as error:
            events.broken(error)
            raise


def _records(events: list[Event], decode: Callable[[Event], Any]) -> list[Any]:
    for event in events:
        if event._record is None:
            event._record = decode(event)
    return [event._record for event in events]
