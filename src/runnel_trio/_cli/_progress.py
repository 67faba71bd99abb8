"""Shows on one line of a terminal how far a file has been sent; without a terminal, it draws nothing."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable

import attrs
import trio

from runnel_trio._cli._errors import tell
from runnel_trio._cli._lines import Lines
from runnel_trio._cli._streams import draw, is_terminal
from runnel_trio._report._words import counted

__all__ = ["Progress", "rate"]

#: Seconds between two drawings.
INTERVAL = 0.1
#: Seconds without a stored event after which the bar says that the command is waiting.
PATIENCE = 1.0
ERASE = "\r\x1b[K"
WAITING = ", waiting"


def rate(count: int, seconds: float) -> str:
    """Events per second, for people."""
    return f"{count / seconds:,.0f}/s" if seconds > 0 else "-/s"


@attrs.define(eq=False)
class Progress:
    """The progress bar.

    Attributes:
        lines: the source, which knows how much of it has been read.
        terminal: whether there is one to draw on.
        began: when sending began, by the monotonic clock.
    """

    lines: Lines
    terminal: bool = attrs.field(factory=lambda: is_terminal(sys.stderr))
    began: float = attrs.field(factory=time.monotonic)
    _drawn: bool = False

    async def run(self, sent: Callable[[], int]) -> None:
        """Draw until cancelled, whatever the sending waits for.

        Args:
            sent: returns how many events are stored.
        """
        if not self.terminal:
            return
        before, changed = -1, self.began
        try:
            while True:
                now = time.monotonic()
                if sent() != before:
                    before, changed = sent(), now
                self._draw(before, now - self.began, waiting=now - changed > PATIENCE)
                await trio.sleep(INTERVAL)
        finally:
            self._erase()

    def tell(self, text: str) -> None:
        """Print a line that stays; the bar goes on below it."""
        self._erase()
        tell(text)

    def _draw(self, sent: int, seconds: float, *, waiting: bool) -> None:
        width = shutil.get_terminal_size().columns - 1
        line = self._line(sent, seconds, width - len(WAITING)) + (WAITING if waiting else "")
        draw(ERASE + line[:width])
        self._drawn = True

    def _erase(self) -> None:
        if self._drawn:
            self._drawn = False
            draw(ERASE)

    def _line(self, sent: int, seconds: float, width: int) -> str:
        said = f" {counted(sent, 'event')}, {rate(sent, seconds)}"
        if not self.lines.size:
            return f"{self.lines.name}:{said}"
        done = min(1.0, self.lines.consumed / self.lines.size)
        room = max(0, min(40, width - len(said) - 6))
        bar = "#" * round(done * room)
        return f"{done:5.0%} {bar:-<{room}}{said}"
