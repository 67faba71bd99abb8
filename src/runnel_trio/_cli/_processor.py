"""``runnel-trio processor``: set cursors, and let partitions go on that stand still."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import attrs
import click
import trio

from runnel_trio._app import App
from runnel_trio._broker._protocol import Broker, ProcessorSpec
from runnel_trio._broker._stages import stages
from runnel_trio._cli._errors import Ended, Exit, concluded, print_out, tell
from runnel_trio._cli._load import app_of, load, redirect
from runnel_trio._cli._logging import configure
from runnel_trio._cli._options import Command, common, typed_server
from runnel_trio._cli._options import partitions as chosen_partitions
from runnel_trio._cli._resuming import Resuming
from runnel_trio._cli._status import refuse_missing
from runnel_trio._cli._streams import is_terminal
from runnel_trio._operate._alike import alike
from runnel_trio._operate._cursors import PartitionReset, forget, numbers_of, start_of
from runnel_trio._operate._health import Typed
from runnel_trio._processor import Processor
from runnel_trio._words import counted, numbered, ranges
from runnel_trio.exceptions import Misconfigured

__all__ = ["operate", "processor", "with_zone"]


def operate(
    target: str,
    work: Callable[[App, Processor[Any]], Awaitable[None]],
    *,
    looks: bool,
    redis_url: str | None,
    embedded: str | None,
    show_all: bool,
) -> int:
    """Run ``work`` with a processor of a user's module, in a session with the server.

    With ``looks`` it makes nothing: a server that is not there is not made for it.
    """

    async def session(app: App, processor: Processor[Any]) -> int:
        async with app.session():
            await work(app, processor)
        return Exit.OK

    def command() -> int:
        processor = load(target, Processor)
        app = app_of(processor.stream)
        refuse_missing(embedded if looks else None)
        redirect(app, redis_url=redis_url, embedded=embedded)
        configure(app.settings, tell)
        return trio.run(session, app, processor)

    return concluded(command, show_all=show_all)


@click.group()
def processor() -> None:
    """Operate a processor: its cursors and quarantines."""


@processor.command(cls=Command)
@click.argument("target", metavar="MODULE:PROCESSOR")
@click.option(
    "--start",
    default="0",
    show_default=True,
    metavar="0|$|ID|TIME",
    help="The first event to process: 0 for all, $ for those sent from now on, a stream id, or a time.",
)
@chosen_partitions
@click.option("--force", is_flag=True, help="Also while workers run.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@common
def reset(
    target: str, start: str, partitions: Sequence[int], *, force: bool, dry_run: bool, **server: Any
) -> int:
    """Set where a processor goes on: process events again, or leave some out.

    Refused while workers run. A time is ISO 8601, as 2026-11-24T08:30; without an offset it is read in the
    setting `timezone`.
    """
    work = partial(_reset, start=start, partitions=partitions, force=force, dry_run=dry_run)
    return operate(target, work, looks=dry_run, **server)


async def _reset(
    app: App, processor: Processor[Any], *, start: str, partitions: Sequence[int], force: bool, dry_run: bool
) -> None:
    when = with_zone(start, app)
    await _check(app, processor, partitions, when)
    found = await processor.reset(when, partitions=partitions or None, force=force, dry_run=dry_run)
    for group in alike(found, lambda x: attrs.evolve(x, partition=0)):
        print_out(_line(processor, group, found[0].layout))
    before = sum(change.lag_before or 0 for change in found)
    after = sum(change.lag_after for change in found)
    told = f"{counted(after, 'event')} to be processed, {before:,} before."
    tell(f"{told} This was a dry run: nothing was changed." if dry_run else told)


async def _check(
    app: App, processor: Processor[Any], partitions: Sequence[int], start: str | datetime = "0"
) -> ProcessorSpec:
    """What is wrong here is wrong with the command line; the processor in the partitions that it reads."""
    async with app._shared.used() as broker:
        place = (await stages(broker, processor.spec))[0]
    try:
        numbers_of(place, partitions)
        start_of(start)
    except Misconfigured as error:
        raise Ended(Exit.USAGE, str(error)) from error
    return place


def with_zone(start: str, app: App) -> str | datetime:
    try:
        when = datetime.fromisoformat(start) if not start.isdigit() else None
    except ValueError:
        return start
    if when is None:
        return start
    return when if when.tzinfo is not None else when.replace(tzinfo=app.settings.timezone)


def _line(processor: Processor[Any], changes: Sequence[PartitionReset], layout: int) -> str:
    """Of partitions where it is the same."""
    change = changes[0]
    place = numbered(processor.stream.name, (x.partition for x in changes))
    lag = "?" if change.lag_before is None else f"{change.lag_before:,}"
    each = "  each" if len(changes) > 1 and change.lag_after + (change.lag_before or 0) else ""
    new = "  (of the new partitions)" if change.layout > layout else ""
    return f"{place}  {change.before or 'new'} → {change.after}  lag {lag} → {change.lag_after:,}{each}{new}"


@processor.command(cls=Command)
@click.argument("target", metavar="MODULE:PROCESSOR")
@click.argument("start", metavar="0|$|ID|TIME")
@chosen_partitions
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
@common
def seek(
    target: str, start: str, partitions: Sequence[int], *, yes: bool, dry_run: bool, **server: Any
) -> int:
    """Let a processor go on elsewhere at once, workers that run as well: back, or ahead.

    As `reset --force`: what lies between is handled again, or left out.
    """
    work = partial(_seek, start=start, partitions=partitions, yes=yes, dry_run=dry_run)
    return operate(target, work, looks=dry_run, **server)


async def _seek(
    app: App, processor: Processor[Any], *, start: str, partitions: Sequence[int], yes: bool, dry_run: bool
) -> None:
    if not yes and not dry_run:
        await _reset(app, processor, start=start, partitions=partitions, force=True, dry_run=True)
        confirmed("Set the cursors so?")
    await _reset(app, processor, start=start, partitions=partitions, force=True, dry_run=dry_run)


@processor.command(cls=Command)
@click.argument("target", metavar="MODULE:PROCESSOR")
@chosen_partitions
@click.option("--reason", default="", metavar="TEXT", help="Shown to whoever looks.")
@click.option("--dry-run", is_flag=True, help="Only say which would be paused.")
@common
def pause(target: str, partitions: Sequence[int], *, reason: str, dry_run: bool, **server: Any) -> int:
    """Let partitions stand still until they are resumed; workers end the event in hand first."""

    async def work(app: App, found: Processor[Any]) -> None:
        place = await _check(app, found, partitions)
        if dry_run:
            still = {x.partition for x in await found.quarantined(partitions or None)}
            numbers = [x for x in numbers_of(place, partitions or None) if x not in still]
        else:
            numbers = await found.pause(partitions or None, reason=reason)
        what = "Would pause" if dry_run else "Paused"
        which = f": {ranges(numbers)}" if numbers else ""
        tell(f"{what} for {found.name}: {counted(len(numbers), 'partition')} of {found.stream.name}{which}.")
        if not dry_run and numbers:
            module, _, name = target.partition(":")
            typed = Typed(module, typed_server(server["redis_url"], server["embedded"]))
            tell(f"To go on: {typed.resume(name, numbers)}")

    return operate(target, work, looks=dry_run, **server)


@processor.command(cls=Command)
@click.argument("target", metavar="MODULE:PROCESSOR|STREAM/PROCESSOR")
@click.option(
    "--app", "name", metavar="NAME", help="The app's name, for a processor that is not in its code."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@common
def drop(target: str, *, name: str | None, yes: bool, dry_run: bool, **server: Any) -> int:
    """Forget a processor: its cursors, leases, quarantines. The stream stays. Refused while workers run.

    One that the code no longer has is named as `status` shows it, beside the app: --app shop orders/totals.
    """

    async def work(_: App, found: Processor[Any]) -> None:
        await _drop(found.spec, found.forget, yes=yes, dry_run=dry_run)

    if name is None:
        return operate(target, work, looks=True, **server)
    return _by_name(name, target, yes=yes, dry_run=dry_run, **server)


async def _drop(
    spec: ProcessorSpec, forget: Callable[[], Awaitable[int]], *, yes: bool, dry_run: bool
) -> None:
    where = (
        f"what the server keeps of {spec.name} in "
        f"{counted(spec.stream.partition_count, 'partition')} of {spec.stream.name}"
    )
    if dry_run:
        tell(f"It would delete {where}. Nothing was changed.")
        return
    if not yes:
        confirmed(f"Delete {where}, for good? If it runs again, it begins at the oldest event.")
    had = await forget()
    tell(f"{spec.name} is forgotten; it had a cursor in {counted(had, 'partition')}.")


def _by_name(
    name: str,
    target: str,
    *,
    yes: bool,
    dry_run: bool,
    redis_url: str | None,
    embedded: str | None,
    show_all: bool,
) -> int:
    """Drop what only the server knows."""

    async def session(app: App) -> int:
        async with app._shared.used() as broker:
            spec = await _known(broker, app.name, target)
            await _drop(spec, partial(forget, broker, spec), yes=yes, dry_run=dry_run)
        return Exit.OK

    def command() -> int:
        app = App(name)
        refuse_missing(embedded)
        redirect(app, redis_url=redis_url, embedded=embedded)
        configure(app.settings, tell)
        return trio.run(session, app)

    return concluded(command, show_all=show_all)


async def _known(broker: Broker, app: str, target: str) -> ProcessorSpec:
    """A processor of which the server has cursors.

    Raises:
        Ended: it has none of that name; says which there are.
    """
    known: dict[str, ProcessorSpec] = {}
    for spec in await broker.streams(app):
        for own in sorted({own for place in await broker.survey(spec) for own in place.processors}):
            known[f"{spec.name}/{own}"] = ProcessorSpec(stream=spec, name=own)
    if target in known:
        return known[target]
    there = f"it knows {', '.join(known)}" if known else "it knows none"
    raise Ended(
        Exit.USAGE, f"the server has no cursor of {target} of app {app!r} (STREAM/PROCESSOR): {there}"
    )


def confirmed(question: str) -> None:
    """Ask at a terminal; elsewhere there is nobody to ask.

    Raises:
        Ended: there is no terminal, and no --yes.
        Abort: the answer is no.
    """
    if not is_terminal(sys.stdin):
        raise Ended(Exit.USAGE, f"{question} There is no terminal to ask at: give --yes to do it.")
    click.confirm(question, abort=True, err=True)


@processor.command(cls=Command)
@click.argument("target", metavar="MODULE:PROCESSOR")
@chosen_partitions
@click.option("--skip", is_flag=True, help="Leave out what failed: it is not handled again.")
@click.option("--dead-letter", is_flag=True, help="Make dead letters of what failed, and go on behind it.")
@click.option("--dry-run", is_flag=True, help="Only show what stands still, and why.")
@common
def resume(
    target: str, partitions: Sequence[int], *, skip: bool, dead_letter: bool, dry_run: bool, **server: Any
) -> int:
    """Let partitions go on that stand still, in quarantine or paused.

    Shows for each one the event, the exception and its traceback. Workers that run go on with it at once.
    """
    if skip and dead_letter:
        raise click.UsageError("--skip leaves out what --dead-letter keeps: give one of them")

    async def work(app: App, found: Processor[Any]) -> None:
        await _check(app, found, partitions)
        how = Resuming(found, skip=skip, dead_letter=dead_letter)
        await how.run(await found.quarantined(partitions or None), dry_run=dry_run)

    return operate(target, work, looks=True, **server)
