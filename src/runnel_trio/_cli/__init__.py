"""The command line: ``runnel-trio``, or ``python -m runnel_trio``.

    run           a worker, or several  _run ← _worker_process; _supervisor ← _child; _check
    send          an event, or a few    _send
    sendmany      a file of JSON lines  _sendmany ← _lines, _progress
    status        how an app is         _status ← _board
    top           the same, live        _top ← _screen
    inspect       the events            _inspect ← _keys, _look
    stream        info, partition-of    _stream ← _keys, _look
    processor     reset, resume         _processor
    dead-letters  list, show, …         _dead_letters
    settings      what holds, and why   _settings
    init          a new project         _init ← templates/
    demo          real flights          _demo ← runnel_trio._demo
    completion    for shells            _completion

What commands have in common: `_options` are those for the server, `_load` finds what ``module:name`` means,
`_signals` hears SIGINT and SIGTERM, `_errors` writes, and turns whatever goes wrong into a line and an exit
code, `_streams` is what it writes to, `_logging` writes the log. A worker and its supervisor are tied by
`_leash`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any, NoReturn

import click
import trio

from runnel_trio import _early as early
from runnel_trio._app import App
from runnel_trio._cli import _send
from runnel_trio._cli._completion import completion
from runnel_trio._cli._dead_letters import dead_letters
from runnel_trio._cli._demo import demo
from runnel_trio._cli._errors import Exit, Unwritable, concluded, flushed, tell, unwritten, written
from runnel_trio._cli._init import init
from runnel_trio._cli._inspect import inspect
from runnel_trio._cli._lines import Lines
from runnel_trio._cli._load import app_of, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._options import Command, common
from runnel_trio._cli._processor import processor
from runnel_trio._cli._progress import Progress
from runnel_trio._cli._run import run
from runnel_trio._cli._sendmany import Sending
from runnel_trio._cli._settings import settings
from runnel_trio._cli._status import status
from runnel_trio._cli._stream import stream as stream_group
from runnel_trio._cli._streams import prepare
from runnel_trio._cli._top import top
from runnel_trio._kinds import redacted_text
from runnel_trio._stream import Stream

__all__ = ["main"]


_ALLOW_UNKNOWN = click.option(
    "--allow-unknown",
    is_flag=True,
    help="Leave out fields that the record does not have; else they are refused.",
)


class _Written(click.Group):
    """What click prints itself, ``--help`` for one, ends as what commands print: by `Unwritable`."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with written():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with written():
            return super().invoke(ctx)


@click.group(cls=_Written, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runnel-trio", message="%(version)s")
def cli() -> None:
    """Distributed, partitioned, strictly ordered event processing on Redis Streams."""


@cli.command(cls=Command)
@click.argument("target", metavar="MODULE:STREAM")
@click.argument("documents", metavar="JSON...", nargs=-1, required=True)
@_ALLOW_UNKNOWN
@common
def send(
    target: str,
    documents: Sequence[str],
    *,
    allow_unknown: bool,
    redis_url: str | None,
    embedded: str | None,
    show_all: bool,
) -> int:
    """Send an event, or several, each given as JSON."""

    def command() -> int:
        stream: Stream[Any] = load(target, Stream)
        app = app_of(stream)
        redirect(app, redis_url=redis_url, embedded=embedded)
        configure(app.settings, tell)
        _warn_of_loss(app)
        return trio.run(partial(_send.send, app, stream, documents, allow_unknown=allow_unknown))

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
@_ALLOW_UNKNOWN
@common
def sendmany(
    target: str,
    file: str,
    on_error: str,
    from_line: int,
    *,
    allow_unknown: bool,
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
                allow_unknown=allow_unknown,
            )
            return trio.run(sending.run)

    return concluded(command, show_all=show_all)


_OTHERS = (run, status, top, inspect, stream_group, processor, dead_letters, settings, init, demo, completion)
for _command in _OTHERS:
    cli.add_command(_command)


def _warn_of_loss(app: App) -> None:
    """A server that ends with the command takes with it what was sent: good for a trial only."""
    if app.settings.redis_url in {"embedded://", "memory://"}:
        tell("Only a trial: this server ends with this command. --embedded=DIR has one that keeps its data.")


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The console script; ends the process.

    Args:
        args: the arguments, without the name of the program; None takes those of the process.
    """
    early.begun()
    prepare()
    code = flushed(_status(args))
    if args is None:
        early.stand_by()
    sys.exit(code)


def _status(args: Sequence[str] | None) -> int:
    _show_everything()
    try:
        return int(cli.main(args, prog_name="runnel-trio", standalone_mode=False) or 0)
    except click.ClickException as error:
        said = io.StringIO()
        error.show(file=said)
        tell(redacted_text(said.getvalue().rstrip("\n")))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except OSError:  # the line that click ends after a ^C
        return Exit.INTERRUPTED
    except Unwritable as end:
        return unwritten(end)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        return Exit.INTERRUPTED


def _show_everything() -> None:
    """What a terminal or a pipe has no character for is escaped: names of files may be of any bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
