"""The command line: ``runnel-trio``, or ``python -m runnel_trio``.

    run           a worker, or several  _run ← _worker_process; _supervisor ← _child; _check
    send          an event, or a few    _send
    sendmany      a file of JSON lines  _sendmany ← _lines, _progress
    status        how an app is         _status ← _board
    top           the same, live        _top ← _screen, _keys
    inspect       the events            _inspect ← _partition_keys
    stream        info, partition-of    _stream ← _partition_keys; _repartition
    processor     reset, resume         _processor ← _resume
    dead-letters  list, show, …         _dead_letters
    parked        list, retry, …        _parked ← _partition_keys, _inspect
    settings      what holds, and why   _settings
    init          a new project         _init ← templates/
    demo          real flights          _demo ← runnel_trio._demo
    completion    for shells            _completion

What commands have in common: `_command` makes one of a function, from what is typed to the app's `Operator`
and to an exit code; `_options` are those for the server and for partitions, `_load` finds what
``module:name`` means, `_signals` hears SIGINT and SIGTERM, `_errors` writes, and turns whatever goes wrong
into a line and an exit code, `_streams` is what it writes to, `_logging` writes the log. A worker and its
supervisor are tied by `_leash`. All that is looked at and done is in `runnel_trio._operate`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from runnel_trio import _early as early
from runnel_trio._cli._completion import completion
from runnel_trio._cli._dead_letters import dead_letters
from runnel_trio._cli._demo import demo
from runnel_trio._cli._errors import Exit, Unwritable, flush, tell, tell_unwritable, writing
from runnel_trio._cli._init import init
from runnel_trio._cli._inspect import inspect
from runnel_trio._cli._parked import parked
from runnel_trio._cli._processor import processor
from runnel_trio._cli._run import run
from runnel_trio._cli._send import send
from runnel_trio._cli._sendmany import sendmany
from runnel_trio._cli._settings import settings
from runnel_trio._cli._status import status
from runnel_trio._cli._stream import stream
from runnel_trio._cli._streams import prepare
from runnel_trio._cli._top import top
from runnel_trio._report._redaction import redacted_text

__all__ = ["main"]


class _Written(click.Group):
    """The group of all commands; like theirs, click's own output (``--help``) fails with `Unwritable`."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with writing():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with writing():
            return super().invoke(ctx)


@click.group(cls=_Written, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="runnel-trio", message="%(version)s")
def cli() -> None:
    """Distributed, partitioned, strictly ordered event processing on Redis Streams."""


for _command in (
    run,
    send,
    sendmany,
    status,
    top,
    inspect,
    stream,
    processor,
    dead_letters,
    parked,
    settings,
    init,
    demo,
    completion,
):
    cli.add_command(_command)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The console script; ends the process.

    Args:
        args: the arguments, without the name of the program; None takes those of the process.
    """
    early.begun()
    prepare()
    code = flush(_status(args))
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
    except OSError:  # click ends the line after ^C, which fails here
        return Exit.INTERRUPTED
    except Unwritable as end:
        return tell_unwritable(end)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        return Exit.INTERRUPTED


def _show_everything() -> None:
    """Escape what standard output has no character for: file names may consist of any bytes."""
    for output in (sys.stdout, sys.stderr):
        if isinstance(output, io.TextIOWrapper) and output.errors == "strict":
            output.reconfigure(errors="backslashreplace")
