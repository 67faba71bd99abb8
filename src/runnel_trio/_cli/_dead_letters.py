"""``runnel-trio dead-letters``: what failed, and its way back."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from runnel_trio._app import App
from runnel_trio._cli._errors import Ended, Exit, print_out, tell
from runnel_trio._cli._options import Command, F, common
from runnel_trio._cli._options import partitions as chosen_partitions
from runnel_trio._cli._processor import operate
from runnel_trio._kinds import legible
from runnel_trio._processor import Processor
from runnel_trio._words import counted, described
from runnel_trio.middleware import Dead, DeadLetterMiddleware, Letter

__all__ = ["dead_letters"]


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at events that failed, replay or drop them."""


def _target(command: F) -> F:
    return click.argument("target", metavar="MODULE:PROCESSOR")(command)


def _chosen(command: F) -> F:
    command = click.option("--all", "every", is_flag=True, help="All of them.")(command)
    return click.argument("ids", metavar="[PARTITION/ID]...", nargs=-1)(command)


@dead_letters.command("list", cls=Command)
@_target
@chosen_partitions
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="A JSON document for each, with all that is known.")
@common
def list_(target: str, partitions: Sequence[int], *, limit: int | None, as_json: bool, **server: Any) -> int:
    """List the dead letters of a processor, a line each, the oldest of each partition first."""

    async def work(_: App, processor: Processor[Any]) -> None:
        found = await _letters_of(processor).letters(partitions=partitions or None, limit=limit)
        for letter in found:
            print_out(json.dumps(_document(letter)) if as_json else _line(letter))
        if not found:
            tell("There are no dead letters.")

    return operate(target, work, looks=True, **server)


@dead_letters.command(cls=Command)
@_target
@click.argument("ids", metavar="PARTITION/ID...", nargs=-1, required=True)
@common
def show(target: str, ids: Sequence[str], **server: Any) -> int:
    """Show dead letters whole: where they come from, what is in them, the exception and its traceback."""

    async def work(_: App, processor: Processor[Any]) -> None:
        for letter in await _found(_letters_of(processor), ids, every=False):
            print_out(_whole(letter))

    return operate(target, work, looks=True, **server)


@dead_letters.command(cls=Command)
@_target
@_chosen
@common
def replay(target: str, ids: Sequence[str], *, every: bool, **server: Any) -> int:
    """Send dead letters back, each to the end of the partition that it came from.

    Each is moved in one step: it is never in both streams, and never in none.
    """
    _demand(ids, every=every)

    async def work(_: App, processor: Processor[Any]) -> None:
        link = _letters_of(processor)
        letters = await _found(link, ids, every=every)
        moved = await link.replay(letters)
        tell(f"Sent {_count(moved)} back to {processor.stream.name}.{_gone(len(letters) - moved)}")

    return operate(target, work, looks=True, **server)


@dead_letters.command(cls=Command)
@_target
@_chosen
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def drop(target: str, ids: Sequence[str], *, every: bool, yes: bool, **server: Any) -> int:
    """Delete dead letters for good."""
    _demand(ids, every=every)

    async def work(_: App, processor: Processor[Any]) -> None:
        link = _letters_of(processor)
        letters = await _found(link, ids, every=every)
        if letters and every and not yes:
            if sys.stdin is None:
                raise Ended(Exit.USAGE, "standard input is closed: give --yes to drop all of them")
            click.confirm(
                f"Drop {_count(len(letters))} of {link.sink.name} for good?",
                abort=True,
                err=True,
            )
        gone = await link.drop(letters)
        tell(f"Dropped {_count(gone)}.{_gone(len(letters) - gone)}")

    return operate(target, work, looks=True, **server)


def _letters_of(processor: Processor[Any]) -> DeadLetterMiddleware:
    for link in processor.middleware:
        if isinstance(link, DeadLetterMiddleware):
            return link
    raise Ended(
        Exit.USAGE, f"{processor!r} has no DeadLetterMiddleware: what fails there makes no dead letters"
    )


def _demand(ids: Sequence[str], *, every: bool) -> None:
    if bool(ids) == every:
        raise click.UsageError("Give the letters, as `dead-letters list` shows them, or --all.")


async def _found(link: DeadLetterMiddleware, ids: Sequence[str], *, every: bool) -> list[Letter]:
    letters = {_id(letter): letter for letter in await link.letters()}
    if every:
        return list(letters.values())
    missing = [given for given in ids if given not in letters]
    if missing:
        raise Ended(
            Exit.USAGE,
            f"{link.sink.name} has no letter {', '.join(missing)}: see `dead-letters list`. "
            "Nothing was done.",
        )
    return [letters[given] for given in dict.fromkeys(ids)]


def _id(letter: Letter) -> str:
    return f"{letter.partition}/{letter.xid}"


def _line(letter: Letter) -> str:
    record = letter.record
    if isinstance(record, Dead):
        place, when = f"{record.stream}[{record.partition}]", record.time.isoformat(timespec="seconds")
        said = " ".join(record.error.split())
        return legible(f"{_id(letter)}  {when}  {place} {record.xid}  {said}")
    return f"{_id(letter)}  {_fields(letter) if record is None else described(record)}"


def _fields(letter: Letter) -> dict[str, str]:
    text = [part.decode(errors="backslashreplace") for part in letter.fields]
    return dict(zip(text[::2], text[1::2], strict=True))


def _document(letter: Letter) -> dict[str, Any]:
    found: dict[str, Any] = {"id": _id(letter)}
    record = letter.record
    if isinstance(record, Dead):
        found |= {
            name: getattr(record, name) for name in ("stream", "partition", "xid", "error", "traceback")
        }
        found["time"] = record.time.isoformat()
        found["data"] = {name: value.decode(errors="backslashreplace") for name, value in record.data.items()}
    else:
        found["data"] = _fields(letter)
    return found


def _whole(letter: Letter) -> str:
    document = _document(letter)
    data, traceback = document.pop("data"), document.pop("traceback", "")
    lines = [f"{name}: {value}" for name, value in document.items()]
    lines += [f"data.{name}: {value}" for name, value in data.items()]
    lines += traceback.rstrip().splitlines()
    return "\n".join(legible(line, 1 << 53) for line in lines) + "\n"


def _count(number: int) -> str:
    return counted(number, "dead letter")


def _gone(number: int) -> str:
    return f" Gone meanwhile: {number:,}." if number else ""
