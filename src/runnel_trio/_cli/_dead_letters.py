"""``runnel-trio dead-letters``: shows events that failed, sends them back, or drops them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import click

from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Ended, Exit, blaming_arguments, print_out, tell
from runnel_trio._cli._options import F
from runnel_trio._cli._options import partitions as chosen_partitions
from runnel_trio._operate._cursors import numbers_of
from runnel_trio._operate._documents import of_letter
from runnel_trio._operate._operator import Operator
from runnel_trio._processor import Processor
from runnel_trio._report._redaction import legible
from runnel_trio._report._words import counted, described, numbered
from runnel_trio.middleware import Dead, Letter

__all__ = ["dead_letters"]


@click.group("dead-letters")
def dead_letters() -> None:
    """Look at events that failed, replay or drop them."""


def _chosen(command: F) -> F:
    command = click.option("--all", "every", is_flag=True, help="All of them.")(command)
    return click.argument("ids", metavar="[PARTITION/ID]...", nargs=-1)(command)


@command(Processor, group=dead_letters, name="list")
@chosen_partitions
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show at most N.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON document per letter, with everything known about it."
)
async def list_(
    op: Operator, target: Target, partitions: Sequence[int], *, limit: int | None, as_json: bool
) -> None:
    """List the dead letters of a processor, one per line, the oldest of each partition first."""
    layouts = await op.layouts(_sink(op, target))
    with blaming_arguments():
        numbers_of(max(layouts.all, key=lambda x: x.partition_count), partitions)
    found = await op.letters(target.name, partitions=partitions or None, limit=limit)
    for letter in found:
        print_out(json.dumps(of_letter(letter)) if as_json else _line(letter))
    if not found:
        tell("There are no dead letters.")


@command(Processor, group=dead_letters)
@click.argument("ids", metavar="PARTITION/ID...", nargs=-1, required=True)
async def show(op: Operator, target: Target, ids: Sequence[str]) -> None:
    """Show dead letters whole: where they come from, what is in them, the exception and its traceback."""
    for letter in await _letters(op, target, ids, every=False):
        print_out(_whole(letter))


@command(Processor, group=dead_letters)
@_chosen
async def replay(op: Operator, target: Target, ids: Sequence[str], *, every: bool) -> None:
    """Send dead letters back, each to the end of the partition that it came from.

    Each letter moves in one step: it is never in both streams, and never in none.
    """
    letters = await _letters(op, target, ids, every=every)
    moved = await op.replay(target.name, letters)
    tell(f"Sent {_count(moved)} back to {target.found.stream.name}.{_gone(len(letters) - moved)}")


@command(Processor, group=dead_letters)
@_chosen
@click.option("--yes", is_flag=True, help="Do not ask.")
async def drop(op: Operator, target: Target, ids: Sequence[str], *, every: bool, yes: bool) -> None:
    """Delete dead letters permanently."""
    letters = await _letters(op, target, ids, every=every)
    if letters and every and not yes:
        if sys.stdin is None:
            raise Ended(Exit.USAGE, "standard input is closed: give --yes to drop all of them")
        sink = _sink(op, target)
        click.confirm(f"Drop {_count(len(letters))} of {sink} for good?", abort=True, err=True)
    gone = await op.drop(target.name, letters)
    tell(f"Dropped {_count(gone)}.{_gone(len(letters) - gone)}")


def _sink(op: Operator, target: Target) -> str:
    """The name of the processor's dead-letter stream.

    Raises:
        Ended: the processor makes no dead letters.
    """
    with blaming_arguments():
        return op.dead_letter_stream(target.name)


async def _letters(op: Operator, target: Target, ids: Sequence[str], *, every: bool) -> list[Letter]:
    """The dead letters that were named, or all of them.

    Raises:
        Ended: there is no such letter.
    """
    if bool(ids) == every:
        raise click.UsageError("Give the letters, as `dead-letters list` shows them, or --all.")
    sink = _sink(op, target)
    letters = {letter.id: letter for letter in await op.letters(target.name)}
    if every:
        return list(letters.values())
    missing = [given for given in ids if given not in letters]
    if missing:
        raise Ended(
            Exit.USAGE,
            f"{sink} has no letter {', '.join(missing)}: see `dead-letters list`. Nothing was done.",
        )
    return [letters[given] for given in dict.fromkeys(ids)]


def _line(letter: Letter) -> str:
    record = letter.record
    if isinstance(record, Dead):
        origin, when = numbered(record.stream, [record.partition]), record.time.isoformat(timespec="seconds")
        said = " ".join(record.error.split())
        return legible(f"{letter.id}  {when}  {origin} {record.xid}  {said}")
    return f"{letter.id}  {letter.data if record is None else described(record)}"


def _whole(letter: Letter) -> str:
    document = of_letter(letter)
    data, traceback = document.pop("data"), document.pop("traceback", "")
    lines = [f"{name}: {value}" for name, value in document.items()]
    lines += [f"data.{name}: {value}" for name, value in data.items()]
    lines += traceback.rstrip().splitlines()
    return "\n".join(legible(line, 1 << 53) for line in lines) + "\n"


def _count(number: int) -> str:
    return counted(number, "dead letter")


def _gone(number: int) -> str:
    return f" Gone meanwhile: {number:,}." if number else ""
