"""Events per second between two overviews of an app."""

from __future__ import annotations

import attrs

from runnel_trio._operate._overview import Overview, ProcessorView, StreamView

__all__ = ["Rates"]


@attrs.frozen
class Rates:
    """Events per second since an earlier look; None where there was none, or not yet such a thing.

    Attributes:
        before: that look.
        now: the later one.
    """

    before: Overview | None
    now: Overview

    def added(self, stream: StreamView) -> float | None:
        """To a stream."""
        found = {x.spec.name: x.added for x in self.before.streams} if self.before else {}
        return self._rate(found.get(stream.spec.name), stream.added)

    def acknowledged(self, processor: ProcessorView) -> float | None:
        """By a processor; 0 where it was set back."""
        found = {x.full_name: x.acknowledged for x in self.before.processors} if self.before else {}
        return self._rate(found.get(processor.full_name), processor.acknowledged)

    def _rate(self, before: int | None, now: int) -> float | None:
        if before is None or self.before is None or self.now.time <= self.before.time:
            return None
        return max(0, now - before) / (self.now.time - self.before.time)
