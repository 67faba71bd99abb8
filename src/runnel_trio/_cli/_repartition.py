"""``runnel-trio stream repartition``: changes the number of a stream's partitions, while everything runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence

import attrs
import click
import trio

from runnel_trio._broker._values import Quarantine
from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import tell
from runnel_trio._cli._progress import ERASE
from runnel_trio._cli._streams import draw, is_terminal
from runnel_trio._operate._alike import alike, reason
from runnel_trio._operate._health import Typed
from runnel_trio._operate._operator import Operator
from runnel_trio._operate._repartition import Progress, Repartition, Waiting
from runnel_trio._report._redaction import redacted_text
from runnel_trio._report._words import counted, numbered
from runnel_trio._stream import Stream

__all__ = ["repartition"]

#: Seconds between two lines if there is no terminal.
_LINE = 10.0


@command(Stream)
@click.option(
    "--to",
    "count",
    type=click.IntRange(min=1),
    required=True,
    metavar="N",
    help="The new number of partitions.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
async def repartition(op: Operator, target: Target, count: int, *, dry_run: bool) -> None:
    """Change the number of a stream's partitions, while senders and workers run.

    At once, what is sent goes to the new partitions. Each processor handles everything in the former ones
    first, then goes over; so the events of a key stay in order, and none is lost. The command shows what is
    still to be handled, and deletes the former partitions in the end. It may be interrupted and typed again.
    """
    shown = _Shown(target.name, target.commands.module, count, server=target.commands.server)
    change = op.repartition(target.name)
    await (_say(change, shown) if dry_run else _do(change, shown))


async def _say(change: Repartition, shown: _Shown) -> None:
    layouts = await change.layouts(shown.count)
    progress = await change.look()
    now = layouts.current.partition_count
    former = layouts.draining
    if former is None and now == shown.count:
        tell(f"{shown.name} has {now} partitions already: there is nothing to do.")
        return
    if former is None:
        tell(f"{shown.name} would have {shown.count} partitions in place of {now}.")
    else:
        tell(f"{shown.name} has {now} partitions; the {former.partition_count} former ones are not gone yet.")
    for line in shown.lines(progress):
        tell(line)
    tell("What all processors have handled goes with the former partitions: it cannot be processed again.")
    tell("Nothing was changed.")


async def _do(change: Repartition, shown: _Shown) -> None:
    try:
        layouts = await change.begin(shown.count)
        if layouts.draining is None:
            tell(f"{shown.name} has {shown.count} partitions already: there is nothing to do.")
            return
        former = layouts.draining.partition_count
        tell(f"{shown.name} has {shown.count} partitions: what is sent now goes there.")
        await change.wait(shown.show)
    except KeyboardInterrupt:
        shown.erase()
        tell("It goes on without this command. Type it again to see how far it is, and to end it.")
        raise
    shown.erase()
    tell(f"Everything in the {former} former partitions is handled, and they are gone.")
    tell(f"Write partition_count={shown.count} where {shown.name} is declared; there is no hurry.")


@attrs.define(eq=False)
class _Shown:
    """Shows a repartitioning: each thing that it waits for once, and its progress again and again.

    Attributes:
        name: the name of the stream.
        module: the module of its code, for the commands that lines recommend.
        count: the number of partitions that it is to have.
        terminal: whether there is one to draw on.
        server: options for the server, for these commands too.
    """

    name: str
    module: str
    count: int
    terminal: bool = attrs.field(factory=lambda: is_terminal(sys.stderr))
    server: str = attrs.field(default="", kw_only=True)
    _told: set[str] = attrs.field(factory=set, init=False)
    _due: float = attrs.field(default=0.0, init=False)

    def show(self, progress: Progress) -> None:
        """Show what is new."""
        for line in self._obstacles(progress):
            if line not in self._told:
                self._told.add(line)
                self.erase()
                tell(line)
        line = self._far(progress)
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            draw(ERASE + line[:width])
        elif trio.current_time() >= self._due:
            self._due = trio.current_time() + _LINE
            tell(line)

    def erase(self) -> None:
        """Erase the progress, to make room for a line that stays."""
        if self.terminal:
            draw(ERASE)

    def lines(self, progress: Progress) -> Iterator[str]:
        """What a repartitioning would wait for, for a dry run."""
        for waiting in progress.waiting:
            yield f"{waiting.name} would handle {_events(waiting.lag)} first."
        for name in progress.through:
            yield f"{name} is through with what there is now."
        yield from self._obstacles(progress)

    def _far(self, progress: Progress) -> str:
        if progress.waiting:
            each = ", ".join(f"{x.name} {x.lag:,}" for x in progress.waiting)
            return f"{_events(progress.lag)} in the former partitions to be handled: {each}"
        if progress.unread:
            return f"{_events(progress.unread)} in the former partitions, which nobody has read"
        if progress.members:
            return f"{counted(progress.members, 'worker')} still to go over to the new partitions"
        return "the former partitions can go"

    def _obstacles(self, progress: Progress) -> Iterator[str]:
        for waiting in progress.waiting:
            if not waiting.members:
                yield f"{waiting.name} is waited for, and no worker runs it."
            for group in alike(waiting.standing, reason):
                yield self._standing(waiting, group)
        if progress.unread:
            yield (
                f"No processor has ever read {_events(progress.unread)} that are stored: run one, or if "
                "these are dead letters, replay or drop them (runnel-trio dead-letters)."
            )

    def _standing(self, waiting: Waiting, group: Sequence[Quarantine]) -> str:
        """The line about partitions that stand still for the same reason."""
        numbers, why = [x.partition for x in group], group[0]
        be, still, it = ("is", "stands", "it") if len(group) == 1 else ("are", "stand", "them")
        state = f"{be} paused by {why.member}" if why.is_pause else f"{still} still: {why.error}"
        resume = Typed(self.module, self.server).resume(waiting.name, numbers)
        label = numbered(self.name, numbers)
        return redacted_text(f"{waiting.name} is waited for: {label} {state}. Let {it} go on: {resume}")


def _events(count: int) -> str:
    return "1 event" if count == 1 else f"{count:,} events"
