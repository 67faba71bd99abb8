"""``runnel-trio status``: shows what is wrong, since when, and what to type; for people and for probes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._cli._board import board
from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Ended, Exit, print_out
from runnel_trio._cli._options import F
from runnel_trio._operate._documents import of_overview
from runnel_trio._operate._health import AGE, Limits, Trouble, Typed, Weight, state, troubles
from runnel_trio._operate._overview import Overview
from runnel_trio._report._redaction import redacted

__all__ = ["BY_NAME", "max_age", "status", "told"]

#: What ``--app`` is for.
BY_NAME = "The app's name, if its code is not at hand."
#: Seconds after which a silent server counts as unreachable.
_PATIENCE = 10.0


#: The exit code if the server cannot be reached; lower ones are weights of troubles.
_UNREACHABLE = Exit.UNAVAILABLE
_COLOURS = {Weight.NOTE: "yellow", Weight.BEHIND: "yellow", Weight.STANDING: "red"}


def max_age(command: F) -> F:
    """The option that says how long an event may wait."""
    return click.option(
        "--max-age",
        type=click.FloatRange(min=0),
        default=AGE,
        show_default=True,
        metavar="SECONDS",
        help="Something is wrong if an event waits for longer.",
    )(command)


@command(App, by_name=BY_NAME)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.option("--watch", is_flag=True, help="Repeat until Ctrl-C.")
@click.option(
    "--over",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="The time that rates are taken over, and between two looks of --watch; 0: no rates.",
)
@click.option(
    "--max-lag", type=click.IntRange(min=0), metavar="N", help="Exit with 1 if a processor is further behind."
)
@max_age
def status(
    target: Target, max_lag: int | None, max_age: float, over: float, *, as_json: bool, watch: bool
) -> int:
    """Show the state of an app, and what to type to mend it.

    Streams, processors, members, what is behind, and what stands still.

    The exit code is 0 when all is well, 1 when something is further behind than it may be, or has just gone
    wrong, 2 when something stands still, 3 when the server cannot be reached.
    """
    app, limits = target.app, Limits(max_age, max_lag)
    look = _Look(app, target.commands, over, as_json=as_json, watch=watch, limits=limits)
    try:
        return trio.run(look.run)
    except trio.TooSlowError as error:
        said = f"the server at {redacted(app.settings.redis_url)} did not answer for {_PATIENCE:g} s"
        raise Ended(_UNREACHABLE, said) from error


@attrs.frozen
class _Look:
    app: App
    typed: Typed
    over: float
    as_json: bool = attrs.field(kw_only=True)
    watch: bool = attrs.field(kw_only=True)
    limits: Limits = attrs.field(kw_only=True)

    async def run(self) -> int:
        """Show the state once, or again and again. Returns the exit code."""
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + _PATIENCE
            async with self.app.operator() as op:
                scope.deadline = trio.current_time() + _PATIENCE
                before = await op.overview() if self.over and not self.watch else None
                while True:
                    if before is not None or self.watch:
                        scope.deadline = trio.current_time() + self.over + _PATIENCE
                        await trio.sleep(self.over if before is not None else 0)
                    view = await op.overview()
                    found = troubles(view, self.limits, self.typed)
                    self._show(view, before, found)
                    if not self.watch:
                        return state(found)
                    before = view
        raise trio.TooSlowError

    def _show(self, view: Overview, before: Overview | None, found: Sequence[Trouble]) -> None:
        if self.as_json:
            print_out(json.dumps(of_overview(view, before, found)))
            return
        width = max(60, shutil.get_terminal_size((80, 24)).columns)
        lines = board(view, before, typed=self.typed, width=width)
        lines += ["", *told(found, lines)]
        if state(found) is Weight.NOTE:
            lines.append(click.style("All else is well." if found else "All is well.", fg="green"))
        if self.watch:
            click.clear()
        print_out("\n".join(lines))


def told(found: Sequence[Trouble], shown: Sequence[str]) -> Iterator[str]:
    """A line for each trouble, and what to do about it if that is not shown already."""
    for trouble in found:
        yield click.style(trouble.line, fg=_COLOURS[trouble.weight])
        if trouble.remedy and not any(trouble.remedy in line for line in shown):
            yield f"  {trouble.remedy}"
