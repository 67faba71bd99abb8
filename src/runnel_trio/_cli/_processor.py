"""``runnel-trio processor``: sets cursors, and lets partitions that stand still go on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import attrs
import click

from runnel_trio._cli._command import Target, command
from runnel_trio._cli._errors import Ended, Exit, blaming_arguments, print_out, tell
from runnel_trio._cli._options import partitions as chosen_partitions
from runnel_trio._cli._options import with_zone
from runnel_trio._cli._resume import Resuming
from runnel_trio._cli._streams import is_terminal
from runnel_trio._operate._alike import alike
from runnel_trio._operate._cursors import PartitionReset, start_of, undecided
from runnel_trio._operate._operator import Operator
from runnel_trio._processor import Processor
from runnel_trio._report._words import counted, numbered, ranges

__all__ = ["processor"]


@click.group()
def processor() -> None:
    """Operate a processor: its cursors and quarantines."""


_chosen_tables = click.option(
    "--tables",
    type=click.Choice(["empty", "keep"]),
    help="What becomes of the processor's tables there, if it has any: there is no default.",
)


@command(Processor, group=processor, makes=True)
@click.option(
    "--start",
    default="0",
    show_default=True,
    metavar="0|$|ID|TIME",
    help="The first event to process: 0 for all, $ for those sent from now on, a stream id, or a time.",
)
@chosen_partitions
@_chosen_tables
@click.option("--force", is_flag=True, help="Reset even while workers run.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
async def reset(
    op: Operator, target: Target, start: str, partitions: Sequence[int], tables: str | None, *, force: bool,
    dry_run: bool,
) -> None:  # fmt: skip
    """Set where a processor continues: process events again, or skip some.

    Refused while workers run. A time is ISO 8601, as 2026-11-24T08:30; without an offset it is read in the
    setting `timezone`.
    """
    await _reset(op, target, start, partitions, tables, force=force, dry_run=dry_run)


async def _reset(
    op: Operator, target: Target, start: str, partitions: Sequence[int], tables: str | None, *, force: bool,
    dry_run: bool,
) -> None:  # fmt: skip
    when = with_zone(start, target.app)
    with blaming_arguments():
        start_of(when)
    numbers = await _check(op, target, partitions)
    if target.found.tables and tables is None and not dry_run:
        raise click.UsageError(undecided([table.name for table in target.found.tables]))
    how: dict[str, Any] = {"force": force, "dry_run": dry_run, "tables": tables}
    found = await op.reset(target.name, when, partitions=numbers, **how)
    for group in alike(found, lambda x: attrs.evolve(x, partition=0)):
        print_out(_line(target.found, group, found[0].layout))
    before = sum(change.lag_before or 0 for change in found)
    after = sum(change.lag_after for change in found)
    told = f"{counted(after, 'event')} to be processed, {before:,} before."
    tell(f"{told} This was a dry run: nothing was changed." if dry_run else told)


async def _check(op: Operator, target: Target, partitions: Sequence[int]) -> list[int] | None:
    """The numbers that were given, which it has; None for all.

    Raises:
        Ended: it does not have them.
    """
    await op.processor(target.name)  # what is wrong with it is not wrong with the command line
    with blaming_arguments():
        return await op.partitions(target.name, partitions) if partitions else None


def _line(processor: Processor[Any], changes: Sequence[PartitionReset], layout: int) -> str:
    """Of partitions where it is the same."""
    change = changes[0]
    label = numbered(processor.stream.name, (x.partition for x in changes))
    lag = "?" if change.lag_before is None else f"{change.lag_before:,}"
    each = "  each" if len(changes) > 1 and change.lag_after + (change.lag_before or 0) else ""
    new = "  (of the new partitions)" if change.layout > layout else ""
    return f"{label}  {change.before or 'new'} → {change.after}  lag {lag} → {change.lag_after:,}{each}{new}"


@command(Processor, group=processor, makes=True)
@click.argument("start", metavar="0|$|ID|TIME")
@chosen_partitions
@_chosen_tables
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would change.")
async def seek(
    op: Operator, target: Target, start: str, partitions: Sequence[int], tables: str | None, *, yes: bool,
    dry_run: bool,
) -> None:  # fmt: skip
    """Move a processor back or ahead at once, even while workers run.

    Like `reset --force`: the events in between are handled again, or skipped.
    """
    if not yes and not dry_run:
        await _reset(op, target, start, partitions, tables, force=True, dry_run=True)
        confirm("Set the cursors so?")
    await _reset(op, target, start, partitions, tables, force=True, dry_run=dry_run)


@command(Processor, group=processor, makes=True)
@chosen_partitions
@click.option("--reason", default="", metavar="TEXT", help="Shown to operators.")
@click.option("--dry-run", is_flag=True, help="Only say which would be paused.")
async def pause(
    op: Operator, target: Target, partitions: Sequence[int], *, reason: str, dry_run: bool
) -> None:
    """Stop partitions until they are resumed; workers finish the event in hand first."""
    chosen = await _check(op, target, partitions)
    if dry_run:
        still = {x.partition for x in await op.quarantined(target.name, chosen)}
        numbers = [x for x in await op.partitions(target.name, chosen) if x not in still]
    else:
        numbers = await op.pause(target.name, chosen, reason=reason)
    what, which = "Would pause" if dry_run else "Paused", f": {ranges(numbers)}" if numbers else ""
    stream = target.found.stream.name
    tell(f"{what} for {target.name}: {counted(len(numbers), 'partition')} of {stream}{which}.")
    if not dry_run and numbers:
        attribute = target.argument.partition(":")[2]
        tell(f"To go on: {target.commands.resume(attribute, numbers)}")


@command(Processor, group=processor, by_name="The app's name, for a processor that is not in its code.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
async def drop(op: Operator, target: Target, *, yes: bool, dry_run: bool) -> None:
    """Forget a processor: its cursors, leases, quarantines. The stream stays. Refused while workers run.

    One that the code no longer has is named as `status` shows it, beside the app: --app shop orders/totals.
    """
    with blaming_arguments() if target.found is None else nullcontext():
        spec = await op.processor(target.name)
    where = (
        f"what the server keeps of {spec.name} in "
        f"{counted(spec.stream.partition_count, 'partition')} of {spec.stream.name}"
    )
    if dry_run:
        tell(f"It would delete {where}. Nothing was changed.")
        return
    if not yes:
        confirm(f"Delete {where}, for good? If it runs again, it begins at the oldest event.")
    had = await op.forget(target.name)
    tell(f"{spec.name} is forgotten; it had a cursor in {counted(had, 'partition')}.")


def confirm(question: str) -> None:
    """Ask at a terminal; elsewhere there is nobody to ask.

    Raises:
        Ended: there is no terminal, and no --yes.
        Abort: the answer is no.
    """
    if not is_terminal(sys.stdin):
        raise Ended(Exit.USAGE, f"{question} There is no terminal to ask at: give --yes to do it.")
    click.confirm(question, abort=True, err=True)


@command(Processor, group=processor)
@chosen_partitions
@click.option("--skip", is_flag=True, help="Skip the failed events: they are not handled again.")
@click.option(
    "--dead-letter", is_flag=True, help="Turn the failed events into dead letters, and go on after them."
)
@click.option("--dry-run", is_flag=True, help="Only show what stands still, and why.")
async def resume(
    op: Operator, target: Target, partitions: Sequence[int], *, skip: bool, dead_letter: bool, dry_run: bool
) -> None:
    """Let quarantined or paused partitions go on.

    For each, it shows the event, the exception and its traceback. Running workers continue at once.
    """
    if skip and dead_letter:
        raise click.UsageError("--skip leaves out what --dead-letter keeps: give one of them")
    chosen = await _check(op, target, partitions)
    how = Resuming(op, target.found, skip=skip, dead_letter=dead_letter)
    await how.run(await op.quarantined(target.name, chosen), dry_run=dry_run)
