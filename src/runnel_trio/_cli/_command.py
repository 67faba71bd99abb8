"""What all commands have in common: from the command line to the app on its server, and to an exit code."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._cli._errors import Ended, Exit, conclude, tell
from runnel_trio._cli._load import app_of, discover, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._options import Command, common, typed_server
from runnel_trio._operate._health import Typed
from runnel_trio._processor import Processor
from runnel_trio._stream import Stream

__all__ = ["Target", "command"]

_ARGUMENTS = {App: "[MODULE:APP]", Stream: "MODULE:STREAM", Processor: "MODULE:PROCESSOR"}


@attrs.frozen(kw_only=True)
class Target:
    """What a command is about, on the server that it is to use.

    Attributes:
        app: the app.
        found: what was named: that app, a stream or a processor; None of what the code does not have.
        name: of the stream or processor, as `Operator` takes it.
        argument: what was typed.
        commands: how others about it are typed.
    """

    app: App
    found: Any
    name: str
    argument: str
    commands: Typed


def command(
    kind: type[Any],
    *,
    group: click.Group | None = None,
    name: str | None = None,
    by_name: str = "",
    makes: bool = False,
    discovers: bool = True,
    logs: bool = True,
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a function, which gets a `Target` and the values of its own options.

    An ``async`` one gets the app's `Operator` before them, and is run in Trio. What a function returns is the
    exit code; nothing means 0. What it raises is told as a line, with an exit code of its own.

    Args:
        kind: what the argument names: `App`, `Stream` or `Processor`.
        group: what it is a command of.
        name: its own, where it is not the function's.
        by_name: help of the option ``--app``, by which it needs no code; empty where it has none.
        makes: whether it makes a server where none is, for ``--embedded=DIR``; never with ``--dry-run``.
        discovers: whether it imports the files of ``autodiscover``: what is declared there may matter.
        logs: whether the log goes to standard error; otherwise it sees to that itself.
    """

    def decorate(function: Callable[..., Any]) -> click.Command:
        @wraps(function)
        def run(
            *, target: str | None, redis_url: str | None, embedded: str | None, show_all: bool, **given: Any
        ) -> int:
            def body() -> int:
                app, found = _find(kind, target, given.pop("app_name", None), discovers=discovers)
                if not makes or given.get("dry_run"):
                    _refuse_missing(embedded)
                redirect(app, redis_url=redis_url, embedded=embedded)
                if logs:
                    configure(app.settings, tell)
                typed = Typed((target or "MODULE").partition(":")[0], typed_server(redis_url, embedded))
                named = target or "" if found is None or found is app else found.name
                about = Target(app=app, found=found, name=named, argument=target or "", commands=typed)
                return _call(function, about, given)

            return conclude(body, show_all=show_all)

        own = vars(run).pop("__click_params__", [])
        made = common(run)
        vars(made)["__click_params__"] += own
        if by_name:
            made = click.option("--app", "app_name", metavar="NAME", help=by_name)(made)
        shown = f"{_ARGUMENTS[kind]}|STREAM/PROCESSOR" if by_name and kind is Processor else _ARGUMENTS[kind]
        made = click.argument("target", metavar=shown, required=kind is not App)(made)
        return (group.command if group is not None else click.command)(name, cls=Command)(made)

    return decorate


def _find(kind: type[Any], target: str | None, name: str | None, *, discovers: bool) -> tuple[App, Any]:
    """The app, and what was named of it.

    Raises:
        Ended: there is no such thing, or it is not said which.
    """
    if kind is App and (target is None) == (name is None):
        raise Ended(Exit.USAGE, "name the app: MODULE:APP, or --app NAME where its code is not at hand")
    if name is not None:
        return App(name), None
    found: Any = load(str(target), kind)
    stream = found.stream if kind is Processor else found
    app = found if kind is App else app_of(stream)
    if discovers:
        discover(app)
    return app, found


def _refuse_missing(embedded: str | None) -> None:
    """Refuse to make a new server for somebody who only looks.

    Raises:
        Ended: there is no such directory.
    """
    if embedded and not Path(embedded).expanduser().is_dir():
        raise Ended(
            Exit.USAGE, f"there is no directory {embedded}, and so no server to look at: --embedded=DIR"
        )


def _call(function: Callable[..., Any], target: Target, given: dict[str, Any]) -> int:
    async def operate() -> int:
        async with target.app.operator() as op:
            return await function(op, target, **given) or Exit.OK

    if inspect.iscoroutinefunction(function):
        return trio.run(operate)
    return function(target, **given) or Exit.OK
