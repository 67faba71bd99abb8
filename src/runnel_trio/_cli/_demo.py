"""``runnel-trio demo``: sends real flights through two workers, shows them, and checks the result."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import trio

from runnel_trio._cli._errors import Ended, Exit, conclude, print_out
from runnel_trio._cli._progress import ERASE
from runnel_trio._cli._signals import handling_signals
from runnel_trio._cli._streams import is_terminal
from runnel_trio._report._words import counted
from runnel_trio._scopes import helpers

if TYPE_CHECKING:  # it makes an app, whose settings may be wrong, so it is imported in the command
    from runnel_trio._demo._replay import Planes, Replay

__all__ = ["demo"]

#: Seconds between two lines without a terminal, and between two drawings on a terminal.
LINES, DRAWINGS = 1.0, 0.05


@click.command()
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--redis-url", metavar="URL", help="Use this server, group or cluster; clear up afterwards.")
@click.option("--traceback", "show_all", is_flag=True, help="Show errors with their whole traceback.")
def demo(file: str | None, *, redis_url: str | None, show_all: bool) -> int:
    """Run real flights through two workers.

    The flights of a week are sent to two workers, which keep the history of every aircraft, and these are
    checked. Without a URL they have a server of their own (the extra [embedded]). FILE has other flights:
    examples/flights in the repository tells what is in it.
    """

    def command() -> int:
        from runnel_trio._demo._replay import SAMPLE, BadFile, Occupied, Replay

        path = Path(file) if file is not None else SAMPLE
        if not os.path.isfile(path):  # unlike `stat`, this does not raise for a name that is too long
            raise Ended(Exit.USAGE, f"there is no file {file}")
        try:
            return trio.run(_Demo(Replay(path, redis_url or "embedded://")).run)
        except BadFile as error:
            raise Ended(Exit.DATA, str(error)) from error
        except Occupied as error:
            raise Ended(Exit.CONFIG, str(error)) from error

    return conclude(command, show_all=show_all)


@attrs.define(eq=False)
class _Demo:
    """One demonstration, on standard output.

    Attributes:
        replay: the flights on their way through the workers.
        terminal: whether counts are drawn over each other, or printed line by line.
    """

    replay: Replay
    terminal: bool = attrs.field(factory=lambda: is_terminal(sys.stdout))
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _ready: trio.Event = attrs.field(factory=trio.Event)
    _signal: int = 0
    _drawn: bool = False

    async def run(self) -> int:
        """Run the demonstration to its end, or until a signal."""
        with handling_signals(self._stop, self._stop), self._scope:
            async with helpers() as nursery:
                nursery.start_soon(self._live)
                await self.replay.run(self._ready.set)
        if self._signal:
            gone = "The server and its" if self._embedded else "Its"
            self._say(f"Stopped: {self._counts()}. {gone} data are gone.")
            return 128 + self._signal
        return self._conclude()

    @property
    def _embedded(self) -> bool:
        return self.replay.url == "embedded://"

    def _stop(self, number: int) -> None:
        self._signal = number
        self._scope.cancel()

    async def _live(self) -> None:
        """Show the counts while they grow."""
        print_out(f"Starting {'a server and ' if self._embedded else ''}two workers …")
        await self._ready.wait()
        print_out(f"They share the flights of {self.replay.path.name}: each aircraft's in order.")
        while True:
            await trio.sleep(DRAWINGS if self.terminal else LINES)
            if self.terminal:
                self._draw()
            else:
                print_out(self._counts())

    def _counts(self) -> str:
        replay = self.replay
        return (
            f"{replay.sent:,} flights sent, {replay.handled:,} handled, {len(replay.planes):,} aircraft, "
            f"{replay.seconds:.1f} s"
        )

    def _draw(self) -> None:
        width = shutil.get_terminal_size().columns - 1
        print_out(ERASE + self._counts()[:width], nl=False)
        self._drawn = True

    def _say(self, text: str) -> None:
        """Print a line that stays."""
        print_out((ERASE if self._drawn else "") + text)
        self._drawn = False

    def _conclude(self) -> int:
        from runnel_trio._demo._replay import differences, expected_of

        replay = self.replay
        self._say(self._counts())
        print_out(_table(replay))
        name, expected = expected_of(replay.path)
        if expected is None:
            print_out(f"Not checked: there is no {name} beside the file.")
            return Exit.OK
        wrong = differences(expected, replay.planes)
        if not wrong:
            print_out(f"Right: all {len(replay.planes):,} histories equal {name},")
            print_out("so every flight was counted once, and each aircraft's in their order.")
            return Exit.OK
        first = wrong[0]
        print_out(f"WRONG, unlike {name}: {counted(len(wrong), 'history', 'histories')}. One is {first}'s:")
        print_out(f"expected  {_row(expected.get(first))}\nfound     {_row(replay.planes.get(first))}")
        return Exit.FAILED


def _table(replay: Replay) -> str:
    """The ten busiest aircraft and the totals."""
    planes: Planes = replay.planes
    busiest = sorted(planes, key=lambda tailnum: (-planes[tailnum]["flights"], tailnum))[:10]
    totals = {name: sum(plane[name] for plane in planes.values()) for name in ("flights", "miles", "delayed")}
    rate = replay.sent / replay.seconds
    took = f"{replay.seconds:.2f} s: {rate:,.0f} events/s"
    return "\n".join(
        [
            f"\nDepartures from New York, {replay.path.name}: the ten busiest aircraft\n",
            f"{'aircraft':<10}{'flights':>8}{'miles':>13}{'delayed':>9}   history",
            *(f"{tailnum:<10}{_row(planes[tailnum])}" for tailnum in busiest),
            f"{'all':<10}{_row({**totals, 'digest': ''})}\n",
            f"{replay.sent:,} flights of {len(planes):,} aircraft in {took}",
        ]
    )


def _row(plane: dict[str, Any] | None) -> str:
    """The columns of one aircraft."""
    if plane is None:
        return "    none"
    counts = f"{plane['flights']:>8,}{plane['miles']:>13,}{plane['delayed']:>9,}"
    return f"{counts}   {plane['digest']}".rstrip()
