"""The last link: events become records, batches of events lists of records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs

from runnel_trio._event import Event
from runnel_trio.interfaces import Middleware
from runnel_trio.middleware._acknowledge import Hand

__all__ = ["Deserialize"]


@attrs.frozen
class Deserialize(Middleware):
    """Decodes what it is given; what cannot be read fails as if the processor had raised."""

    decode: Callable[[Event], Any]

    async def handler(self, parent: AsyncIterator[Any], *, events: Hand, **kwargs: Any) -> AsyncIterator[Any]:
        """See `Middleware.handler`."""
        decode = self.decode
        async for item in parent:
            try:
                record = decode(item) if isinstance(item, Event) else [decode(event) for event in item]
            except Exception as error:
                events.broken(error)
                raise
            yield record
