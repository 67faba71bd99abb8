"""``runnel-trio resume``: partitions in quarantine, and how they go on."""

from __future__ import annotations

from collections.abc import Sequence

from runnel_trio._app import App
from runnel_trio._broker._protocol import Broker, CommitOutcome, Quarantine
from runnel_trio._cli._errors import Ended, Exit, tell
from runnel_trio._cli._run import unavailable
from runnel_trio._processor import Processor
from runnel_trio.exceptions import BrokerUnavailable

__all__ = ["resume"]


async def resume(
    app: App, processor: Processor, partitions: Sequence[int], *, skip: bool, dry_run: bool
) -> int:
    """Lift the quarantine of partitions, of all that have one by default; workers go on with them at once.

    Args:
        app: whose.
        processor: which of its processors.
        partitions: numbers; none means all.
        skip: acknowledge what failed, so that it is not handled again.
        dry_run: only show them.

    Raises:
        Ended: a number that does not exist, or there is no server.
    """
    count = processor.stream.partition_count
    wrong = [number for number in partitions if not 0 <= number < count]
    if wrong:
        raise Ended(Exit.USAGE, f"{processor!r} has no partition {wrong[0]}: they are 0 to {count - 1}")
    try:
        async with app.session(), processor.stream.connect(processor.stream.spec) as broker:
            chosen = list(partitions) or list(range(count))
            found = [x for x in await broker.quarantined(processor.spec, chosen) if x is not None]
            for why in found:
                _show(processor, why)
                if not dry_run:
                    await _lift(broker, processor, why, skip=skip)
    except BrokerUnavailable as error:
        raise unavailable(app, error) from error
    if not found:
        tell("No partition is in quarantine.")
    return Exit.OK


def _show(processor: Processor, why: Quarantine) -> None:
    events = why.first.decode() if why.count == 1 else f"{why.count} events from {why.first.decode()}"
    tell(f"{processor.stream.name}[{why.partition}] stands still at {events} since {why.time}: {why.error}")
    tell("".join(f"    {line}\n" for line in why.traceback.splitlines()).rstrip())


async def _lift(broker: Broker, processor: Processor, why: Quarantine, *, skip: bool) -> None:
    outcome = await broker.resume(processor.spec, why, skip=skip)
    if outcome is CommitOutcome.COMMITTED:
        skipped = f", without {'it' if why.count == 1 else f'these {why.count} events'}" if skip else ""
        tell(f"{processor.stream.name}[{why.partition}] goes on{skipped}.")
    else:
        tell(f"{processor.stream.name}[{why.partition}] has changed meanwhile; nothing was done. Look again.")
