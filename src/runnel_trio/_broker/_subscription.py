"""Creates cursors for processors that have none yet, and reports events that left the log before that."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping

from runnel_trio._broker._protocol import Catalog
from runnel_trio._broker._values import Layouts, ProcessorSpec, StreamSpec
from runnel_trio._report._telemetry import Tally, report
from runnel_trio._report._words import numbered

__all__ = ["subscribe", "tell_of_loss"]


async def subscribe(
    broker: Catalog, stream: StreamSpec, names: Collection[str], counts: Tally | None = None
) -> Layouts:
    """Declare a stream, and give these processors a cursor in each of its partitions where they have none.

    From then on the server knows that they exist: no entry is trimmed that they have not passed, however late
    they start. What had left the logs before is told, and counted.

    Where any was made, a second look is for a change of the layout that was under way: it is completed now,
    with these processors. One that begins later sees their cursors by itself (`_rules/_layout`).
    """
    tally = Tally() if counts is None else counts
    layouts = await broker.declare(stream)
    while names:
        created = {layout: await broker.create_groups(layout, names) for layout in layouts.all}
        for name in names:
            _tell_of_missed(name, {x: created[x].get(name, {}) for x in created}, tally)
        if not any(made for names_made in created.values() for made in names_made.values()):
            break
        found = await broker.declare(stream)
        if found.current.layout == layouts.current.layout:
            return found
        layouts = found
    return layouts


def _tell_of_missed(name: str, created: Mapping[StreamSpec, Mapping[int, int]], counts: Tally) -> None:
    """What left the logs before a processor had a cursor there: lost, if it had one in other partitions."""
    is_new = all(len(made) == layout.partition_count for layout, made in created.items())
    missed = sum(sum(made.values()) for made in created.values())
    if is_new and missed:
        counts[name, "events-missed"] += missed
        stream = next(iter(created)).name
        report(logging.WARNING, "events-missed", stream=stream, processor=name, count=missed)
        return
    for layout, made in created.items():
        for number, gone in made.items():
            tell_of_loss(ProcessorSpec(stream=layout, name=name), number, gone, counts)


def tell_of_loss(processor: ProcessorSpec, number: int, count: int, counts: Tally) -> None:
    """Log, and count, that events left the log before they were processed."""
    if count > 0:
        counts[processor.name, "events-lost"] += count
        place = numbered(processor.stream.name, [number])
        report(logging.ERROR, "events-lost", place=place, processor=processor.name, count=count)
