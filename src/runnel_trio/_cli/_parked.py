"""``runnel-trio parked``: shows keys whose events wait, lets them go on, drops events, or holds keys."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import attrs
import click

from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Ended, Exit, blaming_arguments, print_out, tell
from runnel_trio._cli._inspect import document_of, line_of
from runnel_trio._cli._options import partitions as chosen_partitions
from runnel_trio._cli._partition_keys import key_of, number_of
from runnel_trio._cli._processor import confirm
from runnel_trio._codec import canonical_key
from runnel_trio._operate._documents import of_parked
from runnel_trio._operate._operator import Operator
from runnel_trio._operate._parked import Parked
from runnel_trio._processor import Processor
from runnel_trio._report._redaction import legible, redacted_text
from runnel_trio._report._words import ago, counted, numbered, shortened

__all__ = ["parked"]

#: Keys that are shown, where nobody says how many.
_PAGE = 100
#: Keys, or errors, that are named in a sentence; and the columns that a key has, at most.
_NAMED, _WIDEST = 8, 48
_WHICH = "Give --key, --error or --partition, by what `parked list` shows, or --all."


@click.group()
def parked() -> None:
    """Look at parked keys, let them go on, or hold one."""


@attrs.frozen
class _Chosen:
    """The parked keys that a command is about.

    Attributes:
        found: at least one.
        every: whether these are all that there are, by what was typed.
        count: how many there are, those included that are not to be shown.
    """

    found: list[Parked]
    every: bool
    count: int


def _about(*, acts: bool) -> Callable[[Callable[..., Awaitable[None]]], Callable[..., Awaitable[None]]]:
    """Give a command the options that choose keys, and the keys, unless there are none.

    Args:
        acts: whether it changes anything: whoever wants all of them says so.
    """

    def decorate(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        @wraps(function)
        async def run(
            op: Operator,
            target: Target,
            *,
            keys: Sequence[str],
            error: str | None,
            partitions: Sequence[int],
            every: bool = False,
            **given: Any,
        ) -> None:
            unlimited = not (keys or error is not None or partitions)
            if acts and every != unlimited:
                raise click.UsageError(_WHICH)
            filtered = bool(keys) or error is not None
            limit = None if acts or filtered else given["limit"] or (None if given["as_json"] else _PAGE)
            found = await _find(op, target, keys, error, partitions, limit)
            if found:
                count = len(found)
                if count == limit:
                    count = await op.count_parked(target.name, partitions or None)
                await function(op, target, _Chosen(found, unlimited, count), **given)

        options = [
            click.option("--key", "keys", multiple=True, metavar="KEY", help="Only this key; repeatable."),
            click.option(
                "--error",
                metavar="TEXT",
                help="Only keys parked over an exception of this type, or with this in its text.",
            ),
            chosen_partitions,
            *([click.option("--all", "every", is_flag=True, help="All of them.")] if acts else []),
        ]
        for option in reversed(options):
            run = option(run)
        return run

    return decorate


_dry_run = click.option("--dry-run", is_flag=True, help="Only say what would be done.")
_yes = click.option("--yes", is_flag=True, help="Do not ask.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document per key, for programs.")
_limit = click.option(
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Show at most N keys; by default {_PAGE}, or all of them with --json.",
)


@command(Processor, group=parked, name="list")
@_about(acts=False)
@_limit
@_json
async def list_(op: Operator, target: Target, chosen: _Chosen, *, limit: int | None, as_json: bool) -> None:
    """List the parked keys of a processor, one per line, those first that were parked first."""
    shown = _first(chosen.found, limit, as_json=as_json)
    print_out("\n".join(map(_document, shown) if as_json else _table(shown, op.wall())))
    _tell_rest(chosen.count, shown)
    if chosen.every and not as_json:
        tell(f"To handle them again: {target.commands.retry(target.argument.partition(':')[2])}")


@command(Processor, group=parked)
@_about(acts=False)
@_limit
@_json
async def show(op: Operator, target: Target, chosen: _Chosen, *, limit: int | None, as_json: bool) -> None:
    """Show parked keys whole: why they are parked, the traceback, and their events in order."""
    stream, shown = target.found.stream, _first(chosen.found, limit, as_json=as_json)
    for at, one in enumerate(shown):
        events = await op.parked_events(target.name, one)
        if as_json:
            print_out(_document(one, entries=[document_of(stream, event) for event in events]))
        else:
            lines = [*([""] if at else []), *_facts(one), *(line_of(stream, event) for event in events)]
            print_out("\n".join(lines))
    _tell_rest(chosen.count, shown)


@command(Processor, group=parked)
@_about(acts=True)
@_dry_run
async def retry(op: Operator, target: Target, chosen: _Chosen, *, dry_run: bool) -> None:
    """Handle the events of parked keys again, in order; running workers begin at once.

    Later events of these keys follow. A key whose event fails again is parked as before.
    """
    if dry_run:
        _tell_dry(op, "Would handle again", chosen.found)
    else:
        _tell_done("To be handled again", chosen.found, await op.unpark(target.name, chosen.found))


@command(Processor, group=parked)
@_about(acts=True)
@_yes
@_dry_run
async def skip(op: Operator, target: Target, chosen: _Chosen, *, yes: bool, dry_run: bool) -> None:
    """Leave out the first event of parked keys, which has failed, and handle the others in order.

    A key whose first event has not failed is left alone: one that somebody holds, say.
    """
    failed = [x for x in chosen.found if x.attempts]
    if len(failed) < len(chosen.found):
        alone = [x for x in chosen.found if not x.attempts]
        tell(f"Left alone, because the first event has not failed: {_named(alone)}.")
    if failed and dry_run:
        _tell_dry(op, "Would leave out the first event of each", failed)
    elif failed:
        if chosen.every and not yes:
            confirm(f"Leave out the first event of each for good: {_counted(failed)}?")
        done = await op.unpark(target.name, failed, skip_first=True)
        _tell_done("To be handled again, without the first event of each", failed, done)


@command(Processor, group=parked)
@_about(acts=True)
@_yes
@_dry_run
async def drop(op: Operator, target: Target, chosen: _Chosen, *, yes: bool, dry_run: bool) -> None:
    """Delete the events of parked keys for good; later events of these keys are handled as usual."""
    if dry_run:
        _tell_dry(op, "Would drop", chosen.found)
        return
    if not yes:
        confirm(f"Drop {_counted(chosen.found)} for good?")
    _tell_done("Dropped", chosen.found, await op.drop_parked(target.name, chosen.found))


@command(Processor, group=parked, makes=True)
@click.option("--key", "keys", multiple=True, required=True, metavar="KEY", help="The key; repeatable.")
@click.option("--reason", default="", metavar="TEXT", help="Shown to operators.")
@_dry_run
async def hold(op: Operator, target: Target, keys: Sequence[str], *, reason: str, dry_run: bool) -> None:
    """Park keys by hand: their events wait until `retry`, and those of other keys go on.

    An event of the key that is in hand is finished first. A key that is parked already is not tried again by
    itself any more.
    """
    stream, count = target.found.stream, len(await op.partitions(target.name))
    meant = {text: key_of(stream, text) for text in keys}
    where = {text: numbered(stream.name, [number_of(stream, key, count)]) for text, key in meant.items()}
    for text, key in meant.items():
        if dry_run:
            tell(f"Would hold {legible(text)}, in {where[text]}.")
        else:
            held = await op.park(target.name, key, reason=reason)
            behind = f", with {counted(held.events, 'event')}" if held.events else ""
            tell(f"Held: {legible(text)}, in {where[text]}{behind}.")
    if not dry_run:
        attribute = target.argument.partition(":")[2]
        tell(f"To go on: {target.commands.retry(attribute, keys)}")


async def _find(
    op: Operator,
    target: Target,
    keys: Sequence[str],
    error: str | None,
    partitions: Sequence[int],
    limit: int | None,
) -> list[Parked]:
    """The parked keys that were chosen, so many at most; if there are none, it is told.

    Raises:
        Ended: one of these keys is not parked, or there is no such partition.
    """
    await op.processor(target.name)  # what is wrong with it is not wrong with the command line
    with blaming_arguments():
        numbers = await op.partitions(target.name, partitions) if partitions else None
    there = await op.parked(target.name, numbers, limit=limit)
    if not there:
        where = f" in {numbered(target.found.stream.name, partitions)}" if partitions else ""
        tell(f"No key of {target.name} is parked{where}.")
        return []
    found = _with_keys(target, keys, there) if keys else there
    if error is not None:
        found, before = [x for x in found if _is_over(x, error)], found
        if not found:
            tell(f"No key is parked over {legible(error)}; there are: {_errors(before)}.")
    return found


def _with_keys(target: Target, keys: Sequence[str], there: Sequence[Parked]) -> list[Parked]:
    """Those with the keys that were given, in whichever partition they are.

    Raises:
        Ended: one of them is not parked.
    """
    stream, given = target.found.stream, {}
    for text in keys:
        key = key_of(stream, text)
        number_of(stream, key, 1)  # which refuses what is none
        with blaming_arguments():
            given[canonical_key(key)] = text
    missing = [text for key, text in given.items() if key not in {x.canonical for x in there}]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise Ended(
            Exit.USAGE,
            f"{', '.join(missing)} {verb} not parked; there are: {_named(there)}. Nothing was done.",
        )
    return [x for x in there if x.canonical in given]


def _is_over(parked: Parked, error: str) -> bool:
    """Whether that is the type of its exception, or part of the text, or both as they are shown."""
    kind, _, text = parked.error.partition(": ")
    return bool(parked.error) and (error in {kind, parked.error} or error in text)


def _table(found: Sequence[Parked], now: float) -> Iterator[str]:
    """A line for each key."""
    rows = [("PARTITION", "KEY", "EVENTS", "SINCE", "TRIED", "NEXT", "WHY")]
    rows += [
        (
            str(x.partition),
            shortened(legible(x.key), _WIDEST),
            f"{x.events:,}",
            x.since.isoformat(timespec="seconds"),
            f"{x.attempts:,}",
            _next(x, now),
            _why(x),
        )
        for x in found
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(6)]
    numbers = {0, 2, 4}
    for row in rows:
        cells = [
            cell.rjust(width) if at in numbers else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        yield "  ".join([*cells, row[-1]])


def _next(parked: Parked, now: float) -> str:
    """When it is tried again, in words."""
    if parked.next is None:
        return "by hand"
    pause = parked.next.timestamp() - now
    return f"in {ago(pause)}" if pause > 0 else "now"


def _why(parked: Parked) -> str:
    """The exception, or who holds it and why."""
    if not (parked.reason or not parked.error):
        return legible(redacted_text(" ".join(parked.error.split())))
    held = f"held by {parked.by}" + (f": {parked.reason}" if parked.reason else "")
    return legible(redacted_text(held))


def _facts(parked: Parked) -> Iterator[str]:
    """What is known of a key but its events."""
    document = of_parked(parked)
    traceback = document.pop("traceback")
    document["next"] = document["next"] or "by hand"
    for name, value in document.items():
        if value != "":
            yield legible(redacted_text(f"{name}: {value}"), 1 << 53)
    yield from (legible(redacted_text(line), 1 << 53) for line in traceback.rstrip().splitlines())


def _document(parked: Parked, **more: Any) -> str:
    return json.dumps(of_parked(parked) | more, ensure_ascii=False)


def _first(found: list[Parked], limit: int | None, *, as_json: bool) -> list[Parked]:
    return found[: limit if limit is not None or as_json else _PAGE]


def _tell_rest(count: int, shown: Sequence[Parked]) -> None:
    if count > len(shown):
        tell(f"{count - len(shown):,} more are parked: see --limit.")


def _tell_dry(op: Operator, what: str, found: Sequence[Parked]) -> None:
    print_out("\n".join(_table(found[:_PAGE], op.wall())))
    tell(f"{what}: {_counted(found)}. This was a dry run: nothing was changed.")


def _tell_done(did: str, found: Sequence[Parked], done: Sequence[Parked]) -> None:
    changed = len(found) - len(done)
    left = f" {counted(changed, 'key')} changed meanwhile: look again." if changed else ""
    tell(f"{did}: {_counted(done)}.{left}")


def _counted(found: Sequence[Parked]) -> str:
    events = sum(x.events for x in found)
    return f"{counted(len(found), 'key')} with {counted(events, 'event')}"


def _named(found: Sequence[Parked]) -> str:
    return _some([legible(x.key) for x in found])


def _errors(found: Sequence[Parked]) -> str:
    kinds: dict[str, int] = {}
    for one in found:
        kind = one.error.partition(": ")[0] or "by hand"
        kinds[kind] = kinds.get(kind, 0) + 1
    return _some([f"{kind} ({counted(count, 'key')})" for kind, count in kinds.items()])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
