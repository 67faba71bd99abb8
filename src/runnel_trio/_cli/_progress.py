"""How far a file has been sent, drawn over one line of a terminal; on anything else, nothing is drawn."""

from __future__ import annotations

import shutil
import sys
import time

import attrs

from runnel_trio._cli._errors import tell
from runnel_trio._cli._lines import Lines

__all__ = ["Progress", "rate"]

#: Seconds between two drawings.
INTERVAL = 0.1
ERASE = "\r\x1b[K"


def rate(count: int, seconds: float) -> str:
    """Events a second, for people."""
    return f"{count / seconds:,.0f}/s" if seconds > 0 else "-/s"


@attrs.define(eq=False)
class Progress:
    """The bar.

    Attributes:
        lines: the source, which knows how much of it has been read.
        terminal: whether there is one to draw on.
        began: when, by the monotonic clock.
    """

    lines: Lines
    terminal: bool = attrs.field(factory=sys.stderr.isatty)
    began: float = attrs.field(factory=time.monotonic)
    _next: float = 0.0
    _drawn: bool = False

    def draw(self, sent: int) -> None:
        """Show the present state, at most ten times a second."""
        now = time.monotonic()
        if self.terminal and now >= self._next:
            self._next, self._drawn = now + INTERVAL, True
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(ERASE + self._line(sent, now - self.began, width)[:width])
            sys.stderr.flush()

    def tell(self, text: str) -> None:
        """A line that stays; the bar goes on below it."""
        if self._drawn:
            self._drawn, self._next = False, 0.0
            sys.stderr.write(ERASE)
            sys.stderr.flush()
        tell(text)

    def _line(self, sent: int, seconds: float, width: int) -> str:
        said = f" {sent:,} events, {rate(sent, seconds)}"
        if not self.lines.size:
            return f"{self.lines.name}:{said}"
        done = min(1.0, self.lines.consumed / self.lines.size)
        room = max(0, min(40, width - len(said) - 6))
        bar = "#" * round(done * room)
        return f"{done:5.0%} {bar:-<{room}}{said}"
