"""``runnel-trio status``: what is not well, since when, and what to type; for people and for probes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._broker._protocol import Broker
from runnel_trio._cli._board import board
from runnel_trio._cli._errors import Ended, Exit, concluded, print_out, tell
from runnel_trio._cli._load import discover, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._options import Command, F, common, typed_server
from runnel_trio._kinds import redacted
from runnel_trio._operate._health import AGE, Limits, Trouble, Typed, Weight, state, troubles
from runnel_trio._operate._overview import Overview, overview

__all__ = ["app_or_name", "looked_over", "max_age", "of_app", "refuse_missing", "status", "told"]

#: Seconds for which the server may be silent.
_PATIENCE = 10.0


#: What ends it with the code 3; the others are weights of troubles.
_UNREACHABLE = Exit.UNAVAILABLE
#: The same in words, as --json has them.
_WORDS = {Weight.NOTE: "well", Weight.BEHIND: "behind", Weight.STANDING: "standing"}
_WEIGHTS = {**_WORDS, Weight.NOTE: "note"}
_COLOURS = {Weight.NOTE: "yellow", Weight.BEHIND: "yellow", Weight.STANDING: "red"}


def of_app(command: F) -> F:
    """What names the app, as `app_or_name` reads it."""
    option = click.option(
        "--app", "name", metavar="NAME", help="The app's name, where its code is not at hand."
    )
    return click.argument("target", metavar="[MODULE:APP]", required=False)(option(command))


def max_age(command: F) -> F:
    """How long an event may wait."""
    return click.option(
        "--max-age",
        type=click.FloatRange(min=0),
        default=AGE,
        show_default=True,
        metavar="SECONDS",
        help="An app is not well in which an event waits for longer.",
    )(command)


@click.command(cls=Command)
@of_app
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--over",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="The time that rates are taken over, and between two looks of --watch; 0: no rates.",
)
@click.option(
    "--max-lag", type=click.IntRange(min=0), metavar="N", help="Exit 1 if a processor is further behind."
)
@max_age
@common
def status(
    target: str | None,
    name: str | None,
    max_lag: int | None,
    max_age: float,
    over: float,
    *,
    as_json: bool,
    watch: bool,
    redis_url: str | None,
    embedded: str | None,
    show_all: bool,
) -> int:
    """Show how an app is, and what to type where it is not well.

    Streams, processors, members, what is behind, and what stands still.

    The exit code is 0 when all is well, 1 when something is further behind than it may be, or has just gone
    wrong, 2 when something stands still, 3 when the server cannot be reached.
    """

    def command() -> int:
        app = app_or_name(target, name)
        refuse_missing(embedded)
        redirect(app, redis_url=redis_url, embedded=embedded)
        configure(app.settings, tell)
        typed = Typed((target or "MODULE").partition(":")[0], typed_server(redis_url, embedded))
        look = _Look(app, typed, over, as_json=as_json, watch=watch, limits=Limits(max_age, max_lag))
        try:
            return trio.run(look.run)
        except trio.TooSlowError as error:
            said = f"the server at {redacted(app.settings.redis_url)} did not answer for {_PATIENCE:g} s"
            raise Ended(_UNREACHABLE, said) from error

    return concluded(command, show_all=show_all)


async def looked_over(app: App, broker: Broker) -> Overview:
    """The app as it stands on the server, and what its code says of it."""
    known = [x.spec for x in app.processors.values()]
    led = sum(x.on_leader for x in app.background)
    return await overview(broker, app.name, known, led=led)


def app_or_name(target: str | None, name: str | None) -> App:
    """The app of a module, or one of a name alone, with settings from the environment.

    Raises:
        Ended: both were given, or none.
    """
    if (target is None) == (name is None):
        raise Ended(Exit.USAGE, "name the app: MODULE:APP, or --app NAME where its code is not at hand")
    if target is not None:
        app = load(target, App)
        discover(app)
        return app
    return App(str(name))


def refuse_missing(embedded: str | None) -> None:
    """Who only looks must not make a new server where none is.

    Raises:
        Ended: there is no such directory.
    """
    if embedded and not Path(embedded).expanduser().is_dir():
        raise Ended(
            Exit.USAGE, f"there is no directory {embedded}, and so no server to look at: --embedded=DIR"
        )


@attrs.frozen
class _Look:
    app: App
    typed: Typed
    over: float
    as_json: bool = attrs.field(kw_only=True)
    watch: bool = attrs.field(kw_only=True)
    limits: Limits = attrs.field(kw_only=True)

    async def run(self) -> int:
        """Look until there is nothing more to be shown; the exit code."""
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + _PATIENCE
            async with self.app.session():
                scope.deadline = trio.current_time() + _PATIENCE
                before = await self._overview() if self.over and not self.watch else None
                while True:
                    if before is not None or self.watch:
                        scope.deadline = trio.current_time() + self.over + _PATIENCE
                        await trio.sleep(self.over if before is not None else 0)
                    view = await self._overview()
                    found = troubles(view, self.limits, self.typed)
                    self._show(view, before, found)
                    if not self.watch:
                        return state(found)
                    before = view
        raise trio.TooSlowError

    async def _overview(self) -> Overview:
        async with self.app._shared.used() as broker:
            return await looked_over(self.app, broker)

    def _show(self, view: Overview, before: Overview | None, found: Sequence[Trouble]) -> None:
        if self.as_json:
            print_out(json.dumps(_plain(view, before, found)))
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
    """A line for each trouble, and what to do where that is not shown already."""
    for trouble in found:
        yield click.style(trouble.line, fg=_COLOURS[trouble.weight])
        if trouble.remedy and not any(trouble.remedy in line for line in shown):
            yield f"  {trouble.remedy}"


def _plain(view: Overview, before: Overview | None, found: Sequence[Trouble]) -> dict[str, Any]:
    """For JSON: what there is, and rates where there was an earlier look."""

    def plain(_: type[Any], __: Any, value: Any) -> Any:
        return value.decode() if isinstance(value, bytes) else getattr(value, "value", value)

    document = attrs.asdict(view, value_serializer=plain)
    seconds = view.time - before.time if before else 0.0
    earlier = {(x.stream, x.name): x.acknowledged for x in before.processors} if before else {}
    for processor, shown in zip(view.processors, document["processors"], strict=True):
        shown |= {"lag": processor.lag, "age": processor.age, "owned": processor.owned}
        then = earlier.get((processor.stream, processor.name))
        shown["rate"] = (processor.acknowledged - then) / seconds if then is not None and seconds else None
    document["state"] = _WORDS[state(found)]
    document["troubles"] = [attrs.asdict(x) | {"weight": _WEIGHTS[x.weight]} for x in found]
    for weight in (Weight.STANDING, Weight.BEHIND):
        document[_WORDS[weight]] = [x.line for x in found if x.weight is weight]
    return document
