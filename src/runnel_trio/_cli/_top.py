"""``runnel-trio top``: `status`, live and over the whole screen, with keys. Needs the extra ``[top]``."""

from __future__ import annotations

import math
import os
import signal
import sys
import termios
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Ended, Exit
from runnel_trio._cli._keys import ESCAPE, Keys
from runnel_trio._cli._screen import STYLES, History, Line, screen
from runnel_trio._cli._status import BY_NAME, max_age
from runnel_trio._cli._streams import is_terminal
from runnel_trio._operate._health import LIMITS, Limits
from runnel_trio._operate._operator import Operator
from runnel_trio._operate._overview import Overview, ProcessorView
from runnel_trio._report._words import counted, ranges
from runnel_trio.exceptions import Misconfigured

__all__ = ["top"]

#: Keys with the same meaning as others.
_ALIKE = {"k": "up", "j": "down"}
#: Keys that end the command. Ctrl-C is a signal, but not on every terminal.
_QUITS = {"q", ESCAPE, "\x03", "\x04"}
#: Seconds after which half a key is taken for a key; over SSH its parts may arrive separately.
_HALF = 0.2
#: Make the terminal mark pasted text, which is not keys, and stop it from doing so.
_MARK_PASTES, _MARK_NONE = "\x1b[?2004h", "\x1b[?2004l"


@command(App, by_name=BY_NAME, logs=False)
@click.option(
    "--interval",
    type=click.FloatRange(min=0.1),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="Seconds between two updates.",
)
@max_age
def top(target: Target, interval: float, max_age: float) -> int:
    """Show the state of an app, live.

    Rates, who owns which partition, and what stands still; pause and resume by keys.
    """
    draw = _drawer()
    if not is_terminal(sys.stdin) or not is_terminal(sys.stdout):
        raise Ended(Exit.USAGE, "top needs a terminal: elsewhere there is `runnel-trio status`")
    return trio.run(_Top(target.app, interval, draw, Limits(max_age)).run)


def _drawer() -> Callable[[], Any]:
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise Ended(Exit.USAGE, 'top needs rich: pip install "runnel-trio[top]"') from None
    return lambda: Live(console=Console(), screen=True, auto_refresh=False, transient=True)


@attrs.define(eq=False)
class _Top:
    """The screen, and the state that keys change."""

    app: App
    interval: float
    draw: Callable[[], Any]
    limits: Limits = LIMITS
    _history: History = attrs.field(factory=History, init=False)
    _chosen: int = attrs.field(default=0, init=False)
    _asked: str = attrs.field(default="", init=False)
    _told: str = attrs.field(default="", init=False)
    _quit: trio.Event = attrs.field(factory=trio.Event, init=False)
    _live: Any = attrs.field(default=None, init=False)
    _operator: Operator = attrs.field(init=False)

    async def run(self) -> int:
        """Run until q, Ctrl-C or SIGTERM, and leave the terminal as it was."""
        async with self.app.operator() as self._operator:
            await self._look()
            with (
                trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGWINCH) as signals,
                _cbreak(),
                self.draw() as self._live,
            ):
                await self._live_on(signals)
        return Exit.OK

    async def _live_on(self, signals: AsyncIterator[int]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keys)
            nursery.start_soon(self._looks)
            nursery.start_soon(self._hear, signals)
            await self._quit.wait()
            nursery.cancel_scope.cancel()

    async def _look(self) -> None:
        self._history.add(await self._operator.overview())

    async def _looks(self) -> None:
        while True:
            self._refresh()
            await trio.sleep(self.interval)
            with trio.move_on_after(10 * self.interval + 5) as patience:
                await self._look()
            if patience.cancelled_caught:
                self._told = "the server does not answer; what is shown is old"

    async def _hear(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGWINCH:
                self._refresh()
            else:
                self._quit.set()

    async def _keys(self) -> None:
        keys = Keys()
        while True:
            with trio.move_on_after(_HALF if keys.is_pending else math.inf) as patience:
                await trio.lowlevel.wait_readable(0)
            data = b"" if patience.cancelled_caught else os.read(0, 1024)
            if not data and not patience.cancelled_caught:  # the terminal has gone
                self._quit.set()
                return
            for key in keys.feed(data) if data else keys.flush():
                shown = self._asked
                await self._pressed(_ALIKE.get(key, key))
                if self._asked and not shown:
                    break  # keys that were typed before the question was shown do not answer it
            self._refresh()

    async def _pressed(self, key: str) -> None:
        if self._asked:
            asked, self._asked = self._asked, ""
            if key == "y":
                await (self._pause() if asked.startswith("Pause") else self._resume())
            return
        view, self._told = self._view, ""
        if key in _QUITS:
            self._quit.set()
        elif key in {"up", "down"} and view.processors:
            self._chosen = (self._chosen + (1 if key == "down" else -1)) % len(view.processors)
        elif key in {"p", "r"} and view.processors:
            what = "Pause" if key == "p" else "Resume what stands still of"
            self._asked = f"{what} {self._processor.name}? y or n"

    async def _pause(self) -> None:
        by = f"top of {os.environ.get('USER', 'somebody')}"
        await self._act("Paused", partial(self._operator.pause, by=by), lambda number: number)

    async def _resume(self) -> None:
        await self._act("Resumed", self._operator.resume, lambda found: found.partition)

    async def _act(
        self, did: str, act: Callable[[str], Awaitable[list[Any]]], number: Callable[[Any], int]
    ) -> None:
        chosen = self._processor
        try:
            numbers = [number(x) for x in await act(f"{chosen.stream}/{chosen.name}")]
        except Misconfigured as error:
            self._told = str(error)
        else:
            which = f": {ranges(numbers)}" if numbers else ""
            many = counted(len(numbers), "partition")
            self._told = f"{did} for {chosen.name}: {many} of {chosen.stream}{which}."
        await self._look()

    @property
    def _view(self) -> Overview:
        view = self._history.before
        assert view is not None  # noqa: S101 (the first overview comes before the first key)
        return view

    @property
    def _processor(self) -> ProcessorView:
        processors = self._view.processors
        return processors[min(self._chosen, len(processors) - 1)]

    def _refresh(self) -> None:
        width, height = self._live.console.size
        lines = screen(
            self._view,
            self._history,
            chosen=self._chosen,
            width=max(60, width),
            height=max(12, height),
            asked=self._asked,
            told=self._told,
            limits=self.limits,
        )
        self._live.update(_text(lines), refresh=True)


def _text(lines: list[Line]) -> Any:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    for number, line in enumerate(lines):
        text.append("\n" if number else "")
        for part, style in line:
            text.append(part, STYLES[style] or None)
    return text


@contextmanager
def _cbreak() -> Iterator[None]:
    """A context in which keys arrive as they are pressed, and are not echoed."""
    before = termios.tcgetattr(0)
    tty.setcbreak(0)
    os.write(1, _MARK_PASTES.encode())
    try:
        yield
    finally:
        with suppress(OSError):  # the terminal has gone
            os.write(1, _MARK_NONE.encode())
        termios.tcsetattr(0, termios.TCSADRAIN, before)
