"""The command line: ``runnel-trio``, or ``python -m runnel_trio``.

    run           a worker              _run ← _metrics, _pages
    send          an event, or a few    _send
    sendmany      a file of JSON lines  _sendmany ← _lines, _progress
    status        how an app is         _status ← _board
    processor     reset, resume         _processor
    dead-letters  list, show, …         _dead_letters

What commands have in common: `_options` are those for the server, `_load` finds what ``module:name`` means,
`_signals` hears SIGINT and SIGTERM, `_errors` turns whatever goes wrong into a line and an exit code,
`_logging` writes the log.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from typing import Any, NoReturn

import click
import trio

from runnel_trio._app import App
from runnel_trio._cli import _run, _send
from runnel_trio._cli._dead_letters import dead_letters
from runnel_trio._cli._errors import Exit, concluded, tell
from runnel_trio._cli._lines import Lines
from runnel_trio._cli._load import app_of, discover, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._metrics import Place
from runnel_trio._cli._options import Command, common
from runnel_trio._cli._processor import processor
from runnel_trio._cli._progress import Progress
from runnel_trio._cli._sendmany import Sending
from runnel_trio._cli._status import status
from runnel_trio._stream import Stream

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runnel-trio", message="%(version)s")
def cli() -> None:
    """Distributed, partitioned, strictly ordered event processing on Redis Streams."""


@cli.command(cls=Command)
@click.argument("target", metavar="MODULE:APP")
@click.option("--processors", metavar="A,B", help="Run these processors only.")
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Serve /metrics, /healthz and /readyz there.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="At this address; 0.0.0.0 for all that the machine has.",
)
@common
def run(
    target: str,
    *,
    processors: str | None,
    metrics_port: int | None,
    metrics_host: str,
    redis_url: str | None,
    embedded: str | None,
    show_all: bool,
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
        place = None if metrics_port is None else Place(metrics_host, metrics_port)
        return trio.run(_run.run, app, chosen, place)

    return concluded(command, show_all=show_all)


@cli.command(cls=Command)
@click.argument("target", metavar="MODULE:STREAM")
@click.argument("documents", metavar="JSON...", nargs=-1, required=True)
@common
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


@cli.command(cls=Command)
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
@common
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


cli.add_command(status)
cli.add_command(processor)
cli.add_command(dead_letters)


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
