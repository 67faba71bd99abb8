"""``runnel-trio status``: what stands still, since when, and what to type; for people and for probes."""

from __future__ import annotations

import enum
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._broker._protocol import ProcessorSpec
from runnel_trio._cli._board import board
from runnel_trio._cli._errors import Ended, Exit, concluded, print_out, tell
from runnel_trio._cli._load import discover, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._options import Command, F, common
from runnel_trio._kinds import redacted
from runnel_trio._overview import Health, Overview, health, overview

__all__ = ["app_or_name", "of_app", "status"]

#: Seconds for which the server may be silent.
_PATIENCE = 10.0


class State(enum.IntEnum):
    """The exit codes of ``status``."""

    WELL = 0
    BEHIND = 1
    STANDING = 2
    UNREACHABLE = Exit.UNAVAILABLE


def of_app(command: F) -> F:
    """What names the app, as `app_or_name` reads it."""
    option = click.option(
        "--app", "name", metavar="NAME", help="The app's name, where its code is not at hand."
    )
    return click.argument("target", metavar="[MODULE:APP]", required=False)(option(command))


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
@click.option(
    "--max-age",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="Exit 1 if an event waits for longer.",
)
@common
def status(
    target: str | None,
    name: str | None,
    max_lag: int | None,
    max_age: float | None,
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

    The exit code is 0 when all is well, 1 when something is further behind than --max-lag or --max-age allow,
    2 when something stands still, 3 when the server cannot be reached.
    """

    def command() -> int:
        app = app_or_name(target, name)
        refuse_missing(embedded)
        redirect(app, redis_url=redis_url, embedded=embedded)
        configure(app.settings, tell)
        module = (target or "MODULE").partition(":")[0]
        server = f" --embedded={embedded}" if embedded else ""
        if redis_url is not None and redacted(redis_url) == redis_url:
            server = f" --redis-url {redis_url}"
        look = _Look(
            app, module, server, over, as_json=as_json, watch=watch, max_lag=max_lag, max_age=max_age
        )
        try:
            return trio.run(look.run)
        except trio.TooSlowError as error:
            said = f"the server at {redacted(app.settings.redis_url)} did not answer for {_PATIENCE:g} s"
            raise Ended(State.UNREACHABLE, said) from error

    return concluded(command, show_all=show_all)


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
    module: str
    server: str
    over: float
    as_json: bool = attrs.field(kw_only=True)
    watch: bool = attrs.field(kw_only=True)
    max_lag: int | None = attrs.field(kw_only=True)
    max_age: float | None = attrs.field(kw_only=True)

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
                    found = health(view, most_lag=self.max_lag, most_age=self.max_age)
                    self._show(view, before, found)
                    if not self.watch:
                        return _state(found)
                    before = view
        raise trio.TooSlowError

    async def _overview(self) -> Overview:
        known: Sequence[ProcessorSpec] = [x.spec for x in self.app.processors.values()]
        async with self.app._shared.used() as broker:
            return await overview(broker, self.app.name, known)

    def _show(self, view: Overview, before: Overview | None, found: Health) -> None:
        if self.as_json:
            print_out(json.dumps(_plain(view, before, found)))
            return
        width = max(60, shutil.get_terminal_size((80, 24)).columns)
        lines = board(view, before, module=self.module, server=self.server, width=width)
        lines += ["", *(click.style(line, fg="red") for line in found.standing)]
        lines += [click.style(line, fg="yellow") for line in found.behind]
        if _state(found) is State.WELL:
            lines.append(click.style("All is well.", fg="green"))
        if self.watch:
            click.clear()
        print_out("\n".join(lines))


def _state(found: Health) -> State:
    if found.standing:
        return State.STANDING
    return State.BEHIND if found.behind else State.WELL


def _plain(view: Overview, before: Overview | None, found: Health) -> dict[str, Any]:
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
    document["state"] = _state(found).name.lower()
    document["standing"], document["behind"] = list(found.standing), list(found.behind)
    return document
