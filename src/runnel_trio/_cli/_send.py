"""``runnel-trio send``: one event, or a few, from the command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import click
import trio

from runnel_trio._app import App
from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Ended, Exit, tell
from runnel_trio._report._words import counted
from runnel_trio._stream import Stream
from runnel_trio.exceptions import RecordInvalid

__all__ = ["BadRecord", "allow_unknown", "parsed", "send", "warn_of_loss"]


class BadRecord(Exception):
    """A text is not a record of the stream; the message says why, with the path of the value."""


def parsed(stream: Stream[Any], text: bytes | str, *, allow_unknown: bool = False) -> Any:
    """A record from its JSON.

    Args:
        stream: whose record.
        text: the JSON.
        allow_unknown: whether to leave out fields that the record does not have, instead of refusing them.

    Raises:
        BadRecord: it is not JSON, or does not fit the record.
    """
    try:
        plain = json.loads(text if isinstance(text, str) else text.decode())
        return stream.structure(plain, forbid_unknown=not allow_unknown)
    except json.JSONDecodeError as error:
        raise BadRecord(f"no JSON: {error.msg} at character {error.pos + 1}") from None
    except UnicodeDecodeError as error:
        raise BadRecord(f"no UTF-8: byte {error.start + 1}") from None
    except RecordInvalid as error:
        raise BadRecord(str(error)) from None
    except RecursionError:
        raise BadRecord("nested too deeply") from None
    except ValueError as error:  # an int has too many digits
        raise BadRecord(f"no JSON: {error}") from None


#: How fields are read that the record does not have.
allow_unknown = click.option(
    "--allow-unknown",
    is_flag=True,
    help="Ignore fields that the record does not have; otherwise they are refused.",
)


def warn_of_loss(app: App) -> None:
    """Warn if the server ends with the command, because what was sent is lost then."""
    if app.settings.redis_url in {"embedded://", "memory://"}:
        tell("Only a trial: this server ends with this command. --embedded=DIR has one that keeps its data.")


@command(Stream, makes=True, discovers=False)
@click.argument("documents", metavar="JSON...", nargs=-1, required=True)
@allow_unknown
def send(target: Target, documents: Sequence[str], *, allow_unknown: bool) -> int:
    """Send one or more events, each given as JSON."""
    warn_of_loss(target.app)
    return trio.run(partial(_send, target.app, target.found, documents, allow_unknown=allow_unknown))


async def _send(app: App, stream: Stream[Any], texts: Sequence[str], *, allow_unknown: bool) -> int:
    """Send the records of some JSON documents; none if one of them is bad.

    Raises:
        Ended: one of them is bad.
        BrokerUnavailable: there is no server.
    """
    records = []
    for number, text in enumerate(texts, 1):
        try:
            records.append(parsed(stream, text, allow_unknown=allow_unknown))
        except BadRecord as error:
            which = f"document {number}: " if len(texts) > 1 else ""
            raise Ended(Exit.DATA, f"{which}{error}. Nothing was sent.") from None
    async with app.session():
        await stream.send(*records)
    tell(f"Sent {counted(len(records), 'event')} to {stream.name}.")
    return Exit.OK
