"""The command line: ``runnel-trio``, or ``python -m runnel_trio``.

    run       a worker                  _run
    send      an event, or a few        _send
    sendmany  a file of JSON lines      _sendmany ← _lines, _progress
    resume    partitions in quarantine  _resume

What commands have in common: `_load` finds what ``module:name`` means, `_signals` hears SIGINT and SIGTERM,
`_errors` turns whatever goes wrong into a line and an exit code, `_logging` writes the log.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any, NoReturn, TypeVar

import click
import trio

from runnel_trio._app import App
from runnel_trio._cli import _resume, _run, _send
from runnel_trio._cli._errors import Exit, concluded, tell
from runnel_trio._cli._lines import Lines
from runnel_trio._cli._load import app_of, discover, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._progress import Progress
from runnel_trio._cli._sendmany import Sending
from runnel_trio._processor import Processor
from runnel_trio._stream import Stream

__all__ = ["main"]

F = TypeVar("F", bound=Callable[..., Any])


class _Command(click.Command):
    """A command whose ``--embedded`` takes a directory only behind an equals sign.

    click would take what follows as the directory, in ``run --embedded shop:app`` the app.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Make ``--embedded=`` of a bare ``--embedded``."""
        given = ["--embedded=" if arg == "--embedded" else arg for arg in args]
        try:
            return super().parse_args(ctx, given)
        except click.UsageError as error:
            if "--embedded" in args and "unexpected" in error.message:
                hint = "A directory for --embedded goes behind an equals sign: --embedded=DIR"
                raise click.UsageError(f"{error.message}. {hint}", ctx) from None
            raise


def _common(command: F) -> F:
    """The options that every command has."""
    options = [
        click.option("--redis-url", metavar="URL", help="The server to use, whatever the settings say."),
        click.option(
            "--embedded",
            metavar="[=DIR]",
            help="Use a server of its own, which keeps its data in DIR; without =DIR, they are thrown away.",
        ),
        click.option("--traceback", "show_all", is_flag=True, help="Show errors with their whole traceback."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runnel-trio", message="%(version)s")
def cli() -> None:
    """Distributed, partitioned, strictly ordered event processing on Redis Streams."""


@cli.command(cls=_Command)
@click.argument("target", metavar="MODULE:APP")
@click.option("--processors", metavar="A,B", help="Run these processors only.")
@_common
def run(
    target: str, *, processors: str | None, redis_url: str | None, embedded: str | None, show_all: bool
) -> int:
    """Run a worker: the processors and tasks of an app.

    SIGINT (Ctrl-C) or SIGTERM stops it gracefully: events in hand are finished. A second one stops it at
    once.
    """

    def command() -> int:
        app = load(target, App)
        discover(app)
        chosen = _run.chosen(app, processors)
        redirect(app, redis_url=redis_url, embedded=embedded)
        configure(app.settings, tell)
        return trio.run(_run.run, app, chosen)

    return concluded(command, show_all=show_all)


@cli.command(cls=_Command)
@click.argument("target", metavar="MODULE:STREAM")
@click.argument("documents", metavar="JSON...", nargs=-1, required=True)
@_common
def send(
    target: str, documents: Sequence[str], *, redis_url: str | None, embedded: str | None, show_all: bool
) -> int:
    """Send an event, or several, each given as JSON."""

    def command() -> int:
        stream: Stream[Any] = load(target, Stream)
        app = app_of(stream)
        redirect(app, redis_url=redis_url, embedded=embedded)
        configure(app.settings, tell)
        _warn_of_loss(app)
        return trio.run(_send.send, app, stream, documents)

    return concluded(command, show_all=show_all)


@cli.command(cls=_Command)
@click.argument("target", metavar="MODULE:STREAM")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True))
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="What to do with a line that is no such record.",
)
@click.option(
    "--from-line", type=click.IntRange(min=1), default=1, metavar="N", help="Leave out the lines before N."
)
@_common
def sendmany(
    target: str,
    file: str,
    on_error: str,
    from_line: int,
    *,
    redis_url: str | None,
    embedded: str | None,
    show_all: bool,
) -> int:
    """Send a file of JSON lines, an event each.

    FILE may be gzipped; - is standard input. Lines are sent in their order. Whatever ends it, the last lines
    say what was sent and what was not, and how to continue.
    """

    def command() -> int:
        stream: Stream[Any] = load(target, Stream)
        app = app_of(stream)
        redirect(app, redis_url=redis_url, embedded=embedded)
        with closing(Lines.open(file)) as lines:
            progress = Progress(lines)
            configure(app.settings, progress.tell)
            _warn_of_loss(app)
            sending = Sending(
                app=app,
                stream=stream,
                lines=lines,
                progress=progress,
                skip=on_error == "skip",
                first=from_line,
            )
            return trio.run(sending.run)

    return concluded(command, show_all=show_all)


@cli.command(cls=_Command)
@click.argument("target", metavar="MODULE:PROCESSOR")
@click.option(
    "--partition", "partitions", type=int, multiple=True, metavar="N", help="Only this one; repeatable."
)
@click.option("--skip", is_flag=True, help="Leave out what failed: it is not handled again.")
@click.option("--dry-run", is_flag=True, help="Only show what stands still, and why.")
@_common
def resume(
    target: str,
    partitions: Sequence[int],
    *,
    skip: bool,
    dry_run: bool,
    redis_url: str | None,
    embedded: str | None,
    show_all: bool,
) -> int:
    """Let partitions go on that stand still in quarantine.

    Shows for each one the event, the exception and its traceback. Workers that run go on with it at once.
    """

    def command() -> int:
        processor = load(target, Processor)
        app = app_of(processor.stream)
        redirect(app, redis_url=redis_url, embedded=embedded)
        configure(app.settings, tell)
        return trio.run(partial(_resume.resume, app, processor, partitions, skip=skip, dry_run=dry_run))

    return concluded(command, show_all=show_all)


def _warn_of_loss(app: App) -> None:
    """A server that ends with the command takes with it what was sent: good for a trial only."""
    if app.settings.redis_url in {"embedded://", "memory://"}:
        tell("Only a trial: this server ends with this command. --embedded=DIR has one that keeps its data.")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The console script; ends the process.

    Args:
        args: the arguments, without the name of the program; None takes those of the process.
    """
    sys.exit(_status(args))


def _status(args: Sequence[str] | None) -> int:
    try:
        return int(cli.main(args, prog_name="runnel-trio", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        return Exit.INTERRUPTED
