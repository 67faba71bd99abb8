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
        found: the app, stream or processor that was named; None if the code does not have it.
        name: the name of the stream or processor, as `Operator` takes it.
        argument: what was typed.
        commands: how to type other commands about it.
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
    """Decorator: make a function a command, which gets a `Target` and the values of its own options.

    An ``async`` function gets the app's `Operator` before them, and runs in Trio. A function returns the exit
    code; None means 0. An exception becomes an error line, with an exit code of its own.

    Args:
        kind: what the argument names: `App`, `Stream` or `Processor`.
        group: the group that the command belongs to.
        name: the name of the command, if it differs from the function's.
        by_name: the help of the option ``--app``, with which the command needs no code; empty without it.
        makes: whether ``--embedded=DIR`` may create a server; never with ``--dry-run``.
        discovers: whether to import the files of ``autodiscover``, because declarations in them matter.
        logs: whether to log to standard error; otherwise the function configures the log itself.
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
    """The app, and the stream or processor of it that was named.

    Raises:
        Ended: it does not exist, or the command line does not say which.
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
    """Refuse to create a server for a command that only looks.

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
